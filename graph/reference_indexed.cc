// Primitives that read or write at positions that are data.
#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

// Ids are [0, limit).
absl::Status CheckIds(const NodeRun& run, int64_t limit) {
  const std::vector<int64_t>& ids = run.in(1).integers;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("index ", ids[i], " at element ", i, " is not in [0, ", limit, ")"));
  }
  return absl::OkStatus();
}

double Sum(double a, double b, Dtype) { return a + b; }
int64_t Sum(int64_t a, int64_t b, Dtype dtype) {
  return Wrap(static_cast<uint64_t>(a) + static_cast<uint64_t>(b), dtype);
}

// Where the ids of a gather or scatter, taken as [outer, count, inner], point to in x.
template <typename Visitor>
void ForEachTarget(const NodeRun& run, Visitor&& visit) {
  const AxisView x = ViewAxis(run.in_shape(0), run.axis());
  const AxisView ids = ViewAxis(run.in_shape(1), run.axis());
  for (int64_t o = 0; o < ids.outer; ++o) {
    for (int64_t i = 0; i < ids.extent; ++i) {
      for (int64_t k = 0; k < ids.inner; ++k) {
        const int64_t at = ids.At(o, i, k);
        visit(at, x.At(o, run.in(1).integers[at], k));
      }
    }
  }
}

// As above for ids of rank 1, each of which names a whole slice of x.
template <typename Visitor>
void ForEachSelected(const NodeRun& run, Visitor&& visit) {
  const AxisView x = ViewAxis(run.in_shape(0), run.axis());
  const std::vector<int64_t>& ids = run.in(1).integers;
  int64_t at = 0;
  for (int64_t o = 0; o < x.outer; ++o) {
    for (int64_t id : ids) {
      for (int64_t k = 0; k < x.inner; ++k) visit(at++, x.At(o, id, k));
    }
  }
}

}  // namespace

absl::Status RunIndexed(const NodeRun& run) {
  if (absl::Status status = CheckIds(run, run.in_shape(0)[run.axis()]); !status.ok()) return status;
  const Dtype dtype = run.out().type.dtype;
  return VisitElements(run.out(), [&](auto& out) {
    const auto& x = ElementsLike(out, run.in(0));
    const bool reads = run.inputs.size() == 2;
    const auto& updates = ElementsLike(out, run.in(reads ? 0 : 2));
    if (!reads) out = x;
    switch (run.node.op) {
      case Op::kIndexSelect:
        ForEachSelected(run, [&](int64_t at, int64_t target) { out[at] = x[target]; });
        return absl::OkStatus();
      case Op::kIndexAdd:
        ForEachSelected(run, [&](int64_t at, int64_t target) {
          out[target] = Sum(out[target], updates[at], dtype);
        });
        return absl::OkStatus();
      case Op::kGather:
        ForEachTarget(run, [&](int64_t at, int64_t target) { out[at] = x[target]; });
        return absl::OkStatus();
      case Op::kScatter:
        ForEachTarget(run, [&](int64_t at, int64_t target) { out[target] = updates[at]; });
        return absl::OkStatus();
      case Op::kScatterAdd:
        ForEachTarget(run, [&](int64_t at, int64_t target) {
          out[target] = Sum(out[target], updates[at], dtype);
        });
        return absl::OkStatus();
      default:
        return NotOfThisFamily(run);
    }
  });
}

}  // namespace moai::reference
