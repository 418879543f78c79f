#include "scheduler/cost/gpu_types.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace moai {
namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;

// A row of the data sheets. Peaks are dense (without sparsity), in TFLOP/s; 0: no such arithmetic.
struct Row {
  const char* name;
  double f64, f32, tf32, f16, bf16,
      fp8;        // matrix unit; of f32 the ordinary units where it has none
  double vector;  // f32 on the ordinary units
  double memory_gb, memory_gb_s;
  int processors;
  double fast_gb_s;  // one direction of one GPU
  int fast_domain;
  double network_gb_s;  // of one GPU, as nodes of this type are usually built
  // Share of the bf16 (V100: f16) peak that the best product reaches.
  double peak_fraction;
  double attention;  // share of the peak that causal attention reaches, forward
};

// Sources. NVIDIA: data sheets and architecture papers of V100, A100, H100, H200, L4, L40S, HGX
// B200 and B300, GB200 and GB300 NVL72 (peaks halved where the sheet counts sparsity); AMD: data
// sheets of MI250X, MI300X, MI325X, MI355X. A800 and H800 are A100 and H100 with NVLink cut to 400
// GB/s in both directions. B300 and GB300 gave FP64 up. NVLink is half of the sheet's figure, which
// counts both directions. MI250X counts as the sheet does, both dies together.
//
// Networks: what DGX and HGX nodes carry, one adapter a GPU: V100 100 Gb/s for two GPUs, A100 200
// Gb/s, Hopper and Blackwell 400 Gb/s, B300 and GB300 800 Gb/s; L4 and L40S share 100 and 200
// Gb/s.
//
// peak_fraction: measured "maximum achievable matmul FLOPS" (stas00/ml-engineering,
// compute/accelerator): A100 271.2 of 312, MI250X 147 of 191.5, MI300X 668.4 and
// MI325X 784.9 of 1307, B200 1745 of 2250, GB200 1822 of 2500. Hopper with NVLink reaches 794.5 of 989 for
// moments; under the power limit of a long run it is taken as 0.72. Assumed, from the nearest relative:
// the rest.
//
// attention: FlashAttention 2 on A100 (its paper, figures 4 to 6) reaches 225 of 312 TFLOP/s without
// a mask, 170 to 190 with the causal one, and 0.8 to 0.9 of that backward; on H100 350 to 400 of 989.
// FlashAttention 3 and cuDNN are faster there, older kernels slower; what was published was mostly
// measured with the former. Others: assumed.
// clang-format off
constexpr Row kRows[] = {
    // name          f64    f32   tf32    f16   bf16    fp8 vector  mem GB   GB/s  procs  fast dom  net  fraction  attn
    {"V100",         7.8,  15.7,     0,   125,     0,     0,  15.7,   32,    900,   80,   150,  8, 6.25, 0.80, 0.30},
    {"A100-40GB",   19.5,  19.5,   156,   312,   312,     0,  19.5,   40,   1555,  108,   300,  8, 25,   0.869, 0.55},
    {"A100",        19.5,  19.5,   156,   312,   312,     0,  19.5,   80,   2039,  108,   300,  8, 25,   0.869, 0.55},
    {"A800",        19.5,  19.5,   156,   312,   312,     0,  19.5,   80,   2039,  108,   200,  8, 25,   0.869, 0.55},
    {"H100",        66.9,  66.9, 494.7,   989,   989,  1979,  66.9,   80,   3352,  132,   450,  8, 50,   0.72, 0.42},
    {"H100-PCIe",   51.2,  51.2,   378,   756,   756,  1513,  51.2,   80,   2039,  114,    64,  8, 25,   0.80, 0.42},
    {"H800",           1,  66.9, 494.7,   989,   989,  1979,  66.9,   80,   3352,  132,   200,  8, 50,   0.72, 0.42},
    {"H200",        66.9,  66.9, 494.7,   989,   989,  1979,  66.9,  141,   4800,  132,   450,  8, 50,   0.72, 0.42},
    {"GH200",       66.9,  66.9, 494.7,   989,   989,  1979,  66.9,   96,   4000,  132,   450,  1, 50,   0.836, 0.42},
    {"L4",          0.47,  30.3,    60,   121,   121, 242.5,  30.3,   24,    300,   58,    32,  8, 1.56, 0.70, 0.50},
    {"L40S",        1.43,  91.6,   183,   362,   362,   733,  91.6,   48,    864,  142,    32,  8, 6.25, 0.70, 0.50},
    {"B200",          37,    75,  1125,  2250,  2250,  4500,    75,  180,   7700,  148,   900,  8, 50,   0.776, 0.42},
    {"B300",         1.2,    75,  1125,  2250,  2250,  4500,    75,  270,   7700,  148,   900,  8, 100,  0.776, 0.42},
    {"GB200",         40,    80,  1250,  2500,  2500,  5000,    80,  186,   8000,  148,   900, 72, 50,   0.729, 0.42},
    {"GB300",        1.3,    80,  1250,  2500,  2500,  5000,    80,  279,   8000,  148,   900, 72, 100,  0.729, 0.42},
    {"MI250X",      95.7,  95.7,     0,   383,   383,     0,  47.9,  128,   3277,  220,   250,  4, 25,   0.767, 0.35},
    {"MI300X",     163.4, 163.4, 653.7,  1307,  1307,  2615, 163.4,  192,   5300,  304,   448,  8, 50,   0.511, 0.35},
    {"MI325X",     163.4, 163.4, 653.7,  1307,  1307,  2615, 163.4,  256,   6000,  304,   448,  8, 50,   0.60, 0.35},
    {"MI355X",      78.6, 157.3,     0,  2300,  2300,  4600, 157.3,  288,   8000,  256,   538,  8, 50,   0.60, 0.35},
};
// clang-format on

GpuType FromRow(const Row& row) {
  GpuType type;
  DeviceModel& device = type.device;
  device.name = row.name;
  device.peak_flops = {row.f64 * kTera, row.f32 * kTera,  row.tf32 * kTera,
                       row.f16 * kTera, row.bf16 * kTera, row.fp8 * kTera};
  device.vector_flops = row.vector * kTera;
  device.memory_bytes = row.memory_gb * kGiga;
  device.memory_bandwidth = row.memory_gb_s * kGiga;
  // Large copies reach 0.85 to 0.95 of the data sheet; Calculon takes 0.90 (100 MB) and 0.75 (10
  // MB) of H100.
  device.memory_fraction = 0.85;
  // From the end of one kernel to the work of the next in a stream that is kept full: 2 us of gap,
  // 2 us of ramp. autoparallel takes 7 us as the least time of a kernel.
  device.kernel_seconds = 4e-6;
  // What optimizers, loaders and the host leave between two steps. Assumed; meant to be fitted.
  device.step_seconds = 5e-3;
  device.matmul.peak_fraction = row.peak_fraction;
  device.matmul.processors = row.processors;
  device.attention_fraction = row.attention;
  device.attention_grad_fraction = 0.8 * row.attention;
  type.fast_bandwidth = row.fast_gb_s * kGiga;
  // all_reduce of 8 GPUs: A100 235 of 300 GB/s; H100 480 of 450 with NVLink SHARP
  // (dgxc-benchmarking, nccl/README), all_gather 320 to 340 (tables of autoparallel). PCIe without
  // peer access: assumed.
  const bool pcie = row.fast_gb_s < 100;
  const bool adding_switches = row.fp8 > 0 && row.fast_gb_s >= 450 && row.fast_domain >= 8 &&
                               !absl::StartsWith(row.name, "MI");
  type.fast_efficiency = pcie ? 0.6 : adding_switches ? 0.75 : 0.78;
  type.all_reduce_gain = adding_switches ? 1.42 : 1;
  type.fast_domain = row.fast_domain;
  type.network_bandwidth = row.network_gb_s * kGiga;
  return type;
}

}  // namespace

absl::Span<const GpuType> GpuTypes() {
  static const std::vector<GpuType>* const types = [] {
    auto* made = new std::vector<GpuType>();
    for (const Row& row : kRows) made->push_back(FromRow(row));
    return made;
  }();
  return *types;
}

absl::StatusOr<const GpuType*> FindGpuType(absl::string_view name) {
  for (const GpuType& type : GpuTypes()) {
    if (absl::EqualsIgnoreCase(type.device.name, name)) return &type;
  }
  const auto append_name = [](std::string* out, const GpuType& type) {
    absl::StrAppend(out, type.device.name);
  };
  return absl::NotFoundError(absl::StrCat("no GPU type is named '", name, "'; known are ",
                                          absl::StrJoin(GpuTypes(), ", ", append_name)));
}

}  // namespace moai
