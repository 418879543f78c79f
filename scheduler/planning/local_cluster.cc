#include "scheduler/planning/local_cluster.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "scheduler/cost/measured_device.h"

namespace moai {
namespace {

// Of one core: matrix products in f32 (oneDNN, AVX2), arithmetic of fused kernels, memory.
// Measured on cores of server processors between 3 and 4 GHz.
constexpr double kMatmulFlops = 90e9;
constexpr double kVectorFlops = 6e9;
constexpr double kCoreBandwidth = 12e9;
constexpr double kKernelSeconds = 3e-6;
constexpr double kStepSeconds = 100e-6;
// Between devices of a process, between processes through memory, and over loopback TCP.
constexpr double kProcessBandwidth = 6e9;
constexpr double kProcessLatency = 10e-6;
constexpr double kHostBandwidth = 3e9;
constexpr double kHostLatency = 20e-6;
constexpr double kNetworkBandwidth = 1.5e9;
constexpr double kNetworkLatency = 60e-6;

DeviceModel AssumedDevice(double threads) {
  DeviceModel device;
  device.name = absl::StrCat("cpu, ", threads, " threads");
  for (double& peak : device.peak_flops) peak = kMatmulFlops * threads;
  device.peak_flops[size_t(MathKind::kF64)] /= 2;
  device.vector_flops = kVectorFlops * threads;
  device.memory_bandwidth = kCoreBandwidth * threads;
  device.kernel_seconds = kKernelSeconds;
  device.step_seconds = kStepSeconds;
  device.matmul = {.peak_fraction = 0.9,
                   .processors = threads,
                   .k_overhead = 16,
                   .wave_quantisation = 0.5,
                   .alignment_bytes = 32,
                   .misaligned_loss = 0.03,
                   .largest_tile = 64,
                   .smallest_tile = 16};
  return device;
}

// A step is as fast as the slowest device.
const MeasuredNode* Slowest(absl::Span<const DeviceProfile> devices) {
  const MeasuredNode* slowest = nullptr;
  for (const DeviceProfile& device : devices) {
    const MeasuredNode* measured = device.measured.get();
    if (measured == nullptr) return nullptr;
    if (slowest == nullptr ||
        measured->device.peak(MathKind::kF32) < slowest->device.peak(MathKind::kF32)) {
      slowest = measured;
    }
  }
  return slowest;
}

bool OnOneHost(absl::Span<const DeviceProfile> devices) {
  return !devices.empty() && !devices[0].host.empty() &&
         std::all_of(devices.begin(), devices.end(),
                     [&](const DeviceProfile& device) { return device.host == devices[0].host; });
}

}  // namespace

Cluster LocalCluster(absl::Span<const DeviceProfile> devices) {
  const int64_t count = std::max<int64_t>(1, int64_t(devices.size()));
  const double threads = devices.empty() ? 1 : double(devices[0].threads);
  Cluster cluster;
  cluster.name = "local";
  const MeasuredNode* const measured = Slowest(devices);
  cluster.device = measured != nullptr ? measured->device : AssumedDevice(threads);
  cluster.device.memory_bytes = devices.empty() ? 0 : double(devices[0].memory_bytes);
  cluster.nodes = 1;
  cluster.devices_per_node = count;
  // How many neighbours are of one worker.
  int64_t together = 0;
  while (together < count && devices[size_t(together)].node == devices[0].node) ++together;
  if (together == 0 || count % together != 0) together = 1;
  LinkLevel process = {
      .name = "process", .bandwidth = kProcessBandwidth, .latency = kProcessLatency};
  LinkLevel between = {
      .name = "network", .bandwidth = kNetworkBandwidth, .latency = kNetworkLatency};
  const bool one_host = OnOneHost(devices);
  if (one_host) between = {.name = "host", .bandwidth = kHostBandwidth, .latency = kHostLatency};
  if (measured != nullptr) {
    process = measured->process;
    between = one_host ? measured->host : measured->network;
  }
  process.devices = together;
  between.devices = count;
  if (together > 1) cluster.links.push_back(process);
  if (together < count || count == 1) cluster.links.push_back(between);
  return cluster;
}

}  // namespace moai
