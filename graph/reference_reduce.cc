// Reductions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

// Combines every element of x with its element of the output, which starts as `initial`.
template <typename T, typename F>
void Fold(const NodeRun& run, const std::vector<T>& x, std::vector<T>& out, T initial, F combine) {
  std::fill(out.begin(), out.end(), initial);
  uint32_t reduced = 0;
  for (int32_t axis : run.node.attributes) reduced |= 1u << axis;
  const Shape& shape = run.in_shape(0);
  const Shape dense = DenseStrides(run.out_shape());
  Shape strides = Shape::Filled(shape.rank(), 0);
  int kept = 0;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    if ((reduced >> dim & 1) == 0) strides[dim] = dense[kept++];
  }
  auto next = x.begin();
  ForEachOffset(shape, strides, 0, [&](int64_t offset) {
    out[offset] = combine(out[offset], *next);
    ++next;
  });
}

template <typename F>
absl::Status FoldFloats(const NodeRun& run, double initial, F combine) {
  Fold(run, run.in(0).floats, run.out().floats, initial, combine);
  return absl::OkStatus();
}

template <typename F>
absl::Status FoldIntegers(const NodeRun& run, int64_t initial, F combine) {
  const Dtype dtype = run.out().type.dtype;
  Fold(run, run.in(0).integers, run.out().integers, initial,
       [&](int64_t a, int64_t b) { return Wrap(static_cast<uint64_t>(combine(a, b)), dtype); });
  return absl::OkStatus();
}

absl::Status ReduceFloats(const NodeRun& run) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (run.node.op) {
    case Op::kReduceSum:
      return FoldFloats(run, 0, [](double a, double b) { return a + b; });
    case Op::kReduceMean: {
      double count = 1;
      for (int32_t axis : run.node.attributes) count *= static_cast<double>(run.in_shape(0)[axis]);
      const absl::Status status = FoldFloats(run, 0, [](double a, double b) { return a + b; });
      for (double& mean : run.out().floats) mean /= count;
      return status;
    }
    case Op::kReduceMax:
      return FoldFloats(run, -kInfinity,
                        [](double a, double b) { return std::isnan(a) || a >= b ? a : b; });
    case Op::kReduceMin:
      return FoldFloats(run, kInfinity,
                        [](double a, double b) { return std::isnan(a) || a <= b ? a : b; });
    case Op::kReduceProd:
      return FoldFloats(run, 1, [](double a, double b) { return a * b; });
    default:
      return NotOfThisFamily(run);
  }
}

absl::Status ReduceIntegers(const NodeRun& run) {
  const auto [least, greatest] = IntegerRange(run.out().type.dtype);
  switch (run.node.op) {
    case Op::kReduceSum:
      return FoldIntegers(run, 0, [](uint64_t a, uint64_t b) { return a + b; });
    case Op::kReduceMax:
      return FoldIntegers(run, least, [](int64_t a, int64_t b) { return std::max(a, b); });
    case Op::kReduceMin:
      return FoldIntegers(run, greatest, [](int64_t a, int64_t b) { return std::min(a, b); });
    case Op::kReduceProd:
      return FoldIntegers(run, 1, [](uint64_t a, uint64_t b) { return a * b; });
    case Op::kReduceAny:
      return FoldIntegers(run, 0, [](int64_t a, int64_t b) { return a | b; });
    case Op::kReduceAll:
      return FoldIntegers(run, 1, [](int64_t a, int64_t b) { return a & b; });
    default:
      return NotOfThisFamily(run);
  }
}

template <typename T>
bool IsNan(T x) {
  return x != x;
}

// True where `candidate`, which comes later, replaces `best`.
template <typename T>
bool MoreExtreme(T candidate, T best, bool largest) {
  if (IsNan(best)) return false;
  if (IsNan(candidate)) return true;
  return largest ? candidate > best : candidate < best;
}

absl::Status RunArgExtreme(const NodeRun& run, bool largest) {
  const AxisView view = ViewAxis(run.in_shape(0), run.axis());
  VisitElements(run.in(0), [&](const auto& x) {
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t k = 0; k < view.inner; ++k) {
        int64_t best = 0;
        for (int64_t i = 1; i < view.extent; ++i) {
          if (MoreExtreme(x[view.At(o, i, k)], x[view.At(o, best, k)], largest)) best = i;
        }
        run.out().integers[o * view.inner + k] = best;
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status RunReduce(const NodeRun& run) {
  if (run.node.op == Op::kArgmax) return RunArgExtreme(run, /*largest=*/true);
  if (run.node.op == Op::kArgmin) return RunArgExtreme(run, /*largest=*/false);
  return IsFloat(run.out().type.dtype) ? ReduceFloats(run) : ReduceIntegers(run);
}

}  // namespace moai::reference
