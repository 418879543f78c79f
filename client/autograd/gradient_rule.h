// How each op of the op table is differentiated: one rule an op.
#ifndef MOAI_CLIENT_AUTOGRAD_GRADIENT_RULE_H_
#define MOAI_CLIENT_AUTOGRAD_GRADIENT_RULE_H_

#include <cstdint>

#include "graph/op.h"

namespace moai {

class GradientCall;

struct GradientRule {
  // Computes the gradients of the inputs. Null: the op is not differentiable, and its results have
  // no history.
  void (*function)(GradientCall& call) = nullptr;
  uint16_t saved_inputs = 0;  // bit i: input i is needed
  uint8_t saved_outputs = 0;  // bit i: output i is needed
  bool needs_sizes = false;   // the node's extents and its inputs' types
  // Input i is needed only for the gradients of the others (a product).
  bool saves_for_others = false;
};

// Requires IsValid(op).
const GradientRule& GradientRuleOf(Op op);

// Whether the op has a gradient or is listed as having none; false for an op that was forgotten.
bool HasGradientEntry(Op op);

}  // namespace moai

#endif  // MOAI_CLIENT_AUTOGRAD_GRADIENT_RULE_H_
