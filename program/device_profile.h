// What a worker measures of a device before it offers it: rates of the kernels that it really runs.
// The planner makes its model of the device from it (scheduler/cost/measured_device.h).
//
// Plain data.
#ifndef MOAI_PROGRAM_DEVICE_PROFILE_H_
#define MOAI_PROGRAM_DEVICE_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "graph/dtype.h"

namespace moai {

// A matrix product of m x k and k x n, `batch` times. GFLOP/s: 10^9 operations a second, a
// multiply-add is two.
struct MatmulMeasurement {
  Dtype dtype = Dtype::kF32;
  int64_t batch = 1;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  double gflops = 0;
  friend bool operator==(const MatmulMeasurement&, const MatmulMeasurement&) = default;
};

// 0 stands for what was not measured.
struct DeviceProfileMeasurement {
  std::string processor;  // its model, as the system names it
  int32_t threads = 1;    // that kernels used
  // False where time ran out before all shapes were measured, as on a busy machine.
  bool complete = true;
  // Shapes and dtypes that the device has a kernel for.
  std::vector<MatmulMeasurement> matmuls;
  // Of a kernel that adds two tensors larger than the caches: GB read and written a second.
  double stream_gb_per_s = 0;
  // A kernel with next to no work, whose code is not in the nearer caches.
  double kernel_microseconds = 0;
  // A softmax of rows in the cache, in operations as graph/cost.h counts them.
  double vector_gflops = 0;
  // Attention (f32, sequence 512, head size 64) and its gradient.
  double attention_gflops = 0;
  double attention_grad_gflops = 0;
  // Convolution (f32, 4 x 32 channels of 16 x 16, windows of 3 x 3), and both of its gradients.
  double convolution_gflops = 0;
  double convolution_grad_gflops = 0;
  friend bool operator==(const DeviceProfileMeasurement&,
                         const DeviceProfileMeasurement&) = default;
};

// A link between two devices, as collectives of two use it.
struct LinkMeasurement {
  // What an all_gather of next to nothing takes once the later device calls, in the mean.
  double latency_us = 0;
  // 10^9 bytes that each device sends a second, in a large all_gather and in a large all_reduce,
  // which adds them up as well.
  double gather_gb_per_s = 0;
  double reduce_gb_per_s = 0;
  friend bool operator==(const LinkMeasurement&, const LinkMeasurement&) = default;
};

// Of a worker's devices.
struct LinksMeasurement {
  LinkMeasurement process;  // between devices of one process
  LinkMeasurement host;     // between processes of one host, where all of a session are there
  LinkMeasurement network;  // between processes otherwise
  friend bool operator==(const LinksMeasurement&, const LinksMeasurement&) = default;
};

}  // namespace moai

#endif  // MOAI_PROGRAM_DEVICE_PROFILE_H_
