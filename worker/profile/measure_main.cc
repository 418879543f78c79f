// Prints what this machine's CPU measures as a device, and of links between devices.
//
//   tools/bazel run //worker/profile:measure -- --threads=2
#include <cstdio>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/profile/measure_device.h"
#include "worker/profile/measure_links.h"

ABSL_FLAG(int, threads, 1, "threads of the device");
ABSL_FLAG(double, seconds, 1.8, "what measuring may take");

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const auto measured =
      moai::MeasureDevice(moai::MakeCpuKernel, {.threads = absl::GetFlag(FLAGS_threads)},
                          {.seconds = absl::GetFlag(FLAGS_seconds)});
  if (!measured.ok()) {
    std::fprintf(stderr, "measure: %s\n", measured.status().ToString().c_str());
    return 1;
  }
  std::puts(moai::ToJson(*measured).c_str());
  const auto links = moai::MeasureLinks();
  if (!links.ok()) {
    std::fprintf(stderr, "measure: %s\n", links.status().ToString().c_str());
    return 1;
  }
  std::puts(moai::ToJson(*links).c_str());
  return 0;
}
