// random_uniform, random_normal, random_bernoulli: each element from its global index alone.
#include "graph/random.h"

#include <algorithm>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

template <class T>
T FromDouble(double value) {
  if constexpr (kIsFloatType<T>) {
    return T(static_cast<ComputeType<T>>(value));
  } else {
    return static_cast<T>(value);
  }
}

// The four elements of one block, before they are cut to those that exist.
template <class T>
void MakeBlock(Op op, const RandomKey& key, uint64_t block, float probability, T* elements) {
  const std::array<uint32_t, 4> bits = RandomBlock(key, block);
  for (int i = 0; i < 4; ++i) {
    switch (op) {
      case Op::kRandomUniform:
        elements[i] = FromDouble<T>(UniformFromBits(bits[i]));
        break;
      case Op::kRandomNormal:
        elements[i] = FromDouble<T>(NormalFromBits(bits[i & 2], bits[(i & 2) + 1], i & 1));
        break;
      default:
        elements[i] = FromDouble<T>(UniformFromBits(bits[i]) < probability ? 1 : 0);
    }
  }
}

}  // namespace

KernelOr MakeRandomKernel(const KernelContext& context) {
  const Op op = context.instruction.op;
  const int64_t elements = context.output_shape(0).elements();
  // attributes: dtype, instance, rank.
  const uint32_t instance = static_cast<uint32_t>(context.instruction.attributes[1]);
  const Address probability = op == Op::kRandomBernoulli ? In(context, 2) : Address{};
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, seed = In(context, 0), offset = In(context, 1), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const RandomKey key{*seed.at<const uint64_t>(arguments),
                          *offset.at<const uint64_t>(arguments), instance};
      const float p = op == Op::kRandomBernoulli ? *probability.at<const float>(arguments) : 0;
      T* to = out.at<T>(arguments);
      const int64_t blocks = (elements + 3) / 4;
      ParallelFor(threads, blocks, GrainFor(blocks, 100), [&](int64_t begin, int64_t end, int) {
        for (int64_t block = begin; block < end; ++block) {
          T values[4];
          MakeBlock(op, key, block, p, values);
          std::copy_n(values, std::min<int64_t>(4, elements - 4 * block), to + 4 * block);
        }
      });
    });
  });
  return kernel;
}

}  // namespace moai
