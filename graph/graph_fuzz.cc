// libFuzzer entry for graphs from peers:
//   tools/bazel run --config=fuzz //graph:graph_fuzz -- -max_total_time=60
#include <cstddef>
#include <cstdint>

#include "graph/testing/hostile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moai::ConsumeGraph({reinterpret_cast<const char*>(data), size}).IgnoreError();
  return 0;
}
