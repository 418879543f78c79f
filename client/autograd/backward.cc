// The backward pass, and the gradients of leaves.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/autograd/gradient_call.h"
#include "client/capture/recorder.h"
#include "client/tensor/ops.h"
#include "client/tensor/tensor.h"

namespace moai {
namespace {

using OutputGradients = absl::InlinedVector<Tensor, 1>;

// Gradients of a 16-bit dtype are added in f32.
Tensor Sum2(const Tensor& a, const Tensor& b) {
  const bool half = ByteSize(a.dtype()) == 2 || ByteSize(b.dtype()) == 2;
  if (a.dtype() != b.dtype() && half) return a.To(Dtype::kF32) + b.To(Dtype::kF32);
  return a + b;
}

// Every node that the gradient of `root` may reach, consumers before what they consume.
std::vector<GradNode*> Reachable(GradNode* root) {
  static thread_local uint64_t pass = 0;
  ++pass;
  std::vector<GradNode*> nodes = {root};
  root->visited = pass;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const Edge& edge : nodes[i]->inputs) {
      GradNode* next = edge.node.get();
      if (next == nullptr || next->visited == pass) continue;
      next->visited = pass;
      nodes.push_back(next);
    }
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const GradNode* a, const GradNode* b) { return a->sequence > b->sequence; });
  for (size_t i = 0; i < nodes.size(); ++i) nodes[i]->position = static_cast<uint32_t>(i);
  return nodes;
}

// A new gradient lives in the slot that earlier ones had, where that is free again.
absl::Status KeepInSlot(GradNode& leaf, TensorImpl& gradient) {
  const Ref<Recorder>& recorder = Recorder::Current();
  const bool reusable = leaf.gradient_slot && leaf.gradient_slot->references() == 1 &&
                        leaf.gradient_slot->type() == gradient.type;
  if (!reusable) leaf.gradient_slot = recorder->NewSlot(gradient.type);
  Storage& storage = *gradient.storage;
  MOAI_ASSIGN_OR_RETURN(storage.current.value,
                        recorder->Assign(leaf.gradient_slot, storage.current.value));
  storage.slot = leaf.gradient_slot;
  return absl::OkStatus();
}

absl::Status Accumulate(GradNode& leaf, const Tensor& gradient) {
  MOAI_RETURN_IF_ERROR(gradient.status());
  if (!leaf.gradient) {
    const Tensor own = gradient.Clone();
    MOAI_RETURN_IF_ERROR(own.status());
    leaf.gradient = Ref<TensorImpl>(own.impl());
    return KeepInSlot(leaf, *leaf.gradient);
  }
  Tensor sum(leaf.gradient);
  if (ByteSize(sum.dtype()) == 2) {
    // Sums of several passes need more digits than one pass.
    sum = Sum2(sum.To(Dtype::kF32), gradient);
    MOAI_RETURN_IF_ERROR(sum.status());
    leaf.gradient = Ref<TensorImpl>(sum.impl());
    return KeepInSlot(leaf, *leaf.gradient);
  }
  return sum.Add_(gradient).status();
}

void AddTo(Tensor& sum, Tensor gradient) {
  sum = sum.defined() ? Sum2(sum, gradient) : std::move(gradient);
}

absl::Status Propagate(GradNode& node, OutputGradients& dy,
                       std::vector<OutputGradients>& gradients) {
  if (node.released) {
    return absl::FailedPreconditionError(absl::StrCat(
        "Backward runs a second time through ", Name(node.op),
        ", whose saved values are gone; the first call needs BackwardOptions::retain_graph"));
  }
  absl::InlinedVector<Tensor, 4> dx(node.inputs.size());
  GradientCall call(node, dy, absl::MakeSpan(dx));
  GradientRuleOf(node.op).function(call);
  for (size_t i = 0; i < dx.size(); ++i) {
    if (!dx[i].defined()) continue;
    if (!dx[i].ok()) {
      return absl::Status(dx[i].status().code(), absl::StrCat("gradient of ", Name(node.op), ": ",
                                                              dx[i].status().message()));
    }
    if ((node.rank0_inputs >> i & 1) != 0 && dx[i].rank() > 0) dx[i] = Sum(dx[i]);
    const Edge& edge = node.inputs[i];
    AddTo(gradients[edge.node->position][edge.output], std::move(dx[i]));
  }
  return absl::OkStatus();
}

void Release(GradNode& node) {
  if (node.saved.empty()) return;  // nothing is gone: the node serves again
  node.released = true;
  node.saved.clear();
}

absl::StatusOr<Tensor> SeedOf(const Tensor& tensor, const Tensor* gradient) {
  if (gradient == nullptr) {
    if (tensor.elements() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("Backward of ", ToString(tensor.type()),
                       ": give BackwardOptions::gradient, or reduce it to one element"));
    }
    if (tensor.rank() > 0) return Ones(tensor.shape(), tensor.dtype());
    return Tensor::FromNumber(1, tensor.dtype());
  }
  MOAI_RETURN_IF_ERROR(gradient->status());
  if (!(gradient->shape() == tensor.shape())) {
    return absl::InvalidArgumentError(absl::StrCat("Backward of ", ToString(tensor.type()),
                                                   " with a gradient of ",
                                                   ToString(gradient->type())));
  }
  return gradient->Detach().To(tensor.dtype());
}

}  // namespace

absl::Status Tensor::Backward(const BackwardOptions& options) const {
  MOAI_RETURN_IF_ERROR(status());
  const NoGradGuard no_grad;
  MOAI_ASSIGN_OR_RETURN(const Version* version, ReadVersion(*impl_));
  const Edge root = impl_->detached ? Edge() : version->edge;
  if (!root.node) {
    return absl::FailedPreconditionError(
        "Backward of a tensor that does not depend on any tensor with RequiresGrad");
  }
  MOAI_ASSIGN_OR_RETURN(Tensor seed, SeedOf(*this, options.gradient));
  const std::vector<GradNode*> nodes = Reachable(root.node.get());
  std::vector<OutputGradients> gradients(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) gradients[i].resize(nodes[i]->output_count);
  gradients[root.node->position][root.output] = std::move(seed);
  for (size_t i = 0; i < nodes.size(); ++i) {
    GradNode& node = *nodes[i];
    OutputGradients dy = std::exchange(gradients[i], {});
    const bool reached =
        std::any_of(dy.begin(), dy.end(), [](const Tensor& t) { return t.defined(); });
    if (!reached) {
      if (!options.retain_graph) Release(node);
      continue;
    }
    if (node.op == Op::kInvalid) {
      MOAI_RETURN_IF_ERROR(Accumulate(node, dy[0]));
      continue;
    }
    MOAI_RETURN_IF_ERROR(Propagate(node, dy, gradients));
    if (!options.retain_graph) Release(node);
  }
  return absl::OkStatus();
}

Tensor& Tensor::RequiresGrad(bool requires_grad) {
  if (!ok()) return *this;
  Storage& storage = *impl_->storage;
  if (!requires_grad) {
    storage.leaf = nullptr;
    storage.current.edge = Edge();
  } else if (impl_->view || !IsFloat(dtype()) || (storage.current.edge.node && !storage.leaf)) {
    impl_->error = absl::InvalidArgumentError(
        absl::StrCat("RequiresGrad is for floating tensors that own their storage and were not "
                     "computed from others that require gradients; this is ",
                     impl_->view ? "a view of " : "", ToString(type())));
    return *this;
  } else if (!storage.leaf) {
    storage.leaf = Ref<GradNode>(new GradNode());
    storage.current.edge = {.node = storage.leaf};
  }
  ++storage.version;  // views read it again, with its history
  return *this;
}

bool Tensor::requires_grad() const {
  if (!ok() || impl_->detached) return false;
  if (impl_->storage->leaf) return true;
  const absl::StatusOr<const Version*> version = ReadVersion(*impl_);
  return version.ok() && (*version)->edge.node;
}

Tensor Tensor::Grad() const {
  if (!ok() || impl_->view || !impl_->storage->leaf) return Tensor();
  return Tensor(impl_->storage->leaf->gradient);
}

void Tensor::SetGrad(const Tensor& gradient) {
  if (!ok() || impl_->view || !impl_->storage->leaf) return;
  impl_->storage->leaf->gradient = Ref<TensorImpl>(gradient.impl());
}

void Tensor::ClearGrad() {
  if (ok() && impl_->storage->leaf) impl_->storage->leaf->gradient = nullptr;
}

}  // namespace moai
