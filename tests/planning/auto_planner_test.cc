// The planner of sessions on whole training steps: what it finds where memory is short.
#include "scheduler/planning/auto_planner.h"

#include <gtest/gtest.h>

#include <vector>

#include "client/models/catalog.h"
#include "graph/infer.h"

namespace moai {
namespace {

// A wide batch on small devices: a plan with 8 micro-batches, all state split and everything
// computed again takes 16.6 MiB.
TEST(AutoPlanner, FindsThePlanThatNeedsAllWaysToSaveMemory) {
  const models::LlamaConfig config = {.vocabulary = 256,
                                      .hidden = 256,
                                      .ffn = 704,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .sequence = 16};
  const CapturedStep step = *models::CaptureModel("small", config, 512, {.autocast = std::nullopt});
  const std::vector<TensorType> types = *InferGraph(*step.graph, step.sizes);
  std::vector<DeviceProfile> devices;
  for (uint64_t i = 0; i < 16; ++i) {
    devices.push_back({.kind = "cpu", .memory_bytes = 20 << 20, .threads = 1, .node = i / 4});
  }
  for (int64_t other : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) {
    const PlanRequest request = {.graph = step.graph,
                                 .sizes = step.sizes,
                                 .types = types,
                                 .devices = devices,
                                 .other_bytes = other << 20};
    const auto plan = MakeAutoPlanner()->MakePlan(request);
    printf("other %d\n", int(other));
    if (!plan.ok()) {
      printf("%s\n", plan.status().ToString().c_str());
      continue;
    }
    std::printf("%s\n", (*plan)->explanation.c_str());
  }
}

}  // namespace
}  // namespace moai
