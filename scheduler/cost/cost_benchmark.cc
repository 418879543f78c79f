// What asking for costs takes: kernels, collectives, and tasks a second of the simulator on
// pipelines with collectives.
//
//   tools/bazel run //scheduler/cost:cost_benchmark
#include <benchmark/benchmark.h>

#include <vector>

#include "scheduler/cost/collective_cost.h"
#include "scheduler/cost/op_cost.h"
#include "scheduler/cost/pipeline_schedule.h"
#include "scheduler/cost/simulator.h"

namespace moai {
namespace {

// `devices` stages of 1F1B; after each step all devices reduce.
Schedule MakeSchedule(int devices, int micro_batches) {
  Schedule schedule(devices);
  const auto order = OneForwardOneBackward(devices, micro_batches);
  PipelineTimes times{.forward = std::vector<double>(devices, 1e-3),
                      .backward = std::vector<double>(devices, 2e-3),
                      .transfer = 1e-4};
  std::vector<uint32_t> device_of;
  for (int i = 0; i < devices; ++i) device_of.push_back(i);
  const std::vector<TaskId> last = AddPipeline(*order, times, device_of, &schedule);
  const CollectiveId reduce = schedule.NewCollective(1e-3, devices);
  for (int i = 0; i < devices; ++i) {
    schedule.AddCollective(i, reduce, schedule.Category("all_reduce"), {last[i]});
  }
  return schedule;
}

void BM_Simulate(benchmark::State& state) {
  const Schedule schedule =
      MakeSchedule(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    const auto result = Simulate(schedule);
    if (!result.ok()) state.SkipWithError("the schedule blocks itself");
    benchmark::DoNotOptimize(result->finish);
  }
  state.counters["tasks"] = static_cast<double>(schedule.task_count());
  state.counters["tasks/s"] = benchmark::Counter(static_cast<double>(schedule.task_count()),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_Simulate)->Args({8, 64})->Args({64, 512})->Args({512, 512});

void BM_Matmul(benchmark::State& state) {
  const DeviceModel& device = (*FindGpuType("H100"))->device;
  MatmulShape shape{.m = 4096, .n = 4096, .k = 4096};
  for (auto _ : state) {
    shape.m = shape.m < 8192 ? shape.m + 64 : 4096;
    benchmark::DoNotOptimize(MatmulSeconds(device, MathKind::kBF16, shape, 2));
  }
}
BENCHMARK(BM_Matmul);

void BM_AllReduce(benchmark::State& state) {
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), 64);
  const GroupShape group = StridedGroup(cluster, 1, 512);
  double bytes = 1;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        CollectiveSeconds(cluster, CollectiveKind::kAllReduce, bytes += 1, group));
  }
}
BENCHMARK(BM_AllReduce);

}  // namespace
}  // namespace moai

BENCHMARK_MAIN();
