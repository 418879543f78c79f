// How much is lost by the planner's choice: small models train on two CPU devices, a core each,
// with the link between them throttled to a stated rate so that communication matters, under every
// plan of a small space and under the one that is chosen.
//
// A plan has a server and two workers of its own, which force it (--force_plan) and do nothing but
// when it is their turn: plans take turns in a random order, round after round, each on a new
// session, and the medians of the rounds are compared. From the second round on only those that may
// be the fastest take turns. Plans that come to the same decisions are one. The workers' profile of
// the devices and of the link, which all plan with, is measured first, on a machine that does
// nothing else.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "benchmarks/regret_score.h"
#include "benchmarks/small_models.h"
#include "client/moai.h"
#include "nlohmann/json.hpp"
#include "scheduler/cost/scoring.h"
#include "tests/end_to_end/cluster.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/profile/measure_device.h"
#include "worker/profile/measure_links.h"

ABSL_FLAG(double, seconds, 1200, "what measuring may take; each model has an equal share of it");
ABSL_FLAG(int, rounds, 1, "turns that each plan has at least, whatever they take");
ABSL_FLAG(int, contender_rounds, 4, "turns that those that may be the fastest have at least");
ABSL_FLAG(int, steps, 10, "steps of a turn that are measured, but for turns of over two seconds");
ABSL_FLAG(int, warmup, 3, "steps before them: memory is touched for the first time, plans change");
ABSL_FLAG(std::vector<std::string>, models, {}, "names of small_models.h; all by default");
ABSL_FLAG(std::vector<std::string>, link_mb, (std::vector<std::string>{"200", "50"}),
          "rates of the link in 10^6 bytes a second, one way; models take them by turns");
ABSL_FLAG(double, link_latency_us, 100, "latency of the link, on top of its own");
ABSL_FLAG(std::string, device_memory, "2GiB", "of each device");
ABSL_FLAG(std::vector<std::string>, plans, {},
          "plans to measure in place of the whole space, each as --force_plan takes it but with + "
          "for its commas");

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

// So many plans are measured again and again.
constexpr size_t kContenders = 8;
// After so many seconds a turn ends, and so many steps are measured all the same.
constexpr double kTurnSeconds = 2;
constexpr int kLeastSteps = 2;
// Losses of two plans differ by rounding only.
constexpr double kSameLoss = 2e-3;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / double(values.size());
}

// Everything that two devices can be told to do, as --force_plan takes it: each axis, what is done
// to state and activations, few micro-batches where nothing but memory wants them, and as many as
// there can be in a pipeline.
std::vector<std::string> Space() {
  std::vector<std::string> space;
  for (const std::string& plan : absl::GetFlag(FLAGS_plans)) {
    space.push_back(absl::StrReplaceAll(plan, {{"+", ","}}));
  }
  if (!space.empty()) return space;
  for (const int recompute : {0, 1, 2}) {
    for (const int micro_batches : {1, 2}) {
      const std::string rest =
          absl::StrCat(",micro_batches=", micro_batches, ",recompute=", recompute);
      for (const int state : {0, 1, 2, 3}) {
        space.push_back(absl::StrCat("data=2,model=1,state=", state, rest));
      }
      for (const int sequence : {0, 1}) {
        space.push_back(absl::StrCat("data=1,model=2,state=0,sequence=", sequence, rest));
      }
    }
    for (const int micro_batches : {2, 4, 8, 16}) {
      space.push_back(absl::StrCat("data=1,model=1,stages=2,micro_batches=", micro_batches,
                                   ",recompute=", recompute));
    }
  }
  return space;
}

struct MeasuredPlan {
  std::string forced;  // empty: chosen by the planner
  std::unique_ptr<Cluster> cluster;
  std::string description;
  double predicted_s = 0;
  // Seconds of a step; of contenders, only since they were found to be some: what seemed fast
  // because it was lucky is measured anew.
  std::vector<double> rounds;
  double loss = 0;
  double seconds() const { return Median(rounds); }
};

struct Case {
  std::string model;
  double link_mb = 0;
  size_t plans = 0;  // distinct ones that fit
  std::string chosen, best;
  double chosen_s = 0, best_s = 0;
  double regret_pct = 0;    // of the chosen plan: Regret::held_out
  double of_least_pct = 0;  // Regret::of_least
  double random_pct = 0;    // of a plan drawn at random, on average
  double noise_pct = 0;     // of measuring a plan again
  double spearman = 0;      // of predictions with measurements
};

// What the server said of the last large graph that it planned: the training step as it stays. The
// first step makes the optimizer's state, and may have another plan.
void ReadPlan(const std::string& log, MeasuredPlan& plan) {
  int64_t most = 0;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    const size_t at = line.find("planned nodes=");
    const size_t text = line.find(" plan=\"");
    const size_t end = line.find("; predicted ");
    if (at == line.npos || text == line.npos || end == line.npos) continue;
    int64_t nodes = 0;
    const size_t number = at + 14;
    if (!absl::SimpleAtoi(line.substr(number, line.find(' ', number) - number), &nodes)) continue;
    if (2 * nodes < most) continue;
    most = std::max(most, nodes);
    plan.description = std::string(line.substr(text + 7, end - text - 7));
    const absl::string_view rest = line.substr(end + 12);
    if (!absl::SimpleAtod(rest.substr(0, rest.find(' ')), &plan.predicted_s)) plan.predicted_s = 0;
  }
}

absl::StatusOr<std::unique_ptr<Cluster>> StartCluster(const std::string& forced, double link_mb,
                                                      const std::string& profiles) {
  ClusterOptions options{
      .workers = 2,
      .devices_per_session = 2,
      .device_memory = absl::GetFlag(FLAGS_device_memory),
      .threads = 1,
      .worker_flags = {absl::StrCat("--profile_directory=", profiles),
                       absl::StrCat("--link_rate=", int64_t(link_mb * 1e6)),
                       absl::StrCat("--link_latency_us=", absl::GetFlag(FLAGS_link_latency_us))}};
  if (!forced.empty()) options.server_flags.push_back(absl::StrCat("--force_plan=", forced));
  return Cluster::Start(options);
}

// A turn: a new session, from the same start and with the same batches each time. Every step's loss
// is read.
absl::Status TakeTurn(const SmallModel& model, MeasuredPlan& plan) {
  MOAI_ASSIGN_OR_RETURN(const Accelerator accelerator,
                        Accelerator::Connect({.server = plan.cluster->address(), .log = false}));
  ManualSeed(1);
  const SmallTraining training = model.make();
  optim::AdamW optimizer(training.module->NamedParameters(), {.learning_rate = 1e-3});
  std::vector<double> seconds;
  const int warmup = absl::GetFlag(FLAGS_warmup), steps = warmup + absl::GetFlag(FLAGS_steps);
  const Clock::time_point turn = Clock::now();
  for (int step = 0; step < steps; ++step) {
    if (step >= warmup + kLeastSteps && Seconds(turn) > kTurnSeconds) break;
    const Clock::time_point begin = Clock::now();
    const Tensor loss = training.loss(step);
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    MOAI_ASSIGN_OR_RETURN(const double value, loss.Item());
    if (step == warmup) plan.loss = value;  // a step that all plans come to
    if (step >= warmup) seconds.push_back(Seconds(begin));
  }
  plan.rounds.push_back(Median(std::move(seconds)));
  return absl::OkStatus();
}

class CaseRun {
 public:
  CaseRun(const SmallModel& model, double link_mb, double budget, const std::string& profiles)
      : model_(model), link_mb_(link_mb), budget_(budget), profiles_(profiles) {}

  absl::StatusOr<Case> Run() {
    MOAI_RETURN_IF_ERROR(Begin());
    std::vector<MeasuredPlan*> turns = {&chosen_};
    for (MeasuredPlan& plan : plans_) turns.push_back(&plan);
    std::mt19937 random(1);
    const auto round = [&]() -> absl::Status {
      std::shuffle(turns.begin(), turns.end(), random);
      for (MeasuredPlan* plan : turns) MOAI_RETURN_IF_ERROR(TakeTurn(model_, *plan));
      return absl::OkStatus();
    };
    // The first turn of each plan was its first round.
    for (int i = 1; i < absl::GetFlag(FLAGS_rounds); ++i) MOAI_RETURN_IF_ERROR(round());
    // What is left goes to those that may be the fastest.
    std::sort(turns.begin(), turns.end(), [](const MeasuredPlan* a, const MeasuredPlan* b) {
      return a->seconds() < b->seconds();
    });
    turns.resize(std::min(turns.size(), kContenders));
    if (std::find(turns.begin(), turns.end(), &chosen_) == turns.end()) turns.push_back(&chosen_);
    for (MeasuredPlan* plan : turns) plan->rounds.clear();
    const int least = std::max(1, absl::GetFlag(FLAGS_contender_rounds));
    for (int i = 0; i < least || Seconds(begin_) < budget_; ++i) MOAI_RETURN_IF_ERROR(round());
    return Compare();
  }

 private:
  // Starts the plans that exist, and has each take a turn.
  absl::Status Begin() {
    MOAI_ASSIGN_OR_RETURN(chosen_.cluster, StartCluster("", link_mb_, profiles_));
    MOAI_RETURN_IF_ERROR(TakeTurn(model_, chosen_));
    ReadPlan(chosen_.cluster->Log(), chosen_);
    for (const std::string& forced : Space()) {
      MeasuredPlan plan{.forced = forced};
      MOAI_ASSIGN_OR_RETURN(plan.cluster, StartCluster(forced, link_mb_, profiles_));
      const absl::Status status = TakeTurn(model_, plan);
      if (absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status)) continue;
      MOAI_RETURN_IF_ERROR(status);
      ReadPlan(plan.cluster->Log(), plan);
      const bool known = std::any_of(plans_.begin(), plans_.end(), [&](const MeasuredPlan& other) {
        return other.description == plan.description;
      });
      if (known || plan.description.empty()) continue;
      if (std::abs(plan.loss - chosen_.loss) > kSameLoss * std::abs(chosen_.loss)) {
        return absl::InternalError(absl::StrCat(model_.name, " under ", forced,
                                                " came to a loss of ", plan.loss, ", not ",
                                                chosen_.loss));
      }
      plans_.push_back(std::move(plan));
    }
    if (plans_.empty()) return absl::InternalError(absl::StrCat("no plan of ", model_.name));
    return absl::OkStatus();
  }

  Case Compare() {
    Case result{.model = model_.name, .link_mb = link_mb_, .plans = plans_.size()};
    // Measured twice where it is in the space, which it is but for roles that no flag names.
    for (MeasuredPlan& plan : plans_) {
      if (plan.description != chosen_.description) continue;
      if (plan.rounds.size() != chosen_.rounds.size()) continue;
      for (size_t i = 0; i < plan.rounds.size(); ++i) {
        plan.rounds[i] = (plan.rounds[i] + chosen_.rounds[i]) / 2;
      }
      chosen_.rounds = plan.rounds;
    }
    std::vector<const MeasuredPlan*> sorted;
    for (const MeasuredPlan& plan : plans_) sorted.push_back(&plan);
    std::sort(sorted.begin(), sorted.end(), [](const MeasuredPlan* a, const MeasuredPlan* b) {
      return a->seconds() < b->seconds();
    });
    // Of those that were measured again and again.
    const auto contender = [this](const MeasuredPlan* plan) {
      return plan->rounds.size() == chosen_.rounds.size();
    };
    const MeasuredPlan& best = **std::find_if(sorted.begin(), sorted.end(), contender);
    result.best = best.description;
    result.best_s = best.seconds();
    result.chosen = chosen_.description;
    std::vector<double> regrets, measured, predicted, noise;
    std::vector<std::vector<double>> others;
    for (const MeasuredPlan* plan : sorted) {
      regrets.push_back(plan->seconds() / best.seconds() - 1);
      measured.push_back(plan->seconds());
      predicted.push_back(plan->predicted_s);
      if (plan->description != chosen_.description) others.push_back(plan->rounds);
      // Of two rounds next to each other, as a share of their mean.
      for (size_t i = 1; i < plan->rounds.size(); ++i) {
        const double a = plan->rounds[i - 1], b = plan->rounds[i];
        noise.push_back(2 * std::abs(a - b) / (a + b));
      }
    }
    const Regret regret = RegretOf(chosen_.rounds, others);
    result.chosen_s = chosen_.seconds();
    result.regret_pct = 100 * regret.held_out;
    result.of_least_pct = 100 * regret.of_least;
    result.random_pct = 100 * Mean(regrets);
    result.noise_pct = 100 * Median(noise);
    result.spearman = Spearman(measured, predicted);
    Print(result, sorted);
    return result;
  }

  void Print(const Case& result, const std::vector<const MeasuredPlan*>& sorted) const {
    absl::PrintF("\n%s, link of %g MB/s: %d plans\n   measured  predicted  rounds\n", result.model,
                 link_mb_, result.plans);
    for (const MeasuredPlan* plan : sorted) {
      absl::PrintF("%8.2f ms %7.2f ms %7d %s %s\n", plan->seconds() * 1e3, plan->predicted_s * 1e3,
                   plan->rounds.size(), plan->description == result.chosen ? "*" : " ",
                   plan->description);
    }
    absl::PrintF(
        "* chosen: %.2f ms, %.1f %% above the fastest (%.1f %% above the least of these figures); "
        "a random plan %.1f %%; noise %.1f %%; rank correlation %.2f\n",
        result.chosen_s * 1e3, result.regret_pct, result.of_least_pct, result.random_pct,
        result.noise_pct, result.spearman);
    std::fflush(stdout);
  }

  const SmallModel& model_;
  const double link_mb_;
  const double budget_;
  const std::string profiles_;
  const Clock::time_point begin_ = Clock::now();
  MeasuredPlan chosen_;
  std::vector<MeasuredPlan> plans_;
};

void PrintJson(const std::vector<Case>& cases) {
  std::vector<double> regrets, of_least, randoms, noises, ranks;
  nlohmann::json by_case = nlohmann::json::array();
  for (const Case& one : cases) {
    regrets.push_back(one.regret_pct);
    of_least.push_back(one.of_least_pct);
    randoms.push_back(one.random_pct);
    noises.push_back(one.noise_pct);
    ranks.push_back(one.spearman);
    by_case.push_back({{"model", one.model},
                       {"link_mb_per_s", one.link_mb},
                       {"plans", one.plans},
                       {"chosen", one.chosen},
                       {"chosen_ms", one.chosen_s * 1e3},
                       {"best", one.best},
                       {"best_ms", one.best_s * 1e3},
                       {"regret_pct", one.regret_pct},
                       {"regret_of_least_pct", one.of_least_pct},
                       {"random_regret_pct", one.random_pct},
                       {"noise_pct", one.noise_pct},
                       {"spearman", one.spearman}});
  }
  const double worst = regrets.empty() ? 0 : *std::max_element(regrets.begin(), regrets.end());
  const nlohmann::json json = {{"mean_regret_pct", Mean(regrets)},
                               {"max_regret_pct", worst},
                               {"mean_regret_of_least_pct", Mean(of_least)},
                               {"random_regret_pct", Mean(randoms)},
                               {"noise_pct", Mean(noises)},
                               {"spearman", Mean(ranks)},
                               {"cases", cases.size()},
                               {"by_case", by_case}};
  std::puts(json.dump().c_str());
}

// What all workers will find in `profiles`: measured once, in full, with nothing beside it.
absl::Status MeasureProfiles(const std::string& profiles, const std::vector<double>& rates) {
  MOAI_RETURN_IF_ERROR(
      LoadOrMeasureDevice(profiles, MakeCpuKernel, {.threads = 1}, {.seconds = 60}).status());
  for (const double rate : rates) {
    LinkOptions options;
    options.throttle = {.bytes_per_second = double(int64_t(rate * 1e6)),
                        .latency_us = absl::GetFlag(FLAGS_link_latency_us),
                        .in_process = true};
    MOAI_ASSIGN_OR_RETURN(const LinksMeasurement links, LoadOrMeasureLinks(profiles, options));
    absl::PrintF("link of %g MB/s: %.1f us, all_gather %.1f MB/s, all_reduce %.1f MB/s\n", rate,
                 links.host.latency_us, links.host.gather_gb_per_s * 1e3,
                 links.host.reduce_gb_per_s * 1e3);
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

absl::Status Run() {
  std::vector<double> rates;
  for (const std::string& text : absl::GetFlag(FLAGS_link_mb)) {
    double rate = 0;
    if (!absl::SimpleAtod(text, &rate) || !(rate > 0)) {
      return absl::InvalidArgumentError(absl::StrCat("--link_mb: ", text, " is no rate"));
    }
    rates.push_back(rate);
  }
  std::vector<SmallModel> models;
  const std::vector<std::string> wanted = absl::GetFlag(FLAGS_models);
  for (SmallModel& model : SmallModels()) {
    const bool here = std::find(wanted.begin(), wanted.end(), model.name) != wanted.end();
    if (wanted.empty() || here) models.push_back(std::move(model));
  }
  if (models.empty() || rates.empty()) {
    return absl::InvalidArgumentError("--models, --link_mb: nothing to measure");
  }
  char profiles[] = "/tmp/moai-regret-XXXXXX";
  if (mkdtemp(profiles) == nullptr) return absl::InternalError("cannot make a directory in /tmp");
  std::vector<Case> cases;
  absl::Status status = MeasureProfiles(profiles, rates);
  for (size_t i = 0; i < models.size() && status.ok(); ++i) {
    const double budget = absl::GetFlag(FLAGS_seconds) / double(models.size());
    absl::StatusOr<Case> one = CaseRun(models[i], rates[i % rates.size()], budget, profiles).Run();
    status = one.status();
    if (one.ok()) cases.push_back(*std::move(one));
  }
  std::error_code ignored;
  std::filesystem::remove_all(profiles, ignored);
  MOAI_RETURN_IF_ERROR(status);
  PrintJson(cases);
  return absl::OkStatus();
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = moai::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "plan_regret: %s\n", std::string(status.message()).c_str());
  return 1;
}
