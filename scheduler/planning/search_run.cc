// The walk through the space of plans.
//
// A mesh with its lists is first costed in its fastest form: nothing recomputed, state whole. That
// bounds what the same mesh can reach with less memory, so that most are never looked at again.
// Where blocks repeat, candidates are costed by few of them, and the best by the whole graph.
// Lists are compared once, on one mesh, and only the best go through all meshes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/planning/search.h"

namespace moai {
namespace {

constexpr RecomputeMode kModes[] = {RecomputeMode::kNone, RecomputeMode::kSelective,
                                    RecomputeMode::kFull};
constexpr StateSharding kStates[] = {StateSharding::kNone, StateSharding::kOptimizer,
                                     StateSharding::kGradients, StateSharding::kParameters};
constexpr int64_t kChunks[] = {1, 2, 4, 8};
// How many lists go through every mesh.
constexpr size_t kDataLists = 2, kModelLists = 3;
// The model axis on which lists are compared.
constexpr int64_t kComparedExtent = 8;
// How many meshes are looked at in forms that need less memory, once one fits.
constexpr size_t kMostMeshes = 24;

// Estimates of memory up to this much above the limit are looked at more closely.
constexpr double kNearlyFits = 1.1;
// How many of the best plans have the cost of the whole graph, and how many are tried for it.
constexpr size_t kFinalists = 3;
constexpr int kMostFinalists = 12;

using RoleList = std::vector<RoleId>;

// Stages, and two axes at most in each: one for what comes with each step, one for what does not.
struct MeshShape {
  int64_t stages = 1;
  int64_t data = 1;
  int64_t model = 1;
};

struct Base {
  MeshShape shape;
  size_t data_list = 0;
  size_t model_list = 0;
  double bound = 0;           // seconds
  int64_t micro_batches = 1;  // of a pipeline: with which it is fastest
};

// A plan and whether its cost is that of the whole graph.
struct Kept {
  EvaluatedCandidate plan;
  bool exact = false;
};

bool Allows(int64_t fixed, int64_t value) { return fixed == 0 || fixed == value; }

class SearchRun {
 public:
  SearchRun(const SearchSpace& space, const SearchRequest& request)
      : space_(space), request_(request), fixed_(request.constraints) {}

  absl::StatusOr<SearchResult> Run() {
    for (RecomputeMode mode : kModes) {
      data_[size_t(mode)] = space_.GrowLists(space_.facts(mode), /*data=*/true);
      model_[size_t(mode)] = space_.GrowLists(space_.facts(mode), /*data=*/false);
    }
    CompareLists();
    BoundMeshes();
    if (bases_.empty()) {
      if (!last_error_.ok()) return last_error_;
      return absl::InvalidArgumentError("no mesh of these devices satisfies the constraints");
    }
    std::stable_sort(bases_.begin(), bases_.end(),
                     [](const Base& a, const Base& b) { return a.bound < b.bound; });
    for (size_t i = 0; i < bases_.size(); ++i) {
      if (bases_[i].bound >= best_ || (i >= kMostMeshes && !fitting_.empty())) break;
      TryForms(bases_[i]);
    }
    return Finish();
  }

 private:
  int64_t available() const { return request_.memory_bytes - request_.other_bytes; }

  // Samples of a step, or whatever else comes with it and is split in micro-batches.
  int64_t Samples(const Base& base, RecomputeMode mode) const {
    const RoleList& list = data_[size_t(mode)][base.data_list];
    return list.empty() ? 1 : space_.facts(mode).roles()[list[0]].extent;
  }

  // Powers of two and the largest, that divide the step into equal parts of a sample for each
  // device at least; of a pipeline, at least one for each stage.
  std::vector<int64_t> MicroBatches(const Base& base, RecomputeMode mode) const {
    const int64_t all = Samples(base, mode), samples = PartOf(all, base.shape.data, 0);
    std::vector<int64_t> counts;
    for (int64_t m = 1; m <= samples; m *= 2) {
      if (all % m == 0) counts.push_back(m);
    }
    for (int64_t m = counts.back(); m <= samples && m <= 4096; ++m) {
      if (all % m == 0 && m != counts.back() && (m == samples || samples < 64)) {
        counts.push_back(m);
      }
    }
    if (fixed_.micro_batches != 0) counts = {fixed_.micro_batches};
    // Redistributions come on top of the graph's own nodes: half as many, say.
    const int64_t nodes = int64_t(space_.facts(mode).graph().nodes.size()) * 3 / 2;
    std::erase_if(counts, [&](int64_t m) {
      return all % m != 0 || m > samples || (base.shape.stages > 1 && m < base.shape.stages) ||
             (request_.most_nodes > 0 && m > 1 && m * nodes > request_.most_nodes);
    });
    return counts;
  }

  bool MayHaveMicroBatches(const Base& base, RecomputeMode mode) const {
    const std::vector<int64_t> counts = MicroBatches(base, mode);
    return !counts.empty() && counts.back() > 1;
  }

  Candidate Make(const Base& base, RecomputeMode mode, StateSharding state, int64_t micro_batches,
                 int64_t chunks) const {
    Candidate candidate;
    candidate.recompute = mode;
    candidate.micro_batches = micro_batches;
    candidate.stages = base.shape.stages;
    candidate.virtual_stages = chunks;
    const RoleList& data = data_[size_t(mode)][base.data_list];
    if (base.shape.data > 1) {
      candidate.axes.push_back({.extent = base.shape.data, .roles = data, .state = state});
      candidate.axis_names.push_back("data");
    }
    if (base.shape.model > 1) {
      candidate.axes.push_back(
          {.extent = base.shape.model, .roles = model_[size_t(mode)][base.model_list]});
      candidate.axis_names.push_back("model");
    }
    if (!data.empty()) candidate.time_roles = {data[0]};
    return candidate;
  }

  std::optional<StepCost> Evaluate(const Candidate& candidate) {
    absl::StatusOr<StepCost> cost = space_.EstimateCandidate(candidate);
    if (!cost.ok()) {
      last_error_ = cost.status();
      return std::nullopt;
    }
    ++result_.evaluated;
    if (cost->total_bytes() <= available()) ++result_.fit;
    return *cost;
  }

  // Keeps the lists that are fastest on one mesh, and of those for the model axis the fastest that
  // leaves whole what comes with the step, for heavy nodes or for all: what splits batches is fast
  // where all state fits, and of no use where it does not.
  void CompareLists() {
    const int64_t model =
        fixed_.model > 1 ? fixed_.model : std::min(kComparedExtent, request_.devices);
    const auto order = [&](size_t count, size_t most, int64_t data_extent, int64_t model_extent,
                           bool data) {
      std::vector<std::pair<double, size_t>> costs;
      for (size_t i = 0; i < count; ++i) {
        const Base base{{1, data_extent, model_extent}, data ? i : 0, data ? 0 : i, 0};
        const auto cost = Evaluate(Make(base, RecomputeMode::kNone, StateSharding::kNone, 1, 1));
        if (cost.has_value()) costs.push_back({cost->seconds, i});
      }
      std::stable_sort(costs.begin(), costs.end());
      std::vector<size_t> best;
      double last = -1;
      for (const auto& [seconds, i] : costs) {
        // Lists that cost the same to the last digit do the same.
        if (seconds == last || best.size() == most) continue;
        last = seconds;
        best.push_back(i);
      }
      if (data) return best;
      const GraphFacts& facts = space_.facts(RecomputeMode::kNone);
      for (const int split : {0, 1}) {
        const auto of_split = [&](size_t i) { return SequenceSplit(facts, model_[0][i]) == split; };
        if (std::any_of(best.begin(), best.end(), of_split)) continue;
        const auto fastest = std::find_if(costs.begin(), costs.end(),
                                          [&](const auto& cost) { return of_split(cost.second); });
        if (fastest != costs.end()) best.push_back(fastest->second);
      }
      return best;
    };
    kept_data_ = order(data_[0].size(), kDataLists, request_.devices, 1, true);
    if (kept_data_.empty()) kept_data_ = {0};
    if (request_.devices > 1) {
      kept_model_ = order(model_[0].size(), kModelLists, 1, model, false);
    }
    if (kept_model_.empty()) kept_model_ = {0};
  }

  void BoundMeshes() {
    for (int64_t stages = 1; stages <= request_.most_stages; ++stages) {
      if (request_.devices % stages != 0 || !Allows(fixed_.stages, stages)) continue;
      const int64_t rest = request_.devices / stages;
      for (int64_t model = 1; model <= rest; ++model) {
        if (rest % model != 0 || !Allows(fixed_.model, model)) continue;
        if (!Allows(fixed_.data, rest / model)) continue;
        for (size_t data_list : kept_data_) {
          for (size_t model_list : kept_model_) {
            if (model == 1 && model_list != kept_model_[0]) continue;
            Bound({{stages, rest / model, model}, data_list, model_list, 0});
          }
        }
      }
    }
  }

  void Bound(Base base) {
    const RoleList& model = model_[0][base.model_list];
    // A factor that does not reach all devices of its axis leaves some idle.
    if (base.shape.model > 1 && fixed_.model == 0 && !model.empty() &&
        space_.facts(RecomputeMode::kNone).roles()[model[0]].extent < base.shape.model) {
      return;
    }
    // Two axes that split the same are one, with its words: devices that share samples share no
    // tensors.
    const RoleList& data = data_[0][base.data_list];
    if (base.shape.model > 1 && fixed_.model == 0 && !model.empty() && !data.empty() &&
        model[0] == data[0]) {
      return;
    }
    const std::vector<int64_t> counts = MicroBatches(base, RecomputeMode::kNone);
    if (counts.empty()) return;
    if (base.shape.stages > 1) {
      BoundPipeline(counts, base);
      if (!std::isfinite(base.bound)) return;
    } else {
      const auto cost =
          Evaluate(Make(base, RecomputeMode::kNone, StateSharding::kNone, counts.front(), 1));
      if (!cost.has_value()) return;
      base.bound = cost->seconds;
    }
    bases_.push_back(base);
  }

  // A pipeline's bubble shrinks with micro-batches, and what each of them costs grows: from the
  // most down, as long as fewer are faster.
  void BoundPipeline(const std::vector<int64_t>& counts, Base& base) {
    base.bound = std::numeric_limits<double>::infinity();
    for (size_t i = counts.size(); i-- > 0;) {
      const auto cost =
          Evaluate(Make(base, RecomputeMode::kNone, StateSharding::kNone, counts[i], 1));
      if (!cost.has_value() || cost->seconds >= base.bound) break;
      base.bound = cost->seconds;
      base.micro_batches = counts[i];
    }
    base.bound *= 0.8;  // chunks make its bubble smaller
  }

  void TryForms(const Base& base) {
    for (RecomputeMode mode : kModes) {
      if (fixed_.recompute >= 0 && fixed_.recompute != int(mode)) continue;
      if (mode != RecomputeMode::kNone && &space_.facts(mode) == &space_.facts(kModes[0])) continue;
      if (base.data_list >= data_[size_t(mode)].size() ||
          base.model_list >= model_[size_t(mode)].size()) {
        continue;
      }
      for (StateSharding state : kStates) {
        if (fixed_.state >= 0 && fixed_.state != int(state)) continue;
        if (base.shape.data == 1 && state != StateSharding::kNone && fixed_.state < 0) continue;
        // Without micro-batches there are no sums of gradients that could lie in parts.
        if (state == StateSharding::kGradients && fixed_.state < 0 &&
            !MayHaveMicroBatches(base, mode))
          continue;
        // What fits in the fastest form is not made faster by saving memory.
        if (TryMicroBatches(base, mode, state)) return;
      }
    }
  }

  // The fewest micro-batches that fit are the fastest without a pipeline; with one, more may be.
  // Whether the fastest number of them fits.
  bool TryMicroBatches(const Base& base, RecomputeMode mode, StateSharding state) {
    const std::vector<int64_t> counts = MicroBatches(base, mode);
    if (counts.empty()) return false;
    if (base.shape.stages > 1) return TryPipeline(base, mode, state, counts);
    // Memory falls with the number of micro-batches: the first that fits is found by halving.
    size_t low = 0, high = counts.size() - 1;
    if (!Keep(Make(base, mode, state, counts[high], 1))) return false;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (Keep(Make(base, mode, state, counts[middle], 1))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return high == 0;
  }

  bool TryPipeline(const Base& base, RecomputeMode mode, StateSharding state,
                   const std::vector<int64_t>& counts) {
    bool fits = false;
    for (int64_t chunks : kChunks) {
      if (!Allows(fixed_.virtual_stages, chunks)) continue;
      const auto keep = [&](int64_t m) { return Keep(Make(base, mode, state, m, chunks)); };
      // What was fastest without saving memory; where that does not fit, the most.
      const int64_t fastest = base.micro_batches, most = counts.back();
      const bool possible =
          fastest != most && std::find(counts.begin(), counts.end(), fastest) != counts.end();
      const bool here = (possible && keep(fastest)) || keep(most);
      fits = fits || here;
      if (!here) break;  // more chunks take more memory
    }
    return fits;
  }

  // Whether the candidate fits. Where that decides what is best, the whole graph says so.
  bool Keep(const Candidate& candidate) {
    std::optional<StepCost> cost = Evaluate(candidate);
    if (!cost.has_value()) return false;
    const bool decides =
        double(cost->total_bytes()) <= kNearlyFits * double(available()) && cost->seconds < best_;
    Kept kept{{candidate, *cost}, !space_.estimates(candidate.recompute)};
    if (decides && !Confirm(kept)) return false;
    const bool fits = kept.plan.cost.total_bytes() <= available();
    if (fits) {
      ++result_.feasible;
      best_ = std::min(best_, kept.plan.cost.seconds);
    }
    (fits ? fitting_ : others_).push_back(std::move(kept));
    return fits;
  }

  // Replaces an estimate by what the whole graph costs. False where it cannot be partitioned.
  bool Confirm(Kept& kept) {
    if (kept.exact) return true;
    const absl::StatusOr<StepCost> cost = space_.EvaluateCandidate(kept.plan.candidate);
    if (!cost.ok()) last_error_ = cost.status();
    if (!cost.ok()) return false;
    kept.plan.cost = *cost;
    kept.exact = true;
    return true;
  }

  void Sort() {
    std::stable_sort(fitting_.begin(), fitting_.end(), [](const Kept& a, const Kept& b) {
      return a.plan.cost.seconds < b.plan.cost.seconds;
    });
    std::stable_sort(others_.begin(), others_.end(), [](const Kept& a, const Kept& b) {
      return a.plan.cost.total_bytes() < b.plan.cost.total_bytes();
    });
  }

  // The best few may change their places once the whole graph has said what they cost.
  void ConfirmFinalists() {
    for (int round = 0; round < kMostFinalists; ++round) {
      Sort();
      std::vector<Kept>& best = fitting_.empty() ? others_ : fitting_;
      const size_t most = std::min(best.size(), fitting_.empty() ? size_t{1} : kFinalists);
      size_t i = 0;
      while (i < most && best[i].exact) ++i;
      if (i == most) return;
      const bool possible = Confirm(best[i]);
      if (possible && (fitting_.empty() || best[i].plan.cost.total_bytes() <= available()))
        continue;
      if (possible) others_.push_back(best[i]);
      if (!fitting_.empty()) --result_.feasible;
      best.erase(best.begin() + ptrdiff_t(i));
    }
    Sort();
  }

  absl::StatusOr<SearchResult> Finish() {
    ConfirmFinalists();
    for (Kept& kept : fitting_) result_.candidates.push_back(std::move(kept.plan));
    for (Kept& kept : others_) result_.candidates.push_back(std::move(kept.plan));
    if (!result_.candidates.empty()) return std::move(result_);
    if (!last_error_.ok()) return last_error_;
    return absl::InvalidArgumentError("no plan satisfies the constraints");
  }

  const SearchSpace& space_;
  const SearchRequest& request_;
  const SearchConstraints& fixed_;
  std::vector<RoleList> data_[3], model_[3];  // by RecomputeMode
  std::vector<size_t> kept_data_, kept_model_;
  std::vector<Base> bases_;
  std::vector<Kept> fitting_, others_;
  double best_ = std::numeric_limits<double>::infinity();
  absl::Status last_error_;
  SearchResult result_;
};

}  // namespace

absl::StatusOr<SearchResult> SearchSpace::Search() const {
  return SearchRun(*this, request_).Run();
}

}  // namespace moai
