// Sums over devices that do not depend on what a step computes.
#ifndef MOAI_PROGRAM_EARLY_SUMS_H_
#define MOAI_PROGRAM_EARLY_SUMS_H_

#include <vector>

#include "program/lowering.h"

namespace moai {

// By group: whether it leads to a number that devices add up, or is that sum, with nothing but
// numbers and parts of feeds on the way from the bindings. The count of a batch's labels is one. To
// run that first costs next to no memory; and the sum is there when it is needed, where it would
// have each device wait for the slowest in the middle of a step.
std::vector<bool> LeadToEarlySums(const Lowering& lowering);

}  // namespace moai

#endif  // MOAI_PROGRAM_EARLY_SUMS_H_
