// Tasks a second of the simulator, on pipelines with collectives.
//
//   tools/bazel run //scheduler/cost:simulator_benchmark
#include <benchmark/benchmark.h>

#include <vector>

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

}  // namespace
}  // namespace moai

BENCHMARK_MAIN();
