// What one execution of a program takes of a device, and what the device sends meanwhile. The
// server predicts it from the device's graph before the step is sent, the executor counts it while
// the step runs; at debug level both log it in the same words, and tests hold that they agree.
#ifndef MOAI_PROGRAM_STEP_ACCOUNT_H_
#define MOAI_PROGRAM_STEP_ACCOUNT_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"
#include "graph/op.h"
#include "graph/shape.h"
#include "program/device_graph.h"

namespace moai {

// Collectives of one kind: how often, and the bytes of payload that this device sends in them.
struct CollectiveCount {
  int64_t calls = 0;
  int64_t bytes = 0;
  friend bool operator==(const CollectiveCount&, const CollectiveCount&) = default;
};
using CollectiveCounts = std::map<Op, CollectiveCount>;

struct StepAccount {
  int64_t object_bytes = 0;  // objects that are alive while the step runs, its results among them
  int64_t arena_bytes = 0;   // temporaries
  CollectiveCounts sent;
  friend bool operator==(const StepAccount&, const StepAccount&) = default;
};

// "objects=4096 arena=8192 sent=all_reduce:3:1024,send:1:96": kind, calls, bytes; "-" for nothing.
std::string ToString(const StepAccount& account);

// What the device of this rank will send, from its graph as it is before compilation. `types` are
// those of every value. A rank that is in none of the groups of a collective sends nothing in it.
CollectiveCounts PredictCollectives(const DeviceGraph& part, absl::Span<const TensorType> types,
                                    uint32_t rank);

}  // namespace moai

#endif  // MOAI_PROGRAM_STEP_ACCOUNT_H_
