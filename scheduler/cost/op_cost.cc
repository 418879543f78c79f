#include "scheduler/cost/op_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/cost.h"

namespace moai {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Sum over waves of `tasks` equal tasks on `processors`, in tasks' times.
double Waves(double tasks, double processors, double quantisation) {
  const double exact = tasks / processors;
  return quantisation * std::ceil(exact) + (1 - quantisation) * std::max(exact, 1.0);
}

// Matrix products by the curve.

// Share of the rate that is left when a row of this many bytes is read.
double AlignmentRate(const MatmulCurve& curve, double row_bytes) {
  // Below this, loads cannot be vectors any more.
  constexpr double kVectorBytes = 16;
  const int64_t bytes = std::max<int64_t>(1, static_cast<int64_t>(row_bytes));
  const double factor = static_cast<double>(bytes & -bytes);  // the largest power of two in it
  if (factor >= curve.alignment_bytes) return 1;
  const double halvings = std::log2(curve.alignment_bytes / factor);
  return std::pow(1 - curve.misaligned_loss, halvings) * (factor < kVectorBytes ? 0.5 : 1);
}

struct Tile {
  double m, n, rate;
};

double TiledSeconds(const DeviceModel& device, const MatmulShape& shape, const Tile& tile,
                    double split, double flops_per_processor) {
  const MatmulCurve& curve = device.matmul;
  const double tiles =
      shape.batch * std::ceil(shape.m / tile.m) * std::ceil(shape.n / tile.n) * split;
  const double tile_flops = 2 * tile.m * tile.n * (shape.k / split + curve.k_overhead);
  const double seconds = Waves(tiles, curve.processors, curve.wave_quantisation) * tile_flops /
                         (flops_per_processor * tile.rate);
  // Parts of a split sum are written and read once more, in f32.
  const double extra_bytes = split > 1 ? 8 * split * shape.batch * shape.m * shape.n : 0;
  return seconds + (extra_bytes > 0 ? extra_bytes / device.streaming_bandwidth() : 0);
}

double CurveSeconds(const DeviceModel& device, MathKind math, const MatmulShape& shape,
                    double element_bytes) {
  const double peak = device.peak(math);
  if (peak <= 0) return kInfinite;
  const MatmulCurve& curve = device.matmul;
  const double aligned = std::min(AlignmentRate(curve, shape.k * element_bytes),
                                  AlignmentRate(curve, shape.n * element_bytes));
  const double per_processor = peak * curve.peak_fraction * aligned / curve.processors;
  double best = kInfinite;
  double rate = 1;
  // Sides halve in turn: 256 x 128, 128 x 128, 128 x 64, 64 x 64.
  double large = curve.largest_tile;
  double small = curve.largest_tile / 2;
  while (small >= curve.smallest_tile) {
    for (double split : {1.0, 2.0, 4.0, 8.0}) {
      // Only where tiles leave processors idle, and sums stay long.
      if (split > 1 && (shape.k / split < 2 * curve.k_overhead ||
                        shape.flops() / (2 * large * small * shape.k) > curve.processors)) {
        break;
      }
      best =
          std::min(best, TiledSeconds(device, shape, {large, small, rate}, split, per_processor));
      if (large == small) continue;
      best =
          std::min(best, TiledSeconds(device, shape, {small, large, rate}, split, per_processor));
    }
    rate *= curve.smaller_tile_rate;
    if (large > small) {
      large = small;
    } else {
      small /= 2;
    }
  }
  return best;
}

// Matrix products by measurement.

// Weighted mean of the logarithms of the measured rates; weights fall with the fourth power of the
// distance in the logarithms of the extents, so that a sample's own shape has its own rate and the
// nearest ones decide elsewhere. Beyond the samples the rate of the nearest holds.
double SampledRate(const DeviceModel& device, MathKind math, const MatmulShape& shape) {
  double weights = 0;
  double sum = 0;
  for (const MatmulSample& sample : device.matmul_samples) {
    if (sample.math != math || sample.flops_per_second <= 0) continue;
    const double batch = std::log2(sample.shape.batch / shape.batch);
    const double m = std::log2(sample.shape.m / shape.m);
    const double n = std::log2(sample.shape.n / shape.n);
    const double k = std::log2(sample.shape.k / shape.k);
    // A batch is more of the same work: half as far.
    const double square = batch * batch / 4 + m * m + n * n + k * k;
    const double weight = 1 / (square * square + 1e-9);
    weights += weight;
    sum += weight * std::log(sample.flops_per_second);
  }
  return weights > 0 ? std::exp(sum / weights) : 0;
}

// Other kernels.

double Elements(const TensorType& type) { return static_cast<double>(type.shape.elements()); }

// Matrix product of equal arithmetic: windows times weights.
MatmulShape ConvolutionShape(const Node& node, absl::Span<const TensorType> inputs,
                             absl::Span<const TensorType> outputs, double flops) {
  const bool grad_weight = node.op == Op::kConv2dGradWeight;
  const Shape& weight = grad_weight ? outputs[0].shape : inputs[1].shape;
  const Shape& x = node.op == Op::kConv2d            ? inputs[0].shape
                   : node.op == Op::kConv2dGradInput ? outputs[0].shape
                                                     : inputs[1].shape;
  MatmulShape shape;
  shape.batch = std::max(1.0, static_cast<double>(x[1]) / std::max<int64_t>(1, weight[1]));
  const double out = std::max(1.0, static_cast<double>(weight[0]) / shape.batch);
  const double window = static_cast<double>(weight[2] * weight[3]);
  const double in = std::max<double>(1, static_cast<double>(weight[1]));
  switch (node.op) {
    case Op::kConv2d:
      shape.n = out;
      shape.k = in * window;
      break;
    case Op::kConv2dGradInput:
      shape.n = in;
      shape.k = out * window;
      break;
    default:
      shape.n = in * window;
      shape.m = out;
      shape.k = std::max(1.0, flops / (2 * shape.batch * shape.m * shape.n));
      return shape;
  }
  shape.m = std::max(1.0, flops / (2 * shape.batch * shape.n * shape.k));
  return shape;
}

// As a product of its flops in blocks of queries, one for each batch entry and head.
double AttentionSeconds(const DeviceModel& device, const Node& node,
                        absl::Span<const TensorType> inputs, double flops) {
  constexpr double kQueryBlock = 128;  // of FlashAttention
  const Shape& q = inputs[0].shape;
  const MathKind math = device.attention_in_f32 ? MathKind::kF32 : MathFor(device, inputs[0].dtype);
  const double peak = device.peak(math);
  if (peak <= 0) return kInfinite;
  const double rows = std::max(1.0, std::ceil(static_cast<double>(q[1]) / kQueryBlock));
  const double blocks = std::max(1.0, static_cast<double>(q[0] * q[2]) * rows);
  // Blocks on the diagonal are computed whole.
  if (node.attributes[0] != 0) flops *= 1 + 1 / rows;
  const double exact = blocks / device.matmul.processors;
  const double waves = Waves(blocks, device.matmul.processors, device.matmul.wave_quantisation);
  const double fraction =
      (node.op == Op::kAttention ? device.attention_fraction : device.attention_grad_fraction) *
      AttentionHeadRate(static_cast<double>(q[3]));
  return flops / (peak * fraction) * waves / exact;
}

double ArithmeticSeconds(const DeviceModel& device, const Node& node,
                         absl::Span<const TensorType> inputs, absl::Span<const TensorType> outputs,
                         double flops) {
  const double element =
      static_cast<double>(ByteSize(inputs.empty() ? Dtype::kF32 : inputs[0].dtype));
  switch (node.op) {
    case Op::kMatmul: {
      const Shape& a = inputs[0].shape;
      const Shape& y = outputs[0].shape;
      const int rank = y.rank();
      MatmulShape shape;
      shape.m = static_cast<double>(y[rank - 2]);
      shape.n = static_cast<double>(y[rank - 1]);
      shape.k = static_cast<double>(a[node.attributes[0] != 0 ? rank - 2 : rank - 1]);
      shape.batch = Elements(outputs[0]) / std::max(1.0, shape.m * shape.n);
      return MatmulArithmeticSeconds(device, MathFor(device, inputs[0].dtype), shape, element) /
             device.matmul.sustained;
    }
    case Op::kConv2d:
    case Op::kConv2dGradInput:
    case Op::kConv2dGradWeight: {
      const MatmulShape shape = ConvolutionShape(node, inputs, outputs, flops);
      const double fraction =
          node.op == Op::kConv2d ? device.convolution_fraction : device.convolution_grad_fraction;
      return MatmulArithmeticSeconds(device, MathFor(device, inputs[0].dtype), shape, element) /
             (fraction * device.matmul.sustained);
    }
    case Op::kAttention:
    case Op::kAttentionGrad:
      return AttentionSeconds(device, node, inputs, flops);
    default:
      return device.vector_flops > 0 ? flops / device.vector_flops : 0;
  }
}

}  // namespace

KernelCost& KernelCost::operator+=(const KernelCost& other) {
  memory_bound = other.seconds > seconds ? other.memory_bound : memory_bound;
  seconds += other.seconds;
  flops += other.flops;
  bytes += other.bytes;
  return *this;
}

double AttentionHeadRate(double head_size) {
  // Per block of keys, softmax costs what this many columns of a product cost: head size 64 runs
  // at 0.9 of the rate of 128 (FlashAttention 2, figure 4).
  constexpr double kSoftmaxColumns = 16;
  const double head = std::max(1.0, head_size);
  return (1 + kSoftmaxColumns / 128) * head / (head + kSoftmaxColumns);
}

double MatmulArithmeticSeconds(const DeviceModel& device, MathKind math, const MatmulShape& shape,
                               double element_bytes) {
  if (shape.flops() <= 0) return 0;
  const double rate = SampledRate(device, math, shape);
  if (rate > 0) return shape.flops() / rate;
  return CurveSeconds(device, math, shape, element_bytes);
}

double MatmulSeconds(const DeviceModel& device, MathKind math, const MatmulShape& shape,
                     double element_bytes) {
  const double bytes =
      element_bytes * shape.batch * (shape.m * shape.k + shape.k * shape.n + shape.m * shape.n);
  return std::max(MatmulArithmeticSeconds(device, math, shape, element_bytes),
                  bytes / device.streaming_bandwidth()) +
         device.kernel_seconds;
}

double StreamingSeconds(const DeviceModel& device, double flops, double bytes) {
  const double arithmetic = device.vector_flops > 0 ? flops / device.vector_flops : 0;
  return std::max(arithmetic, bytes / device.streaming_bandwidth()) + device.kernel_seconds;
}

KernelCost CostOfNode(const DeviceModel& device, const Node& node,
                      absl::Span<const TensorType> inputs, absl::Span<const TensorType> outputs) {
  const OpClass op_class = Entry(node.op).op_class;
  if (op_class == OpClass::kView || op_class == OpClass::kCollective) return {};
  const NodeCost cost = CostOf(node, inputs, outputs);
  KernelCost kernel;
  kernel.flops = cost.flops;
  kernel.bytes = cost.bytes_read + cost.bytes_written;
  const double arithmetic = ArithmeticSeconds(device, node, inputs, outputs, cost.flops);
  const double memory = kernel.bytes / device.streaming_bandwidth();
  kernel.seconds = std::max(arithmetic, memory) + device.kernel_seconds;
  kernel.memory_bound = memory > arithmetic;
  return kernel;
}

}  // namespace moai
