// The tape: for each recorded op whose result needs a gradient, what its gradient needs.
//
// Gradients belong to versions of values, not to tensors: in-place ops and views are recorded as
// pure ops, so that differentiating them needs no rules of its own.
#ifndef MOAI_CLIENT_AUTOGRAD_GRAD_NODE_H_
#define MOAI_CLIENT_AUTOGRAD_GRAD_NODE_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "client/capture/lazy_value.h"
#include "client/capture/ref.h"
#include "graph/graph.h"

namespace moai {

class GradNode;
class TensorImpl;

// Where the gradient of a value goes: an output of a node of the tape. Null: nowhere.
struct Edge {
  Ref<GradNode> node;
  uint32_t output = 0;
};

// A value and the history that made it.
struct Version {
  Ref<LazyValue> value;
  Edge edge;
};

class GradNode : public RefCounted<GradNode> {
 public:
  GradNode();
  ~GradNode();

  Op op = Op::kInvalid;  // kInvalid: a leaf
  uint8_t output_count = 1;
  uint16_t rank0_inputs = 0;  // bit i: input i was a rank 0 tensor
  bool released = false;      // a backward pass has used up what was saved
  uint64_t sequence = 0;      // grows in the order of recording

  absl::InlinedVector<Edge, 3> inputs;
  // The saved inputs, then the saved outputs, as the op's gradient rule says.
  absl::InlinedVector<Ref<LazyValue>, 4> saved;
  absl::InlinedVector<int32_t, 4> attributes;
  absl::InlinedVector<double, 1> numbers;
  // Where the rule asks for them.
  absl::InlinedVector<int64_t, 8> extents;
  absl::InlinedVector<TensorType, 1> input_types;

  // Leaves only. The gradient so far (null: none) and the place that it is kept in, which outlives
  // it, so that every step binds the same slot.
  Ref<TensorImpl> gradient;
  Ref<Slot> gradient_slot;

  // Scratch of a backward pass.
  uint64_t visited = 0;
  uint32_t position = 0;
};

// Whether ops are recorded on the tape, on this thread.
bool GradEnabled();

// While it lives, nothing is recorded on the tape of this thread.
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool before_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_AUTOGRAD_GRAD_NODE_H_
