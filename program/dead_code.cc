#include "program/passes.h"

namespace moai {

void MarkLiveNodes(Lowering& lowering) {
  const Graph& graph = *lowering.graph;
  std::vector<bool> needed(graph.values.size(), false);
  for (const Output& output : graph.outputs) needed[output.value] = true;
  lowering.live.assign(graph.nodes.size(), false);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    for (uint32_t k = 0; k < node.output_count; ++k) {
      if (needed[node.first_output + k]) lowering.live[i] = true;
    }
    // The other devices of its group wait for a collective, whether this one needs it or not.
    if (IsCollective(node.op)) lowering.live[i] = true;
    if (!lowering.live[i]) continue;
    for (ValueId input : node.inputs) needed[input] = true;
  }
}

}  // namespace moai
