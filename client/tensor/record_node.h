// Records one op of the op table: into the open graph and onto the tape.
#ifndef MOAI_CLIENT_TENSOR_RECORD_NODE_H_
#define MOAI_CLIENT_TENSOR_RECORD_NODE_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/autograd/grad_node.h"
#include "graph/op.h"

namespace moai {

// An input of an op: a value, or a number that stays out of the structure.
struct NodeInput {
  const Version* version = nullptr;
  Dtype dtype = Dtype::kF32;  // of the number
  double number = 0;
  bool ignore_history = false;
};

enum class Tape : uint8_t {
  kIfEnabled,  // record history where GradEnabled()
  kAlways,     // views: a read carries the history of what it reads
};

struct NodeCall {
  Op op = Op::kInvalid;
  absl::Span<const NodeInput> inputs;
  absl::Span<const int32_t> attributes;
  absl::Span<const int64_t> extents;
  absl::Span<const double> numbers;
  Tape tape = Tape::kIfEnabled;
};

// `outputs` takes the op's outputs, all of them.
// FailedPrecondition without a recorder; InvalidArgument where the op table forbids the node.
absl::Status RecordNode(const NodeCall& call, absl::Span<Version> outputs);

// Only the tape: for a result that is known already.
void RecordHistory(const NodeCall& call, absl::Span<Version> outputs);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_RECORD_NODE_H_
