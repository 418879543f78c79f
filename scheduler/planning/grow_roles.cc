#include "scheduler/planning/grow_roles.h"

#include <algorithm>

namespace moai {
namespace {

// Roles with a smaller share of the arithmetic do not join a list.
constexpr double kGainShare = 0.001;
constexpr size_t kMostRoles = 8;

bool Splits(const GraphFacts& facts, uint32_t node, RoleId role) {
  for (const NodeStrategy& strategy : facts.strategies(node)) {
    if (strategy.factor != kNoFactor && facts.role(strategy.factor) == role) return true;
  }
  return false;
}

}  // namespace

std::vector<RoleId> GrowRoles(const GraphFacts& facts, RoleId seed, bool tensor,
                              int64_t least_extent) {
  const size_t nodes = facts.graph().nodes.size();
  std::vector<RoleId> list = {seed};
  std::vector<bool> covered(nodes, false);
  while (list.size() < kMostRoles) {
    // What the list splits by now, and what each other role would add.
    std::vector<double> gain(facts.roles().size(), 0);
    for (uint32_t node = 0; node < nodes; ++node) {
      if (!facts.heavy(node) || covered[node]) continue;
      covered[node] = Splits(facts, node, list.back());
      if (covered[node]) continue;
      for (const NodeStrategy& strategy : facts.strategies(node)) {
        if (strategy.factor == kNoFactor) continue;
        const RoleId role = facts.role(strategy.factor);
        const Role& r = facts.roles()[role];
        if (r.extent >= least_extent && !(tensor && r.in_feeds)) gain[role] += facts.flops(node);
      }
    }
    const RoleId best = RoleId(std::max_element(gain.begin(), gain.end()) - gain.begin());
    if (gain[best] < kGainShare * facts.total_flops()) break;
    list.push_back(best);
  }
  return list;
}

}  // namespace moai
