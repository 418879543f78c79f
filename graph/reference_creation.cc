// Primitives that make elements from attributes, extents and scalars.
#include "graph/parts.h"
#include "graph/random.h"
#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

absl::Status RunIota(const NodeRun& run) {
  const int axis = run.node.attributes[1];
  const AxisView view = ViewAxis(run.out_shape(), axis);
  const int64_t start = CreatedPartOf(run.node, run.extents).start[axis];
  const Dtype dtype = run.out().type.dtype;
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t i = 0; i < view.extent; ++i) {
      for (int64_t k = 0; k < view.inner; ++k) {
        if (IsFloat(dtype)) {
          run.out().floats[view.At(o, i, k)] = static_cast<double>(start + i);
        } else {
          run.out().integers[view.At(o, i, k)] = Wrap(static_cast<uint64_t>(start + i), dtype);
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RunFill(const NodeRun& run) {
  VisitElements(run.out(), [&](auto& out) {
    std::fill(out.begin(), out.end(), ElementsLike(out, run.in(0))[0]);
  });
  return absl::OkStatus();
}

// make(bits of the element's block, position in the block) for each element.
template <typename Make>
absl::Status MakeElements(const NodeRun& run, Make make) {
  const RandomKey key{.seed = static_cast<uint64_t>(run.in(0).integers[0]),
                      .offset = static_cast<uint64_t>(run.in(1).integers[0]),
                      .instance = static_cast<uint32_t>(run.node.attributes[1])};
  const CreatedPart part = CreatedPartOf(run.node, run.extents);
  VisitElements(run.out(), [&](auto& out) {
    size_t next = 0;
    ForEachOffset(part.shape, DenseStrides(part.whole), part.first_position(),
                  [&](int64_t position) {
                    const size_t i = static_cast<size_t>(position);
                    out[next++] = make(RandomBlock(key, i / 4), i % 4);
                  });
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status RunCreation(const NodeRun& run) {
  using Bits = std::array<uint32_t, 4>;
  switch (run.node.op) {
    case Op::kIota:
      return RunIota(run);
    case Op::kFill:
      return RunFill(run);
    case Op::kRandomUniform:
      return MakeElements(run, [](const Bits& bits, size_t i) { return UniformFromBits(bits[i]); });
    case Op::kRandomNormal:
      return MakeElements(run, [](const Bits& bits, size_t i) {
        return NormalFromBits(bits[i & 2], bits[(i & 2) + 1], (i & 1) != 0);
      });
    case Op::kRandomBernoulli: {
      // Devices hold p in f32; a value of this graph may be more precise.
      const float p = static_cast<float>(run.in(2).floats[0]);
      return MakeElements(
          run, [p](const Bits& bits, size_t i) { return UniformFromBits(bits[i]) < p ? 1 : 0; });
    }
    default:
      return NotOfThisFamily(run);
  }
}

}  // namespace moai::reference
