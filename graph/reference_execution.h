// Runs the nodes of one graph, one after another. Shared by the interpreters of one device and of
// several (interpreter.cc, interpret_devices.cc); not for others.
#ifndef MOAI_GRAPH_REFERENCE_EXECUTION_H_
#define MOAI_GRAPH_REFERENCE_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/interpreter.h"
#include "graph/reference_internal.h"

namespace moai::reference {

using TensorPointer = std::shared_ptr<const ReferenceTensor>;

// Of a graph whose types are known. What it is made of, and what is bound, outlives it.
class Execution {
 public:
  Execution(const Graph& graph, absl::Span<const int64_t> sizes,
            const std::vector<TensorType>& types, bool round_to_dtype);

  void Bind(ValueId value, TensorPointer tensor) { values_[value] = std::move(tensor); }
  // InvalidArgument where a binding does not fit its input.
  absl::Status BindInputs(absl::Span<const ReferenceTensor> bindings);

  // Runs nodes until one exchanges elements with other devices, or all are done. On an error,
  // position() is that of the node that failed.
  absl::Status Run();

  bool done() const { return position_ == graph_.nodes.size(); }
  size_t position() const { return position_; }
  // The node at position(), as all below requires !done().
  const Node& node() const { return graph_.nodes[position_]; }
  const ReferenceTensor& input(size_t i) const { return *values_[node().inputs[i]]; }
  const TensorType& output_type() const { return types_[node().first_output]; }
  // Supplies the result of the node, and goes past it.
  void Finish(ReferenceTensor result);

  const ReferenceTensor& value(ValueId value) const { return *values_[value]; }
  // Requires done().
  std::vector<ReferenceTensor> Outputs() const;

 private:
  absl::Status RunNode(const Node& node);
  void Define(ValueId value, ReferenceTensor tensor);
  // Goes to the next node; forgets what no later one reads.
  void Advance();

  const Graph& graph_;
  const absl::Span<const int64_t> sizes_;
  const std::vector<TensorType>& types_;
  const bool round_;
  std::vector<TensorPointer> values_;
  std::vector<uint32_t> uses_;  // by nodes still to run and by outputs
  size_t position_ = 0;
};

// `status` with the place in the graph where it arose: "node 3 (add): ...".
absl::Status AtNode(const absl::Status& status, const Execution& execution);

// Runs a node that has no decomposition.
absl::Status RunPrimitive(const NodeRun& run);

}  // namespace moai::reference

#endif  // MOAI_GRAPH_REFERENCE_EXECUTION_H_
