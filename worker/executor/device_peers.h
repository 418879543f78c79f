// What one device of a session needs of the others. A session of one device has none.
#ifndef MOAI_WORKER_EXECUTOR_DEVICE_PEERS_H_
#define MOAI_WORKER_EXECUTOR_DEVICE_PEERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "program/device_graph.h"
#include "program/step_account.h"
#include "worker/kernels/kernel.h"

namespace moai {

// One for each device, used by its thread. Every device makes the same calls in the same order.
class DevicePeers {
 public:
  virtual ~DevicePeers() = default;

  // Tells the others how this device fared, and does not wait: kernels that exchange elements may
  // run until FinishAgreement, which must follow.
  virtual void BeginAgreement(const absl::Status& mine) = 0;
  // Waits for what they tell. OK where all are; else the error of the lowest rank that has one, on
  // every device in the same words. Where the devices cannot reach each other, status().
  virtual absl::Status FinishAgreement() = 0;
  absl::Status Agree(const absl::Status& mine) {
    BeginAgreement(mine);
    return FinishAgreement();
  }

  // An error once a link has failed: nothing that was exchanged since counts, and the devices
  // cannot go on.
  virtual absl::Status status() const = 0;

  // Of an instruction that exchanges elements. `program` outlives the kernel.
  virtual absl::StatusOr<std::unique_ptr<Kernel>> MakeKernel(
      const Program& program, uint32_t index, absl::Span<const DeviceGroup> groups) = 0;

  // What those kernels have sent since the last call, as the transport counted it.
  virtual CollectiveCounts TakeSent() = 0;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_DEVICE_PEERS_H_
