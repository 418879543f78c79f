// What the programs of several devices must agree on: the order in which they meet.
#include "program/passes.h"

namespace moai {

void OrderCollectives(Lowering& lowering) {
  std::vector<OperationId> collectives;
  bool transfers = false;
  for (OperationId id = 0; id < lowering.operations.size(); ++id) {
    const Op op = lowering.operations[id].op;
    if (op == Op::kInvalid || !IsCollective(op)) continue;
    collectives.push_back(id);
    transfers |= IsTransfer(op);
  }
  for (size_t i = 0; i < collectives.size(); ++i) {
    if (i > 0) lowering.order_edges.push_back({collectives[i - 1], collectives[i]});
    lowering.operations[collectives[i]].precedes_commit = transfers;
  }
}

bool PrecedesCommit(const Operation& operation) {
  return operation.may_fail || operation.precedes_commit;
}

}  // namespace moai
