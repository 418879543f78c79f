// How one device of a session exchanges tensors with the others. The interface that a backend
// fills: host memory (process_group.h) today.
//
// The devices of a session call the same collectives in the same order, each for itself; a call
// returns when this device's part is complete. Results depend on the inputs and the group alone,
// to the bit: members' terms are combined in member order, whatever arrives first.
#ifndef MOAI_WORKER_COLLECTIVES_COMMUNICATOR_H_
#define MOAI_WORKER_COLLECTIVES_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/dtype.h"
#include "graph/signature.h"

namespace moai {

// One device's error flag of a step (StepErrors in worker/kernels/kernel.h).
struct StepFlag {
  uint32_t raised = 0;  // 0 or 1; the rest says nothing where it is 0
  uint32_t instruction = 0;
  int64_t value = 0;
  int64_t limit = 0;
  friend bool operator==(const StepFlag&, const StepFlag&) = default;
};

// Devices that take part, as ranks of the session, in member order. Distinct, this device among
// them.
using GroupSpan = absl::Span<const uint32_t>;

// A dense tensor seen from the dim that is split: [outer, units, unit], of which a member has
// PartOf(units, members, member) units. Counted in elements.
struct AxisSplit {
  int64_t outer = 1;  // product of the dims before
  int64_t units = 1;  // of the whole tensor
  int64_t unit = 1;   // elements of a unit, with the dims after
};

// A dense tensor seen from two dims: [outer, first, middle, second, inner].
struct TwoAxisSplit {
  int64_t outer = 1;
  int64_t middle = 1;
  int64_t inner = 1;
  // The dim that is joined: split by members before, whole after. In units of `joined_unit`.
  int64_t joined_units = 1;
  int64_t joined_unit = 1;
  // The dim that is whole before and split by members after.
  int64_t split_units = 1;
  int64_t split_unit = 1;
  bool joined_first = true;  // which of the two is `first`
};

// What a device has sent. Payload only.
struct TransferCounters {
  int64_t in_process_bytes = 0;
  int64_t in_process_messages = 0;
  int64_t other_process_bytes = 0;  // by network or the host's memory
  int64_t other_process_messages = 0;
  int64_t bytes() const { return in_process_bytes + other_process_bytes; }
};

// To or from another device.
struct PeerMessage {
  uint32_t peer = 0;
  bool incoming = false;
  std::byte* data = nullptr;  // only read where the message goes out
  int64_t bytes = 0;
};

// One thread at a time calls the methods of one communicator: the device's own. An error is final:
// it is every later call's result, on every device of the session within the deadline. What a
// failed call leaves in its output is unspecified.
//
// Inputs and outputs are dense, in the device's memory, and do not overlap (but where said).
// `scratch` is working space of CollectiveScratchBytes (program/collective_bytes.h), aligned to
// kCollectiveAlignment. InvalidArgument for what cannot be: a group without this device, a
// reduction that the dtype does not have.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual uint32_t rank() const = 0;  // of this device in the session
  virtual uint32_t size() const = 0;  // devices of the session

  // `count` elements. `output` may be `input`.
  virtual absl::Status AllReduce(GroupSpan group, const std::byte* input, std::byte* output,
                                 int64_t count, Dtype dtype, ReduceKind reduce,
                                 absl::Span<std::byte> scratch) = 0;
  // From this member's part to the whole.
  virtual absl::Status AllGather(GroupSpan group, const std::byte* input, std::byte* output,
                                 const AxisSplit& split, Dtype dtype,
                                 absl::Span<std::byte> scratch) = 0;
  // From the whole to this member's part of the members' wholes, combined.
  virtual absl::Status ReduceScatter(GroupSpan group, const std::byte* input, std::byte* output,
                                     const AxisSplit& split, Dtype dtype, ReduceKind reduce,
                                     absl::Span<std::byte> scratch) = 0;
  virtual absl::Status AllToAll(GroupSpan group, const std::byte* input, std::byte* output,
                                const TwoAxisSplit& split, Dtype dtype,
                                absl::Span<std::byte> scratch) = 0;
  // `input` is read on the first member only, `bytes` of it.
  virtual absl::Status BroadcastFromFirst(GroupSpan group, const std::byte* input,
                                          std::byte* output, int64_t bytes) = 0;
  // Sends and receives, as far as possible at once. Returns when all are complete. In an order of
  // all messages between the devices of the session, those of one call, as they are listed, and
  // those of calls after each other must follow each other on every device: then no devices wait in
  // a circle.
  virtual absl::Status Exchange(absl::Span<const PeerMessage> messages) = 0;
  absl::Status Send(uint32_t peer, const std::byte* input, int64_t bytes) {
    return Exchange({{peer, /*incoming=*/false, const_cast<std::byte*>(input), bytes}});
  }
  absl::Status Recv(uint32_t peer, std::byte* output, int64_t bytes) {
    return Exchange({{peer, /*incoming=*/true, output, bytes}});
  }

  // Every device of the session gives its flag and gets everybody's, by rank: BeginFlags tells the
  // others, and what follows it goes on beside that until FinishFlags waits for theirs. No other
  // call of this communicator comes between. `all` is resized.
  virtual absl::Status BeginFlags(const StepFlag& mine) = 0;
  virtual absl::Status FinishFlags(std::vector<StepFlag>* all) = 0;
  absl::Status ExchangeFlags(const StepFlag& mine, std::vector<StepFlag>* all) {
    const absl::Status begun = BeginFlags(mine);
    return begun.ok() ? FinishFlags(all) : begun;
  }

  // The first error, of this or another device. Any thread.
  virtual absl::Status status() const = 0;
  // Records an error that a caller found; the session's links break, on all devices. Any thread.
  virtual void Abort(const absl::Status& error) = 0;
  virtual const TransferCounters& counters() const = 0;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_COMMUNICATOR_H_
