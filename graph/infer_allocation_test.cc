// Recording infers each node: inference must not touch the heap when it succeeds.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "graph/infer.h"
#include "graph/testing/random_node.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace moai {
namespace {

TEST(InferNodeTest, DoesNotAllocateOnSuccess) {
  std::mt19937_64 random(1);
  for (const OpEntry& entry : ClientOps()) {
    for (int draw = 0; draw < 20; ++draw) {
      const CapturedGraph captured = *RandomNodeGraph(entry.op, DtypesOf(entry.op)[0], random);
      const Node& node = captured.graph.nodes[0];
      std::vector<TensorType> inputs;
      for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
      std::vector<TensorType> outputs(node.output_count);
      const int64_t before = allocations;
      const bool ok =
          InferNode(node, inputs, Extents(node, captured.sizes), absl::MakeSpan(outputs)).ok();
      EXPECT_EQ(allocations - before, 0) << entry.name;
      EXPECT_TRUE(ok);
    }
  }
}

}  // namespace
}  // namespace moai
