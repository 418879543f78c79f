#include "client/autograd/grad_node.h"

#include <utility>
#include <vector>

#include "client/tensor/tensor_impl.h"

namespace moai {
namespace {

thread_local bool grad_enabled = true;
thread_local uint64_t next_sequence = 1;
// Nodes whose turn to be destroyed comes; so a long chain does not become a deep recursion.
thread_local std::vector<Ref<GradNode>>* dropped = nullptr;

}  // namespace

GradNode::GradNode() : sequence(next_sequence++) {}

GradNode::~GradNode() {
  if (dropped != nullptr) {
    for (Edge& edge : inputs) {
      if (edge.node) dropped->push_back(std::move(edge.node));
    }
    return;
  }
  std::vector<Ref<GradNode>> work;
  for (Edge& edge : inputs) {
    if (edge.node) work.push_back(std::move(edge.node));
  }
  if (work.empty()) return;
  dropped = &work;
  while (!work.empty()) {
    Ref<GradNode> next = std::move(work.back());
    work.pop_back();
    next = nullptr;
  }
  dropped = nullptr;
}

bool GradEnabled() { return grad_enabled; }

NoGradGuard::NoGradGuard() : before_(std::exchange(grad_enabled, false)) {}
NoGradGuard::~NoGradGuard() { grad_enabled = before_; }

}  // namespace moai
