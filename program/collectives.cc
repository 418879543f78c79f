// What programs of several devices must agree on: the order in which they meet.
#include "program/passes.h"

namespace moai {

void ChainCollectives(Lowering& lowering) {
  OperationId previous = kNone;
  for (OperationId id = 0; id < lowering.operations.size(); ++id) {
    const Op op = lowering.operations[id].op;
    if (op == Op::kInvalid || !IsCollective(op)) continue;
    if (previous != kNone) lowering.order_edges.push_back({previous, id});
    previous = id;
  }
}

bool PrecedesCommit(const Operation& operation) {
  return operation.may_fail || operation.op == Op::kSend || operation.op == Op::kRecv;
}

}  // namespace moai
