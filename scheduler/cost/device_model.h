// What a kind of device can do: the constants from which the time of a kernel follows. Plain data;
// op_cost.h turns it into seconds. Built-in GPU types are in gpu_types.h, measured CPU devices come
// through measured_device.h.
//
// Units: seconds, bytes, floating point operations (a multiply-add is two), each per second where a
// rate is meant.
#ifndef MOAI_SCHEDULER_COST_DEVICE_MODEL_H_
#define MOAI_SCHEDULER_COST_DEVICE_MODEL_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "graph/dtype.h"

namespace moai {

// The arithmetic that a matrix unit runs in. Not a Dtype: f32 operands may be multiplied in TF32,
// and published measurements are of FP8 too.
enum class MathKind : uint8_t { kF64, kF32, kTF32, kF16, kBF16, kFP8 };
inline constexpr int kMathKinds = 6;

absl::string_view Name(MathKind kind);  // "f64", "f32", "tf32", "f16", "bf16", "fp8"
std::optional<MathKind> MathKindFromName(absl::string_view name);

// Operands of m x k and k x n, `batch` times.
struct MatmulShape {
  double batch = 1;
  double m = 1;
  double n = 1;
  double k = 1;
  double flops() const { return 2 * batch * m * n * k; }
};

// How fast a matrix product is, as a share of the peak, where there is no measured table. A product
// is cut into output tiles, which the device's processors take in waves; a tile's time grows with
// k plus a constant part; a short contiguous dim wastes the matrix unit. The best of a few tiles
// counts, as libraries choose.
struct MatmulCurve {
  double peak_fraction = 0.8;  // of the peak, of the best shapes (measured: "MAMF")
  // Share of that rate that is left in a long run, in which the power limit bounds the clock.
  double sustained = 1;
  double processors = 1;  // that work on tiles at the same time (SMs, CUs)
  // Length of k that costs as much as a tile's constant part: filling the pipeline, writing out.
  double k_overhead = 64;
  // 1: the last wave costs as much as a full one; 0: waves blend into each other (stream-K).
  double wave_quantisation = 0.5;
  // Bytes of a contiguous row that the matrix unit wants a multiple of. A row of which only a
  // smaller power of two is a factor loses `misaligned_loss` of the rate for each halving.
  double alignment_bytes = 128;
  double misaligned_loss = 0.06;
  // Side of the largest output tile, and of the smallest; powers of two.
  double largest_tile = 256;
  double smallest_tile = 64;
  // A tile of half the area reaches this share of the larger one's rate: operands are read more
  // often.
  double smaller_tile_rate = 0.85;
};

// One measured product. Rates of other shapes are interpolated (op_cost.h).
struct MatmulSample {
  MathKind math = MathKind::kF32;
  MatmulShape shape;
  double flops_per_second = 0;
};

struct DeviceModel {
  std::string name;  // "H100", "cpu: AMD EPYC, 2 threads"
  // Dense peaks of the matrix unit, by MathKind; 0 where it has no such arithmetic.
  std::array<double, kMathKinds> peak_flops{};
  // Of ordinary arithmetic: what pointwise ops, norms and softmax run in (f32).
  double vector_flops = 0;
  double memory_bandwidth = 0;  // bytes per second, peak of the memory
  // What kernels that stream reach of it.
  double memory_fraction = 0.85;
  double memory_bytes = 0;
  // A kernel takes this much longer than its work: launch, ramp up, drain.
  double kernel_seconds = 0;
  // What the host adds to a step, whatever is in it.
  double step_seconds = 0;

  MatmulCurve matmul;
  std::vector<MatmulSample> matmul_samples;  // where not empty, they stand in for the curve

  // Fused attention, as a share of the peak, of long sequences; forward and backward.
  double attention_fraction = 0.6;
  double attention_grad_fraction = 0.5;
  // The CPU's attention computes in f32 whatever its operands are; GPUs' in the operands' dtype.
  bool attention_in_f32 = false;
  // Convolution and its gradients, as a share of the matrix product of equal shape.
  double convolution_fraction = 0.8;
  double convolution_grad_fraction = 0.8;

  double peak(MathKind kind) const { return peak_flops[static_cast<size_t>(kind)]; }
  double streaming_bandwidth() const { return memory_bandwidth * memory_fraction; }
};

// The arithmetic that products of this dtype run in: the dtype's own, or for what the matrix unit
// lacks the fastest wider one; integers and f16 without hardware fall back to f32.
MathKind MathFor(const DeviceModel& device, Dtype dtype);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_DEVICE_MODEL_H_
