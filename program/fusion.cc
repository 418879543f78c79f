#include "program/passes.h"

namespace moai {

void FuseOperations(Lowering& lowering) {
  lowering.groups.clear();
  for (OperationId id = 0; id < lowering.operations.size(); ++id) lowering.groups.push_back({id});
}

}  // namespace moai
