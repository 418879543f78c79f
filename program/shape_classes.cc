#include <numeric>

#include "graph/op_schema.h"
#include "program/passes.h"

namespace moai {
namespace {

class UnionFind {
 public:
  explicit UnionFind(size_t count) : parent_(count) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }
  uint32_t Find(uint32_t x) {
    while (parent_[x] != x) x = parent_[x] = parent_[parent_[x]];
    return x;
  }
  // The smaller id stays the representative.
  void Union(uint32_t a, uint32_t b) {
    a = Find(a);
    b = Find(b);
    if (a < b) parent_[b] = a;
    if (b < a) parent_[a] = b;
  }

 private:
  std::vector<uint32_t> parent_;
};

bool SamePattern(const OperandPattern& a, const OperandPattern& b) {
  if (a.tokens.size() != b.tokens.size()) return false;
  for (size_t i = 0; i < a.tokens.size(); ++i) {
    if (a.tokens[i].kind != b.tokens[i].kind || a.tokens[i].symbol != b.tokens[i].symbol) {
      return false;
    }
  }
  return true;
}

// Ops whose signature names input and output extents alike although they differ.
bool ChangesExtents(Op op) { return op == Op::kSlice || op == Op::kPad || op == Op::kAllToAll; }

}  // namespace

void ClassifyShapes(Lowering& lowering) {
  const Graph& graph = *lowering.graph;
  UnionFind classes(graph.values.size());
  uint32_t scalar = kNone;
  for (ValueId value = 0; value < graph.values.size(); ++value) {
    if (graph.values[value].rank != 0) continue;
    if (scalar == kNone) scalar = value;
    classes.Union(scalar, value);
  }
  // Operands of a node that the signature writes alike have equal shapes; a rank 0 operand of
  // a pointwise op is the exception, which its rank tells.
  for (const Node& node : graph.nodes) {
    if (ChangesExtents(node.op)) continue;
    const OpSchema& schema = Schema(node.op);
    absl::InlinedVector<std::pair<ValueId, const OperandPattern*>, 8> operands;
    for (size_t i = 0; i < node.inputs.size() && i < schema.inputs.size(); ++i) {
      operands.push_back({node.inputs[i], &schema.inputs[i]});
    }
    for (uint32_t i = 0; i < node.output_count && i < schema.outputs.size(); ++i) {
      operands.push_back({node.first_output + i, &schema.outputs[i]});
    }
    for (size_t i = 0; i < operands.size(); ++i) {
      for (size_t j = i + 1; j < operands.size(); ++j) {
        if (graph.values[operands[i].first].rank == graph.values[operands[j].first].rank &&
            SamePattern(*operands[i].second, *operands[j].second)) {
          classes.Union(operands[i].first, operands[j].first);
        }
      }
    }
  }
  lowering.shape_class.resize(graph.values.size());
  for (ValueId value = 0; value < graph.values.size(); ++value) {
    lowering.shape_class[value] = classes.Find(value);
  }
}

}  // namespace moai
