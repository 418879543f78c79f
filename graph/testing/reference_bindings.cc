#include "graph/testing/reference_bindings.h"

#include "graph/testing/random_bindings.h"

namespace moai {

std::vector<ReferenceTensor> RandomReferenceBindings(const CapturedGraph& captured,
                                                     std::mt19937_64& random) {
  const std::vector<std::vector<std::byte>> bytes = RandomBindings(captured, random);
  std::vector<ReferenceTensor> bindings;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const TensorType& type = captured.types[captured.graph.inputs[i].value];
    bindings.push_back(ReferenceTensor::FromBytes(type, bytes[i]));
  }
  return bindings;
}

}  // namespace moai
