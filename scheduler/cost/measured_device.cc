#include "scheduler/cost/measured_device.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/cost/op_cost.h"

namespace moai {
namespace {

constexpr double kGiga = 1e9;
constexpr size_t kMostSamples = 1024;

// From the server's message to the first kernel, and back: one step of a single small kernel takes
// some 0.1 ms through three processes (benchmarks/run.sh dispatch).
constexpr double kStepSeconds = 1e-4;

bool Positive(double rate) { return rate > 0 && std::isfinite(rate); }

absl::Status CheckRates(const DeviceProfileMeasurement& m) {
  const struct {
    const char* name;
    double rate;
  } kRates[] = {{"stream_gb_per_s", m.stream_gb_per_s},
                {"kernel_microseconds", m.kernel_microseconds},
                {"vector_gflops", m.vector_gflops},
                {"attention_gflops", m.attention_gflops},
                {"attention_grad_gflops", m.attention_grad_gflops},
                {"convolution_gflops", m.convolution_gflops},
                {"convolution_grad_gflops", m.convolution_grad_gflops}};
  for (const auto& [name, rate] : kRates) {
    if (!Positive(rate)) {
      return absl::InvalidArgumentError(
          absl::StrCat("device profile: ", name, " is ", rate, ", not positive"));
    }
  }
  if (m.threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("device profile: ", m.threads, " threads"));
  }
  if (m.matmuls.size() > kMostSamples) {
    return absl::InvalidArgumentError(
        absl::StrCat("device profile: ", m.matmuls.size(), " matmuls; at most ", kMostSamples));
  }
  return absl::OkStatus();
}

// No link of a machine is faster, whatever a worker says.
constexpr double kMostGigabytes = 1e5;

absl::StatusOr<LinkLevel> LinkFromMeasurement(const char* name, const LinkMeasurement& m) {
  const bool rates = Positive(m.gather_gb_per_s) && m.gather_gb_per_s < kMostGigabytes &&
                     Positive(m.reduce_gb_per_s) && m.reduce_gb_per_s < kMostGigabytes;
  if (!rates || !Positive(m.latency_us)) {
    return absl::InvalidArgumentError(
        absl::StrCat("link profile: ", name, " has ", m.latency_us, " us, ", m.gather_gb_per_s,
                     " and ", m.reduce_gb_per_s, " GB/s; all must be positive"));
  }
  return LinkLevel{.name = name,
                   .bandwidth = m.gather_gb_per_s * kGiga,
                   .efficiency = 1,  // measured
                   .latency = m.latency_us * 1e-6,
                   .all_reduce_gain = m.reduce_gb_per_s / m.gather_gb_per_s};
}

// From the rates of the measured convolution to shares of the products of equal shape.
void SetConvolution(const DeviceProfileMeasurement& m, DeviceModel& device) {
  constexpr double kPixels = 4 * 16 * 16, kChannels = 32, kWindow = 3 * 3;
  constexpr MatmulShape kForward = {.m = kPixels, .n = kChannels, .k = kChannels * kWindow};
  constexpr MatmulShape kOfWeight = {.m = kChannels, .n = kChannels * kWindow, .k = kPixels};
  const auto seconds = [&](const MatmulShape& shape) {
    return MatmulArithmeticSeconds(device, MathKind::kF32, shape, sizeof(float));
  };
  const double flops = kForward.flops();
  // The gradient of the input is a product of the forward one's shape.
  device.convolution_fraction = seconds(kForward) / (flops / (m.convolution_gflops * kGiga));
  device.convolution_grad_fraction =
      (seconds(kForward) + seconds(kOfWeight)) / (2 * flops / (m.convolution_grad_gflops * kGiga));
}

}  // namespace

absl::StatusOr<MeasuredNode> NodeFromMeasurement(const DeviceProfileMeasurement& device,
                                                 const LinksMeasurement& links,
                                                 double memory_bytes) {
  MeasuredNode node;
  MOAI_ASSIGN_OR_RETURN(node.device, DeviceFromMeasurement(device, memory_bytes));
  MOAI_ASSIGN_OR_RETURN(node.process, LinkFromMeasurement("process", links.process));
  MOAI_ASSIGN_OR_RETURN(node.network, LinkFromMeasurement("network", links.network));
  MOAI_ASSIGN_OR_RETURN(node.host, LinkFromMeasurement("host", links.host));
  return node;
}

absl::StatusOr<DeviceModel> DeviceFromMeasurement(const DeviceProfileMeasurement& measurement,
                                                  double memory_bytes) {
  if (absl::Status status = CheckRates(measurement); !status.ok()) return status;
  if (!Positive(memory_bytes)) {
    return absl::InvalidArgumentError("device profile: the device has no memory");
  }
  DeviceModel device;
  device.name = absl::StrCat("cpu: ", measurement.processor, ", ", measurement.threads,
                             measurement.threads == 1 ? " thread" : " threads");
  device.memory_bytes = memory_bytes;
  device.memory_bandwidth = measurement.stream_gb_per_s * kGiga;
  device.memory_fraction = 1;  // measured by a kernel that streams
  device.kernel_seconds = measurement.kernel_microseconds * 1e-6;
  device.step_seconds = kStepSeconds;
  device.vector_flops = measurement.vector_gflops * kGiga;
  device.matmul.processors = measurement.threads;
  device.matmul.wave_quantisation = 0;  // chunks are small: threads end at nearly the same time

  for (const MatmulMeasurement& m : measurement.matmuls) {
    if (!Positive(m.gflops) || m.batch < 1 || m.m < 1 || m.n < 1 || m.k < 1) {
      return absl::InvalidArgumentError("device profile: a matmul without extents or rate");
    }
    MathKind math;
    switch (m.dtype) {
      case Dtype::kF32:
        math = MathKind::kF32;
        break;
      case Dtype::kBF16:
        math = MathKind::kBF16;
        break;
      case Dtype::kF16:
        math = MathKind::kF16;
        break;
      case Dtype::kF64:
        math = MathKind::kF64;
        break;
      default:
        continue;
    }
    const MatmulShape shape = {.batch = static_cast<double>(m.batch),
                               .m = static_cast<double>(m.m),
                               .n = static_cast<double>(m.n),
                               .k = static_cast<double>(m.k)};
    device.matmul_samples.push_back({math, shape, m.gflops * kGiga});
    double& peak = device.peak_flops[static_cast<size_t>(math)];
    peak = std::max(peak, m.gflops * kGiga);
  }
  const double f32 = device.peak(MathKind::kF32);
  if (f32 <= 0) {
    return absl::InvalidArgumentError("device profile: no matrix product in f32 was measured");
  }
  // Measured with head size 64.
  device.attention_in_f32 = true;
  const double head_rate = AttentionHeadRate(64);
  device.attention_fraction = measurement.attention_gflops * kGiga / (f32 * head_rate);
  device.attention_grad_fraction = measurement.attention_grad_gflops * kGiga / (f32 * head_rate);
  SetConvolution(measurement, device);
  return device;
}

}  // namespace moai
