#include "scheduler/planning/even_cuts.h"

#include <algorithm>
#include <cmath>

namespace moai {
namespace {

// Of an even share: a largest chunk that is so little larger counts as the least.
constexpr double kClose = 1e-6;

// How far one chunk of at most `most` reaches from `begin`: the number of places up to there.
size_t Reach(absl::Span<const double> places, double begin, double most) {
  return size_t(std::upper_bound(places.begin(), places.end(), begin + most) - places.begin());
}

// Whether so many chunks of at most `most` cover the whole.
bool Covers(absl::Span<const double> places, double total, uint32_t chunks, double most) {
  double begin = 0;
  for (uint32_t chunk = 1; chunk < chunks && total - begin > most; ++chunk) {
    const size_t reach = Reach(places, begin, most);
    if (reach == 0 || places[reach - 1] <= begin) return false;
    begin = places[reach - 1];
  }
  return total - begin <= most;
}

}  // namespace

std::vector<size_t> EvenCuts(absl::Span<const double> places, double total, uint32_t chunks) {
  if (places.size() + 1 < chunks) return {};
  // The largest chunk is at least an even share.
  double low = total / chunks, most = total;
  while (most - low > kClose * total / chunks) {
    const double middle = (low + most) / 2;
    (Covers(places, total, chunks, middle) ? most : low) = middle;
  }
  // From the end: where the last chunks may begin at the earliest, and leave one place each.
  std::vector<size_t> earliest(chunks);
  double end = total;
  for (uint32_t chunk = chunks; chunk-- > 1;) {
    const size_t place =
        size_t(std::lower_bound(places.begin(), places.end(), end - most) - places.begin());
    earliest[chunk] = std::min(place, places.size() - (chunks - chunk));
    end = places[earliest[chunk]];
  }
  std::vector<size_t> chosen;
  double begin = 0;
  for (uint32_t chunk = 1; chunk < chunks; ++chunk) {
    const size_t next = chosen.empty() ? 0 : chosen.back() + 1;
    const size_t least = std::max(next, earliest[chunk]);
    const size_t last = std::max(
        least, std::min(Reach(places, begin, most), places.size() - (chunks - chunk) + 1) - 1);
    const double target = begin + (total - begin) / (chunks - chunk + 1);
    size_t best = least;
    for (size_t i = least; i <= last; ++i) {
      if (std::abs(places[i] - target) < std::abs(places[best] - target)) best = i;
    }
    chosen.push_back(best);
    begin = places[best];
  }
  return chosen;
}

}  // namespace moai
