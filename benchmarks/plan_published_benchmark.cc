// Predicts the rows of a published table and says how good the predictions are:
//   plan_published_benchmark FILE [ROWS_FILE]
// ROWS_FILE receives one line a row, for whoever wants to look closer.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "benchmarks/published_plans.h"
#include "benchmarks/published_score.h"
#include "graph/infer.h"
#include "nlohmann/json.hpp"
#include "scheduler/planning/search.h"
#include "scheduler/planning/stated_plan.h"

namespace moai {
namespace {

using Json = nlohmann::ordered_json;

// A captured step with everything that its plans share.
struct Model {
  CapturedStep step;
  std::vector<TensorType> types;
  std::unique_ptr<SearchSpace> space;
};

using ModelKey = std::tuple<models::LanguageModelSizes, int64_t, int>;

ModelKey KeyOf(const PublishedCase& c) { return {c.sizes, c.batch, int(c.dtype)}; }

absl::StatusOr<Model> MakeModel(const PublishedCase& c) {
  MOAI_ASSIGN_OR_RETURN(const models::ModelConfig config, models::ConfigForSizes(c.sizes));
  Model model;
  MOAI_ASSIGN_OR_RETURN(model.step,
                        models::CaptureModel("row", config, c.batch, {.autocast = c.dtype}));
  MOAI_ASSIGN_OR_RETURN(model.types, InferGraph(*model.step.graph, model.step.sizes));
  const SearchRequest request{
      .graph = model.step.graph.get(), .sizes = model.step.sizes, .types = model.types};
  MOAI_ASSIGN_OR_RETURN(SearchSpace space, SearchSpace::Make(request));
  model.space = std::make_unique<SearchSpace>(std::move(space));
  return model;
}

std::string PlanText(const StatedPlan& p) {
  return absl::StrCat("dp=", p.data, " cp=", p.context, " tp=", p.model, " pp=", p.stages,
                      " vp=", p.virtual_stages, " m=", p.micro_batches, " state=", int(p.state),
                      "/", p.state_group, " recompute=", Name(p.recompute),
                      " light=", int(p.light));
}

// Beside what a step allocates: the context, workspaces of libraries, buffers of collectives.
constexpr double kBesideStep = kGibi;
// What published runs state as their peak is what PyTorch's allocator had taken from the device. It
// rounds sizes up, cannot use every hole, and keeps what it has as long as there is room: it takes
// more, but does not need more. A constant of that software, not of the plan.
constexpr double kAllocatorShare = 1.07;

double NeededBytes(const StepCost& cost) { return double(cost.total_bytes()) + kBesideStep; }
double ReportedBytes(const StepCost& cost) {
  return double(cost.total_bytes()) * kAllocatorShare + kBesideStep;
}

// What a stated plan leaves open is chosen as the planner does: the fastest that fits. Which that
// is hardly depends on the batch: found once for a model, a size of the tensor axis and what was
// said of light nodes, and again where it does not fit.
class Predictor {
 public:
  // "Selective" is said of two things: of recomputing the products inside attention alone, beside
  // sequence parallelism on a tensor axis (arXiv 2205.05198), which fused attention does in any
  // case; and, elsewhere, of recomputing what is light. The first where it can be meant and fits.
  absl::StatusOr<StepCost> Predict(const PublishedCase& c, const Model& model) {
    if (c.plan.recompute == RecomputeMode::kSelective && c.plan.model > 1) {
      PublishedCase attention = c;
      attention.plan.recompute = RecomputeMode::kNone;
      absl::StatusOr<StepCost> cost = PredictStated(attention, model);
      if (cost.ok() && Fits(c, *cost)) return cost;
    }
    return PredictStated(c, model);
  }

 private:
  absl::StatusOr<StepCost> PredictStated(const PublishedCase& c, const Model& model) {
    MOAI_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates,
                          CandidatesFor(model.space->facts(c.plan.recompute), c.plan));
    const auto key = std::tuple(c.sizes, c.plan.model, c.plan.context > 1, int(c.plan.light),
                                int(c.plan.recompute));
    const auto known = chosen_.find(key);
    if (known != chosen_.end() && known->second < candidates.size()) {
      const absl::StatusOr<StepCost> cost = CostOf(c, model, candidates[known->second]);
      if (cost.ok() && Fits(c, *cost)) return cost;
    }
    absl::StatusOr<StepCost> best = absl::InternalError("no candidate");
    for (size_t i = 0; i < candidates.size(); ++i) {
      absl::StatusOr<StepCost> cost = CostOf(c, model, candidates[i]);
      if (best.ok() && (!cost.ok() || !Better(c, *cost, *best))) continue;
      best = std::move(cost);
      chosen_[key] = i;
    }
    return best;
  }

  static bool Fits(const PublishedCase& c, const StepCost& cost) {
    return NeededBytes(cost) <= c.cluster.device.memory_bytes;
  }
  static bool Better(const PublishedCase& c, const StepCost& one, const StepCost& other) {
    if (Fits(c, one) != Fits(c, other)) return Fits(c, one);
    if (!Fits(c, one)) return one.total_bytes() < other.total_bytes();
    return one.seconds < other.seconds;
  }

  absl::StatusOr<StepCost> CostOf(const PublishedCase& c, const Model& model,
                                  const Candidate& candidate) const {
    MOAI_ASSIGN_OR_RETURN(const PartitionRequest request,
                          model.space->RequestFor(candidate, /*sample=*/true));
    MOAI_ASSIGN_OR_RETURN(const PartitionedGraph partitioned, Partition(request));
    return Evaluate(
        c.cluster, partitioned,
        {.micro_batches = candidate.micro_batches, .virtual_stages = candidate.virtual_stages});
  }

  std::map<std::tuple<models::LanguageModelSizes, int64_t, bool, int, int>, size_t> chosen_;
};

Json Percent(const std::optional<double>& fraction) {
  return fraction.has_value() ? Json(*fraction * 100) : Json(nullptr);
}
Json Value(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

std::string Cell(const std::optional<double>& fraction) {
  return fraction.has_value() ? absl::StrFormat("%.1f", *fraction * 100) : "-";
}

void PrintTables(const PublishedScore& score, const std::map<std::string, size_t>& refused) {
  std::printf("%-66s %5s %8s %8s %8s %8s %8s\n", "source", "rows", "time %", "scaled %", "p95 %",
              "scalar", "memory %");
  for (const auto& [name, source] : score.by_source) {
    std::printf("%-66s %5zu %8s %8s %8s %8s %8s\n", name.substr(0, 66).c_str(), source.predicted,
                Cell(source.time_median).c_str(), Cell(source.time_median_scaled).c_str(),
                Cell(source.time_p95_scaled).c_str(),
                source.scalar.has_value() ? absl::StrFormat("%.3f", *source.scalar).c_str() : "-",
                Cell(source.memory_median).c_str());
  }
  std::printf("\n%5s  %s\n", "rows", "refused because");
  for (const auto& [reason, count] : refused) std::printf("%5zu  %s\n", count, reason.c_str());
  std::printf(
      "\n%zu rows with a scalar, %zu with a peak of memory, %zu that say whether they fit, "
      "%zu tasks with several plans\n",
      score.scaled_rows, score.memory_rows, score.fits_rows, score.tasks);
}

Json ScoreJson(const PublishedScore& score, size_t rows, size_t predicted, size_t assumed,
               double seconds, double processor_seconds) {
  Json by_source = Json::object();
  for (const auto& [name, source] : score.by_source) {
    by_source[name] = {{"predicted", source.predicted},
                       {"time_median_pct", Percent(source.time_median)},
                       {"time_median_pct_scaled", Percent(source.time_median_scaled)},
                       {"time_p95_pct_scaled", Percent(source.time_p95_scaled)},
                       {"scalar", Value(source.scalar)},
                       {"memory_median_pct", Percent(source.memory_median)}};
  }
  Json json = {{"rows", rows},
               {"predicted", predicted},
               {"refused", rows - predicted},
               {"recompute_assumed_none", assumed},
               {"time_median_pct", Percent(score.time_median)},
               {"time_bias_pct", Percent(score.time_bias)},
               {"time_median_pct_scaled", Percent(score.time_median_scaled)},
               {"time_p95_pct_scaled", Percent(score.time_p95_scaled)},
               {"memory_rows", score.memory_rows},
               {"memory_median_pct", Percent(score.memory_median)},
               {"fits_rows", score.fits_rows},
               {"false_fits", score.false_fits},
               {"false_refusals", score.false_refusals},
               {"tasks", score.tasks},
               {"mean_regret_pct", Percent(score.mean_regret)},
               {"max_regret_pct", Percent(score.max_regret)},
               {"spearman", Value(score.spearman)},
               {"spearman_all_rows", Value(score.spearman_all)},
               {"seconds", seconds},
               {"processor_seconds", processor_seconds},
               {"by_source", by_source}};
  if (!score.memory_median.has_value() || !score.time_median.has_value() || score.tasks == 0) {
    json["why"] = "the table has no row that states what the null figures need";
  }
  return json;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: plan_published FILE [ROWS_FILE]\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor_start = std::clock();
  const absl::StatusOr<std::vector<PublishedRow>> rows = ReadPublishedTable(argv[1]);
  if (!rows.ok()) {
    std::fprintf(stderr, "%s\n", rows.status().ToString().c_str());
    return 1;
  }
  std::ofstream details;
  if (argc > 2) details.open(argv[2]);
  std::map<std::string, size_t> refused;
  std::map<ModelKey, std::vector<std::pair<const PublishedRow*, PublishedCase>>> cases;
  size_t refused_rows = 0;
  const auto refuse = [&](const PublishedRow& row, const absl::Status& status) {
    ++refused[std::string(status.message())];
    ++refused_rows;
    if (details) details << row.line << "\trefused\t" << status.message() << "\n";
  };
  for (const PublishedRow& row : *rows) {
    absl::StatusOr<PublishedCase> c = ReadCase(row);
    if (!c.ok()) {
      refuse(row, c.status());
    } else {
      cases[KeyOf(*c)].emplace_back(&row, *std::move(c));
    }
  }
  Predictor predictor;
  std::vector<PredictedRow> predicted;
  size_t assumed = 0;
  for (const auto& [key, group] : cases) {
    const absl::StatusOr<Model> model = MakeModel(group[0].second);
    for (const auto& [row, c] : group) {
      const absl::StatusOr<StepCost> cost =
          model.ok() ? predictor.Predict(c, *model) : model.status();
      if (!cost.ok()) {
        refuse(*row, cost.status());
        continue;
      }
      if (!c.recompute_stated) ++assumed;
      predicted.push_back(
          {.source = row->source,
           .task = absl::StrCat(row->source, "|", row->model, "|", c.sizes.layers, "|",
                                c.sizes.sequence, "|", row->gpu, "|", c.devices, "|", c.batch),
           .plan = PlanText(c.plan),
           .seconds = c.seconds,
           .predicted_seconds = cost->seconds,
           .bytes = c.peak_bytes,
           .predicted_bytes = ReportedBytes(*cost),
           .needed_bytes = NeededBytes(*cost),
           .limit_bytes = c.memory_bytes,
           .memory_stated = c.recompute_stated});
      if (details) {
        details << absl::StrFormat(
            "%d\t%s\t%s\t%s x%d\t%s\tmeasured %.4f s\tpredicted %.4f s (compute %.4f, "
            "communication %.4f)\tratio %.3f\tpeak %.1f GiB\tpredicted %.1f GiB (needed %.1f)\n",
            row->line, row->source, row->model, row->gpu, c.devices, PlanText(c.plan), c.seconds,
            cost->seconds, cost->compute, cost->communication,
            c.seconds > 0 ? cost->seconds / c.seconds : 0.0, c.peak_bytes / kGibi,
            ReportedBytes(*cost) / kGibi, NeededBytes(*cost) / kGibi);
        details.flush();
      }
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const PublishedScore score = ScorePublished(predicted);
  PrintTables(score, refused);
  const Json json =
      ScoreJson(score, rows->size(), rows->size() - refused_rows, assumed, took.count(),
                double(std::clock() - processor_start) / CLOCKS_PER_SEC);
  std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
