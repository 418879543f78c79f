// Ops that make tensors from nothing.
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/tensor/record_op.h"

namespace moai {
namespace {

struct Generator {
  uint64_t seed = 0;
  int64_t offset = 0;  // of free functions
  int32_t next_stream = 1;
};

Generator& ThreadGenerator() {
  static thread_local Generator generator;
  return generator;
}

// A rank 0 i64 whose bits are a seed or an offset.
Tensor KeyPart(uint64_t bits) {
  return Tensor(NewTensorImpl(
      {.value = LazyValue::FromNumber(Dtype::kI64, {.i64 = static_cast<int64_t>(bits)})}));
}

Tensor Random(Op op, const Shape& shape, Dtype dtype) {
  Generator& generator = ThreadGenerator();
  const int32_t attributes[] = {static_cast<int32_t>(dtype), 0, shape.rank()};
  return RecordOp1(op, {KeyPart(generator.seed), KeyPart(generator.offset++)}, {}, attributes,
                   shape.span());
}

Tensor DrawBernoulli(uint64_t seed, int64_t offset, int32_t instance, const Shape& shape,
                     double probability, Dtype dtype) {
  const int32_t attributes[] = {static_cast<int32_t>(dtype), instance, shape.rank()};
  return RecordOp1(Op::kRandomBernoulli,
                   {KeyPart(seed), KeyPart(offset), Operand(Dtype::kF32, probability)}, {},
                   attributes, shape.span());
}

}  // namespace

void ManualSeed(uint64_t seed) { ThreadGenerator() = {.seed = seed}; }
uint64_t CurrentSeed() { return ThreadGenerator().seed; }

RandomStream::RandomStream()
    : seed_(ThreadGenerator().seed), instance_(ThreadGenerator().next_stream++) {}

Tensor RandomStream::Bernoulli(const Shape& shape, double probability, Dtype dtype) {
  return DrawBernoulli(seed_, offset_++, instance_, shape, probability, dtype);
}

Tensor Uniform(const Shape& shape, Dtype dtype) { return Random(Op::kRandomUniform, shape, dtype); }
Tensor Normal(const Shape& shape, Dtype dtype) { return Random(Op::kRandomNormal, shape, dtype); }
Tensor Bernoulli(const Shape& shape, double probability, Dtype dtype) {
  Generator& generator = ThreadGenerator();
  return DrawBernoulli(generator.seed, generator.offset++, 0, shape, probability, dtype);
}

Tensor Full(const Shape& shape, double number, Dtype dtype) {
  const int32_t attributes[] = {shape.rank()};
  return RecordOp1(Op::kFill, {Operand(dtype, number)}, {}, attributes, shape.span());
}

Tensor Zeros(const Shape& shape, Dtype dtype) { return Full(shape, 0, dtype); }
Tensor Ones(const Shape& shape, Dtype dtype) { return Full(shape, 1, dtype); }
Tensor ZerosLike(const Tensor& x) { return x.ok() ? Zeros(x.shape(), x.dtype()) : x; }
Tensor OnesLike(const Tensor& x) { return x.ok() ? Ones(x.shape(), x.dtype()) : x; }

Tensor Iota(const Shape& shape, int dim, Dtype dtype) {
  const std::optional<int> axis = ResolveDim(dim, shape.rank());
  if (!axis.has_value()) return InvalidAt({}, "iota: no dim ", dim, " in ", ToString(shape));
  const int32_t attributes[] = {static_cast<int32_t>(dtype), *axis, shape.rank()};
  return RecordOp1(Op::kIota, {}, {}, attributes, shape.span());
}

Tensor Arange(int64_t limit, Dtype dtype) { return Iota({limit}, 0, dtype); }

}  // namespace moai
