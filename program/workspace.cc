#include "program/workspace.h"

#include <algorithm>

#include "program/collective_bytes.h"

namespace moai {
namespace {

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t Extent(const Operand& operand, int dim_from_end) {
  const int dim = operand.shape.rank() - dim_from_end;
  return dim >= 0 ? operand.shape[dim] : 1;
}

// What oneDNN's blocked matrix products keep beside their operands: per thread a block of A, of B
// and of C in f32. Measured over random shapes (matmul_test holds the bound). Where it has no
// product of the dtype, 16-bit floats are converted to f32 by blocks, which are smaller.
int64_t MatmulBytes(const Instruction& instruction, const DeviceShape& device) {
  const Operand& c = instruction.outputs[0];
  if (!IsFloat(c.dtype) || c.dtype == Dtype::kF64) return 0;
  const Operand& a = instruction.inputs[0];
  const bool swapped = !instruction.attributes.empty() && instruction.attributes[0] != 0;
  const int64_t m = Extent(c, 2), n = Extent(c, 1), k = Extent(a, swapped ? 2 : 1);
  const int64_t converted = 4 * device.threads * BlockOfProduct(m, n, k).elements();
  if (c.dtype == Dtype::kF16) return converted;
  const ProductBlock whole{RoundUp(m, 64), RoundUp(n, 64), RoundUp(k, 64)};
  const int64_t library = device.threads * std::min<int64_t>(4 * whole.elements(), 3 << 20) + 8192;
  return std::max(library, converted);
}

// Elements of a tensor in a layout with channels in blocks of 16.
int64_t BlockedElements(const Operand& operand, bool weight) {
  const Shape& s = operand.shape;
  return (weight ? RoundUp(s[0], 16) : s[0]) * RoundUp(s[1], 16) * s[2] * s[3];
}

// A convolution's input, output and weight, whichever of them is computed.
struct ConvOperands {
  const Operand& x;
  const Operand& y;
  const Operand& weight;
};
ConvOperands OperandsOf(const Instruction& instruction) {
  const Operand& first = instruction.inputs[0];
  const Operand& second = instruction.inputs[1];
  const Operand& result = instruction.outputs[0];
  if (instruction.op == Op::kConv2d) return {first, result, second};
  if (instruction.op == Op::kConv2dGradInput) return {result, first, second};
  return {second, first, result};
}

// oneDNN's convolutions: copies of the tensors in the layouts it likes, the weights' gradient of
// each thread, transposed 16-bit rows, an input image without what a window of 1 x 1 steps over,
// the windows of a small image unfolded, and a few buffers per thread (conv_test holds the bound).
int64_t LibraryConvBytes(const Instruction& instruction, const DeviceShape& device) {
  const auto [x, y, w] = OperandsOf(instruction);
  const bool weight_last = instruction.op == Op::kConv2dGradWeight;
  const int64_t activations = BlockedElements(x, false) + BlockedElements(y, false);
  const int64_t weight = BlockedElements(w, true);
  if (activations == 0 || weight == 0) return 0;
  const int64_t element = ByteSize(x.dtype);
  int64_t bytes = element * (activations + weight) + device.threads * (64 << 10);
  const int64_t unfolded = 4 * w.shape[1] * w.shape[2] * w.shape[3] * y.shape[2] * y.shape[3];
  bytes += device.threads * std::min<int64_t>(unfolded, 256 << 10);
  if (weight_last) bytes += 4 * (device.threads + 1) * weight;
  if (weight_last && element == 2) bytes += 4 * activations;
  if (Extent(w, 1) == 1 && Extent(w, 2) == 1) {
    const int64_t channels = RoundUp(x.shape[1], 16) + RoundUp(y.shape[1], 16);
    bytes += device.threads * 4 * channels * y.shape[2] * y.shape[3];
  }
  return bytes;
}

// Where oneDNN does not take a convolution, floats are unfolded by blocks of f32. It takes those
// that large networks spend their time in; for a weight's gradient over images smaller than the
// window, it would keep several copies of the weight, which no small bound allows.
int64_t ConvBytes(const Instruction& instruction, const DeviceShape& device) {
  const Dtype dtype = instruction.outputs[0].dtype;
  int64_t bytes = 0;
  if (dtype == Dtype::kF32 || dtype == Dtype::kBF16) bytes = LibraryConvBytes(instruction, device);
  if (IsFloat(dtype) && dtype != Dtype::kF64) {
    const ProductSize size = ConvProduct(instruction);
    const ProductBlock block = BlockOfProduct(size.m, size.n, size.k);
    bytes = std::max(bytes, 4 * device.threads * block.elements());
  }
  return bytes;
}

// Partial sums of the weights' gradients: one row per chunk of at most 64 (norm.cc).
int64_t NormGradBytes(const Instruction& instruction, int weight_gradients) {
  const Operand& x = instruction.inputs[0];
  return 64 * weight_gradients * Extent(x, 1) * (x.dtype == Dtype::kF64 ? 8 : 4);
}

// Per thread, a block of queries with its scores and results, and the keys and values of one block
// (attention.cc: 64 queries, 64 keys).
int64_t AttentionBytes(const Instruction& instruction, const DeviceShape& device) {
  const int64_t d = Extent(instruction.inputs[0], 1), e = Extent(instruction.inputs[2], 1);
  const int64_t element = instruction.inputs[0].dtype == Dtype::kF64 ? 8 : 4;
  return device.threads * element * (64 * (2 * d + 2 * e + 64 + 3) + 256);
}

// Per thread, blocks of queries, their gradients and scores; for 16-bit floats also the keys and
// values of one head in f32, and their gradients (attention_grad.cc).
int64_t AttentionGradBytes(const Instruction& instruction, const DeviceShape& device) {
  const Operand& q = instruction.inputs[0];
  const int64_t d = Extent(q, 1), e = Extent(instruction.inputs[2], 1);
  const int64_t t = Extent(instruction.inputs[1], 3);
  const int64_t element = q.dtype == Dtype::kF64 ? 8 : 4;
  const int64_t converted = ByteSize(q.dtype) == 2 ? 2 * t * (d + e) : 0;
  return device.threads * element *
         RoundUp(64 * (3 * d + 2 * e + 2 * 64 + 2) + converted + 256, 16);
}

// The ids sorted by counting: where each row's ids begin, then their positions (group_ids.h).
int64_t GroupIdsBytes(int64_t rows, const Operand& ids) {
  return 8 * (rows + 1 + ids.shape.elements());
}

}  // namespace

// 224 KiB: half of a second-level cache. A is the largest, because a block of B that was converted
// should serve many rows.
ProductBlock BlockOfProduct(int64_t m, int64_t n, int64_t k) {
  return {std::min<int64_t>(RoundUp(m, 16), 128), std::min<int64_t>(RoundUp(n, 16), 64),
          std::min<int64_t>(RoundUp(k, 16), kMaxProductDepth)};
}

// Matrices of each image and group; a weight's gradient sums over the images.
ProductSize ConvProduct(const Instruction& instruction) {
  const auto [x, y, weight] = OperandsOf(instruction);
  const int64_t groups = std::max<int64_t>(instruction.extents[8], 1), images = x.shape[0];
  const int64_t window = weight.shape[2] * weight.shape[3];
  const int64_t o = y.shape[1] / groups, filter = weight.shape[1] * window;
  const int64_t inputs = x.shape[2] * x.shape[3], outputs = y.shape[2] * y.shape[3];
  if (instruction.op == Op::kConv2d) return {images * groups, o, outputs, filter};
  if (instruction.op == Op::kConv2dGradInput) {
    return {images * groups, weight.shape[1], inputs, o * window};
  }
  return {groups, o, filter, images * outputs};
}

int64_t CpuWorkspaceBytes(const Instruction& instruction, const DeviceShape& device) {
  switch (instruction.op) {
    case Op::kMatmul:
      return MatmulBytes(instruction, device);
    case Op::kConv2d:
    case Op::kConv2dGradInput:
    case Op::kConv2dGradWeight:
      return ConvBytes(instruction, device);
    case Op::kLayerNormGrad:
      return NormGradBytes(instruction, 2);
    case Op::kRmsNormGrad:
      return NormGradBytes(instruction, 1);
    case Op::kAttention:
      return AttentionBytes(instruction, device);
    case Op::kAttentionGrad:
      return AttentionGradBytes(instruction, device);
    case Op::kEmbeddingGrad:
      return GroupIdsBytes(instruction.outputs[0].shape[0], instruction.inputs[0]);
    case Op::kIndexAdd:
      return GroupIdsBytes(instruction.inputs[0].shape[instruction.attributes[0]],
                           instruction.inputs[1]);
    case Op::kMaxPool2dGrad: {
      // A plane of 16-bit floats is summed in f32, one per thread.
      const Operand& x = instruction.inputs[0];
      return ByteSize(x.dtype) == 2 ? 4 * device.threads * Extent(x, 2) * Extent(x, 1) : 0;
    }
    case Op::kScatterAdd:
    case Op::kSort:
    case Op::kTopK:
      // Sums or positions of one line per thread.
      return 8 * device.threads * instruction.inputs[0].shape[instruction.attributes[0]];
    default:
      return CollectiveScratchBytes(instruction);
  }
}

}  // namespace moai
