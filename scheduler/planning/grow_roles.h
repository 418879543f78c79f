// Lists of roles that an axis may split, in order of preference, grown from one role by whatever
// covers most of the arithmetic that the list does not split yet.
#ifndef MOAI_SCHEDULER_PLANNING_GROW_ROLES_H_
#define MOAI_SCHEDULER_PLANNING_GROW_ROLES_H_

#include <cstdint>
#include <vector>

#include "scheduler/planning/graph_facts.h"

namespace moai {

// Roles with a smaller share of the arithmetic are not where a list begins.
inline constexpr double kSeedShare = 0.10;

// `tensor`: by nothing that comes with the step. Only roles of at least `least_extent` join.
std::vector<RoleId> GrowRoles(const GraphFacts& facts, RoleId seed, bool tensor,
                              int64_t least_extent);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_GROW_ROLES_H_
