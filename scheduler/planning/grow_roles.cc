#include "scheduler/planning/grow_roles.h"

#include <algorithm>
#include <limits>

namespace moai {
namespace {

// Roles with a smaller share of the arithmetic do not join a list.
constexpr double kGainShare = 0.001;
constexpr size_t kMostRoles = 8;
// Roles that split so large a share of what another does split about the same.
constexpr double kAlike = 0.99;

bool Splits(const GraphFacts& facts, uint32_t node, RoleId role) {
  for (const NodeStrategy& strategy : facts.strategies(node)) {
    if (strategy.factor != kNoFactor && facts.role(strategy.factor) == role) return true;
  }
  return false;
}

// Bytes of a node's results that are terms, still to be summed, where it is split so.
double TermBytes(const GraphFacts& facts, uint32_t node, const NodeStrategy& strategy) {
  double bytes = 0;
  for (size_t k = 0; k < strategy.outputs.size(); ++k) {
    if (strategy.outputs[k].kind != PlacementKind::kPartial) continue;
    bytes += double(facts.types()[facts.graph().nodes[node].first_output + ValueId(k)].bytes());
  }
  return bytes;
}

// What a role would add to a list.
struct Gain {
  double flops = 0;  // that the list does not split yet
  double terms = 0;  // bytes
};

// The one that splits most; of those that split about the same, the one that leaves least to be
// summed.
RoleId BestOf(const std::vector<Gain>& gains) {
  double most = 0;
  for (const Gain& gain : gains) most = std::max(most, gain.flops);
  RoleId best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (RoleId role = 0; role < gains.size(); ++role) {
    if (gains[role].flops < kAlike * most || gains[role].terms >= least) continue;
    best = role;
    least = gains[role].terms;
  }
  return best;
}

}  // namespace

std::vector<RoleId> GrowRoles(const GraphFacts& facts, RoleId seed, bool tensor,
                              int64_t least_extent) {
  const size_t nodes = facts.graph().nodes.size();
  std::vector<RoleId> list = {seed};
  std::vector<bool> covered(nodes, false);
  while (list.size() < kMostRoles) {
    // What the list splits by now, and what each other role would add.
    std::vector<Gain> gain(facts.roles().size());
    for (uint32_t node = 0; node < nodes; ++node) {
      if (!facts.heavy(node) || covered[node]) continue;
      covered[node] = Splits(facts, node, list.back());
      if (covered[node]) continue;
      for (const NodeStrategy& strategy : facts.strategies(node)) {
        if (strategy.factor == kNoFactor) continue;
        const RoleId role = facts.role(strategy.factor);
        const Role& r = facts.roles()[role];
        if (r.extent < least_extent || (tensor && r.in_feeds)) continue;
        gain[role].flops += facts.flops(node);
        gain[role].terms += TermBytes(facts, node, strategy);
      }
    }
    const RoleId best = BestOf(gain);
    if (gain[best].flops < kGainShare * facts.total_flops()) break;
    list.push_back(best);
  }
  return list;
}

}  // namespace moai
