// Cumulative sum, sort and top-k.
#include <algorithm>
#include <numeric>

#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

absl::Status RunCumsum(const NodeRun& run) {
  const AxisView view = ViewAxis(run.in_shape(0), run.axis());
  const auto scan = [&](const auto& x, auto& out, auto add) {
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t i = 0; i < view.extent; ++i) {
        for (int64_t k = 0; k < view.inner; ++k) {
          const int64_t at = view.At(o, i, k);
          out[at] = i == 0 ? x[at] : add(out[at - view.inner], x[at]);
        }
      }
    }
  };
  if (IsFloat(run.out().type.dtype)) {
    scan(run.in(0).floats, run.out().floats, [](double a, double b) { return a + b; });
  } else {
    scan(run.in(0).integers, run.out().integers,
         [&](uint64_t a, uint64_t b) { return Wrap(a + b, run.out().type.dtype); });
  }
  return absl::OkStatus();
}

// NaN is the largest.
template <typename T>
bool Less(T a, T b) {
  return a < b || (b != b && a == a);
}

// Writes the first `kept` of each line in order, with their positions.
absl::Status RunSort(const NodeRun& run, bool descending) {
  const AxisView view = ViewAxis(run.in_shape(0), run.axis());
  const AxisView kept = ViewAxis(run.out_shape(), run.axis());
  VisitElements(run.out(), [&](auto& values) {
    const auto& x = ElementsLike(values, run.in(0));
    std::vector<int64_t> order(view.extent);
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t k = 0; k < view.inner; ++k) {
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
          const auto a = x[view.At(o, i, k)], b = x[view.At(o, j, k)];
          return descending ? Less(b, a) : Less(a, b);
        });
        for (int64_t i = 0; i < kept.extent; ++i) {
          values[kept.At(o, i, k)] = x[view.At(o, order[i], k)];
          run.out(1).integers[kept.At(o, i, k)] = order[i];
        }
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status RunOrder(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kCumsum:
      return RunCumsum(run);
    case Op::kSort:
      return RunSort(run, run.node.attributes[1] != 0);
    case Op::kTopK:
      return RunSort(run, /*descending=*/true);
    default:
      return NotOfThisFamily(run);
  }
}

}  // namespace moai::reference
