#include "server/region_table.h"

#include <algorithm>
#include <utility>

namespace moai {
namespace {

constexpr uint32_t kOwn = RegionBindings::kOwn;
// After so many steps as expected, what went wrong before is forgotten.
constexpr int kRightToForget = 32;
constexpr int kMostWrong = 8;

using Positions = absl::flat_hash_map<uint64_t, uint32_t>;

Positions PositionsOf(const std::vector<uint64_t>& ids) {
  Positions positions;
  for (uint32_t i = 0; i < ids.size(); ++i) positions.try_emplace(ids[i], i);
  return positions;
}

uint32_t At(const Positions& positions, uint64_t id) {
  const auto found = positions.find(id);
  return found == positions.end() ? kOwn : found->second;
}

const std::vector<TensorType>& FeedTypes(const NotedStep& step) {
  static const std::vector<TensorType> none;
  const PlannedProgram* const planned = step.graph->planned;
  return planned == nullptr || planned->plan == nullptr ? none : planned->plan->feed_types;
}

// Feeds are the same where their bytes came and are; `before` is what was found the last time.
std::vector<uint32_t> SameFeeds(const NotedStep& first, const NotedStep& second,
                                const std::vector<uint32_t>* before) {
  const std::vector<TensorType>&types = FeedTypes(first), &second_types = FeedTypes(second);
  const auto same = [&](int i, int k) {
    return size_t(i) < second_types.size() && size_t(k) < types.size() &&
           second_types[size_t(i)] == types[size_t(k)] &&
           second.feeds[i].source_case() == proto::Feed::kInlineBytes &&
           first.feeds[k].source_case() == proto::Feed::kInlineBytes &&
           second.feeds[i].inline_bytes() == first.feeds[k].inline_bytes();
  };
  std::vector<uint32_t> found(size_t(second.feeds.size()), kOwn);
  for (int i = 0; i < second.feeds.size(); ++i) {
    uint32_t& feed = found[size_t(i)];
    if (before != nullptr && (*before)[size_t(i)] != kOwn && same(i, int((*before)[size_t(i)]))) {
      feed = (*before)[size_t(i)];
      continue;
    }
    for (int k = 0; k < first.feeds.size() && feed == kOwn; ++k) {
      if (same(i, k)) feed = uint32_t(k);
    }
  }
  return found;
}

// False where the two are no pair.
bool Bind(const NotedStep& first, const NotedStep& second, const RegionCandidate* known,
          RegionBindings& bindings) {
  const size_t outputs = first.graph->value_outputs;
  const Positions slots = PositionsOf(first.graph->slots);
  const Positions values = PositionsOf(first.values);
  if (values.size() != first.values.size()) return false;
  for (const uint64_t id : second.graph->slots) bindings.slots.push_back(At(slots, id));
  absl::flat_hash_set<uint64_t> own;
  bindings.keep.assign(outputs, true);
  for (const uint64_t id : second.values) {
    const bool made = id - first.first_output < outputs;
    bindings.outputs.push_back(made ? uint32_t(id - first.first_output) : kOwn);
    bindings.values.push_back(made ? kOwn : At(values, id));
    if (made) {
      bindings.keep[id - first.first_output] = first.read.contains(id);
    } else if (bindings.values.back() == kOwn && !own.insert(id).second) {
      return false;
    }
  }
  bindings.feeds = SameFeeds(first, second, known == nullptr ? nullptr : &known->bindings.feeds);
  return std::find(bindings.keep.begin(), bindings.keep.end(), false) != bindings.keep.end();
}

bool SameScalar(Scalar a, Scalar b) { return a.i64 == b.i64; }

}  // namespace

RegionCandidate* RegionTable::Observe(const NotedStep& first, const NotedStep& second) {
  RegionCandidate* known = Find(*first.graph);
  const bool same_graphs = known != nullptr && known->second == second.graph;
  RegionBindings bindings;
  if (!Bind(first, second, same_graphs ? known : nullptr, bindings)) return nullptr;
  if (known == nullptr) known = Add(*first.graph);
  if (known == nullptr) return nullptr;
  if (same_graphs) {
    for (size_t i = 0; i < bindings.keep.size(); ++i) {
      bindings.keep[i] = bindings.keep[i] || known->bindings.keep[i];
    }
  }
  RegionCandidate now{.first = first.graph,
                      .second = second.graph,
                      .bindings = std::move(bindings),
                      .first_sizes = first.graph->sizes,
                      .second_sizes = second.graph->sizes,
                      .first_slots = first.graph->slots,
                      .second_slots = second.graph->slots,
                      .scalars = second.graph->scalars};
  const bool alike = same_graphs && now.second_sizes == known->second_sizes &&
                     now.first_slots == known->first_slots &&
                     now.second_slots == known->second_slots && now.bindings == known->bindings;
  now.changing.assign(now.scalars.size(), false);
  for (size_t i = 0; same_graphs && i < now.scalars.size(); ++i) {
    now.changing[i] = known->changing[i] || !SameScalar(now.scalars[i], known->scalars[i]);
  }
  now.wrong = known->wrong;
  now.rest = known->rest;
  now.early_name = known->early_name;
  now.late_name = known->late_name;
  now.seen = alike ? known->seen + 1 : 1;
  now.refused = alike && known->refused;
  if (alike && now.changing == known->changing) {
    now.plan = std::move(known->plan);
  } else {
    ForgetPlan(*known);
  }
  *known = std::move(now);
  return known;
}

RegionCandidate* RegionTable::Find(const RegisteredGraph& first) const {
  const auto found = candidates_.find(&first);
  if (found == candidates_.end()) return nullptr;
  for (const auto& candidate : found->second) {
    if (candidate->first_sizes == first.sizes) return candidate.get();
  }
  return nullptr;
}

RegionCandidate* RegionTable::Add(const RegisteredGraph& first) {
  if (candidates_.size() >= kMaxGraphs && !candidates_.contains(&first)) return nullptr;
  auto& of_graph = candidates_[&first];
  if (of_graph.size() >= kMaxSizes) {
    ForgetPlan(*of_graph.front());
    of_graph.erase(of_graph.begin());
  }
  return of_graph.emplace_back(std::make_unique<RegionCandidate>()).get();
}

RegionCandidate* RegionTable::Expected(const RegisteredGraph& first) const {
  RegionCandidate* const found = Find(first);
  if (found == nullptr) return nullptr;
  RegionCandidate& candidate = *found;
  const std::vector<bool>& keep = candidate.bindings.keep;
  if (std::find(keep.begin(), keep.end(), false) == keep.end()) return nullptr;
  const bool due = candidate.seen >= kTimesBefore && candidate.rest == 0 && !candidate.refused &&
                   candidate.wrong < kMostWrong;
  return due && candidate.first_slots == first.slots ? &candidate : nullptr;
}

void RegionTable::Came(const RegisteredGraph& first) {
  RegionCandidate* const candidate = Find(first);
  if (candidate != nullptr && candidate->rest > 0) --candidate->rest;
}

void RegionTable::WasWrong(RegionCandidate& candidate) {
  candidate.right = 0;
  candidate.rest = int64_t{1} << ++candidate.wrong;
}

void RegionTable::WasRight(RegionCandidate& candidate) {
  if (++candidate.right >= kRightToForget) candidate.wrong = 0;
}

void RegionTable::ForgetPlan(RegionCandidate& candidate) {
  if (candidate.plan == nullptr) return;
  for (const PlannedHalf* half : {&candidate.plan->early, &candidate.plan->late}) {
    if (!half->loaded.structures.empty()) unload_(half->loaded);
  }
  candidate.plan = nullptr;
}

}  // namespace moai
