#include "program/memory_map.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace moai {
namespace {

// Above this the quadratic search would take too long: then buffers are placed in the order of
// their birth, each into the best hole that is free at that time.
constexpr size_t kMaxBySize = 4096;

int64_t Align(int64_t bytes, int64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

Placement PlaceBySize(absl::Span<const Lifetime> lifetimes, int64_t alignment) {
  Placement placement;
  placement.offsets.assign(lifetimes.size(), 0);
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < lifetimes.size(); ++i) {
    if (lifetimes[i].bytes > 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  struct Placed {
    int64_t begin, end;
    uint32_t first, last;
  };
  std::vector<Placed> placed;  // by begin
  placed.reserve(order.size());
  for (uint32_t i : order) {
    const Lifetime& lifetime = lifetimes[i];
    const int64_t bytes = Align(lifetime.bytes, alignment);
    int64_t best = -1, best_room = INT64_MAX, free_from = 0;
    for (const Placed& other : placed) {
      if (other.last < lifetime.first || lifetime.last < other.first) continue;
      const int64_t room = other.begin - free_from;
      if (room >= bytes && room < best_room) {
        best = free_from;
        best_room = room;
      }
      free_from = std::max(free_from, other.end);
    }
    if (best < 0) best = free_from;
    const Placed entry = {best, best + bytes, lifetime.first, lifetime.last};
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), entry,
                         [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
        entry);
    placement.offsets[i] = best;
    placement.bytes = std::max(placement.bytes, entry.end);
  }
  return placement;
}

// Free ranges of an arena that grows at its end.
class FreeRanges {
 public:
  int64_t Take(int64_t bytes) {
    const auto found = by_size_.lower_bound({bytes, 0});
    if (found != by_size_.end()) {
      const auto [size, begin] = *found;
      Remove(begin, size);
      if (size > bytes) Insert(begin + bytes, size - bytes);
      return begin;
    }
    // Grow, from a free range at the end where there is one.
    int64_t begin = end_;
    if (!by_begin_.empty()) {
      const auto [last, size] = *by_begin_.rbegin();
      if (last + size == end_) {
        begin = last;
        Remove(last, size);
      }
    }
    end_ = begin + bytes;
    return begin;
  }

  void Give(int64_t begin, int64_t bytes) {
    auto next = by_begin_.lower_bound(begin);
    if (next != by_begin_.end() && next->first == begin + bytes) {
      bytes += next->second;
      Remove(next->first, next->second);
    }
    auto previous = by_begin_.lower_bound(begin);
    if (previous != by_begin_.begin() && (--previous)->first + previous->second == begin) {
      const auto [before, size] = *previous;
      Remove(before, size);
      begin = before;
      bytes += size;
    }
    Insert(begin, bytes);
  }

  int64_t end() const { return end_; }

 private:
  void Insert(int64_t begin, int64_t bytes) {
    by_begin_[begin] = bytes;
    by_size_.insert({bytes, begin});
  }
  void Remove(int64_t begin, int64_t bytes) {
    by_begin_.erase(begin);
    by_size_.erase({bytes, begin});
  }

  std::map<int64_t, int64_t> by_begin_;  // begin -> bytes
  std::set<std::pair<int64_t, int64_t>>
      by_size_;  // (bytes, begin): the smallest that fits is first
  int64_t end_ = 0;
};

Placement PlaceByBirth(absl::Span<const Lifetime> lifetimes, int64_t alignment) {
  Placement placement;
  placement.offsets.assign(lifetimes.size(), 0);
  std::vector<uint32_t> births, deaths;
  for (uint32_t i = 0; i < lifetimes.size(); ++i) {
    if (lifetimes[i].bytes > 0) births.push_back(i);
  }
  deaths = births;
  std::stable_sort(births.begin(), births.end(),
                   [&](uint32_t a, uint32_t b) { return lifetimes[a].first < lifetimes[b].first; });
  std::stable_sort(deaths.begin(), deaths.end(),
                   [&](uint32_t a, uint32_t b) { return lifetimes[a].last < lifetimes[b].last; });
  FreeRanges free;
  size_t dead = 0;
  for (uint32_t i : births) {
    for (; dead < deaths.size() && lifetimes[deaths[dead]].last < lifetimes[i].first; ++dead) {
      free.Give(placement.offsets[deaths[dead]], Align(lifetimes[deaths[dead]].bytes, alignment));
    }
    placement.offsets[i] = free.Take(Align(lifetimes[i].bytes, alignment));
  }
  placement.bytes = free.end();
  return placement;
}

}  // namespace

Placement PlaceLifetimes(absl::Span<const Lifetime> lifetimes, int64_t alignment) {
  return lifetimes.size() <= kMaxBySize ? PlaceBySize(lifetimes, alignment)
                                        : PlaceByBirth(lifetimes, alignment);
}

}  // namespace moai
