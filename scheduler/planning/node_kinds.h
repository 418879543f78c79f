// What nodes are to the search.
#ifndef MOAI_SCHEDULER_PLANNING_NODE_KINDS_H_
#define MOAI_SCHEDULER_PLANNING_NODE_KINDS_H_

#include "graph/graph.h"

namespace moai {

// Of matrices, and convolutions.
inline bool IsProduct(const Node& node) { return Entry(node.op).op_class == OpClass::kMatmul; }

// Products and attention: most of the arithmetic of a step.
inline bool IsHeavy(const Node& node) {
  return IsProduct(node) || node.op == Op::kAttention || node.op == Op::kAttentionGrad;
}

// Another way to look at the bytes of its input.
inline bool IsView(const Node& node) { return Entry(node.op).op_class == OpClass::kView; }

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_NODE_KINDS_H_
