// Partitions a graph and runs its parts in the reference interpreter: for tests.
#ifndef MOAI_SCHEDULER_PARTITION_TESTING_RUN_ON_DEVICES_H_
#define MOAI_SCHEDULER_PARTITION_TESTING_RUN_ON_DEVICES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/interpreter.h"
#include "scheduler/partition/partitioner.h"

namespace moai {

// A scalar binding as the interpreter takes it.
ReferenceTensor ScalarTensor(Dtype dtype, Scalar scalar);

// What `device` binds: its parts of the whole graph's bindings, then the partitioner's constants.
// In the order of its graph's inputs.
std::vector<ReferenceTensor> BindingsOf(const PartitionRequest& request, const DeviceGraph& part,
                                        const std::vector<ReferenceTensor>& bindings,
                                        int64_t device);

// The whole graph's outputs, from what each device's graph gave. An error as RunOnDevices.
absl::StatusOr<std::vector<ReferenceTensor>> JoinOutputs(
    const PartitionRequest& request, const std::vector<std::vector<ReferenceTensor>>& results,
    double tolerance);

struct DevicesResult {
  std::vector<ReferenceTensor> outputs;    // of the whole graph
  std::map<std::string, int> collectives;  // by op, of the first device
};

// What all devices of the request give together, put together again. `bindings` are those of the
// whole graph. An error where devices that hold the same element disagree by more than `tolerance`
// (relative to 1 + its magnitude).
absl::StatusOr<DevicesResult> RunOnDevices(const PartitionRequest& request,
                                           const std::vector<ReferenceTensor>& bindings,
                                           double tolerance);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PARTITION_TESTING_RUN_ON_DEVICES_H_
