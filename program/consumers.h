// Who reads a storage.
#ifndef MOAI_PROGRAM_CONSUMERS_H_
#define MOAI_PROGRAM_CONSUMERS_H_

#include <vector>

#include "program/lowering.h"

namespace moai {

// Per storage: the operations that read it, ascending, each once.
inline std::vector<std::vector<OperationId>> ListConsumers(const Lowering& lowering) {
  std::vector<std::vector<OperationId>> consumers(lowering.storages.size());
  for (OperationId id = 0; id < lowering.operations.size(); ++id) {
    for (const Reference& input : lowering.operations[id].inputs) {
      std::vector<OperationId>& list = consumers[input.storage];
      if (list.empty() || list.back() != id) list.push_back(id);
    }
  }
  return consumers;
}

}  // namespace moai

#endif  // MOAI_PROGRAM_CONSUMERS_H_
