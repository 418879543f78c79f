#include "scheduler/cost/simulator.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "nlohmann/json.hpp"
#include "scheduler/cost/pipeline_schedule.h"

namespace moai {
namespace {

SimulationResult Simulated(const Schedule& schedule, double slowdown = 1) {
  absl::StatusOr<SimulationResult> result = Simulate(schedule, {.overlap_slowdown = slowdown});
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : SimulationResult();
}

TEST(SimulatorTest, AnEmptyScheduleTakesNoTime) { EXPECT_EQ(Simulated(Schedule(2)).finish, 0); }

TEST(SimulatorTest, AStreamRunsInOrder) {
  Schedule schedule(1);
  const uint16_t work = schedule.Category("work");
  schedule.AddCompute(0, 2, work);
  schedule.AddCompute(0, 3, work);
  const SimulationResult result = Simulated(schedule);
  EXPECT_EQ(result.finish, 5);
  EXPECT_EQ(result.tasks[1].begin, 2);
  EXPECT_EQ(result.devices[0].compute, 5);
  EXPECT_EQ(result.devices[0].idle, 0);
}

// Two devices: a collective begins when the slower one has come, beside the faster one's next
// kernel.
TEST(SimulatorTest, ACollectiveWaitsForItsMembersAndOverlaps) {
  Schedule schedule(2);
  const uint16_t work = schedule.Category("work");
  const uint16_t reduce = schedule.Category("all_reduce");
  const CollectiveId collective = schedule.NewCollective(4, 2);
  const TaskId a = schedule.AddCompute(0, 1, work);
  const TaskId b = schedule.AddCompute(1, 3, work);
  const TaskId sum = schedule.AddCollective(0, collective, reduce, {a});
  schedule.AddCollective(1, collective, reduce, {b});
  schedule.AddCompute(0, 5, work);
  schedule.AddCompute(0, 1, work, {sum});
  const SimulationResult result = Simulated(schedule);
  EXPECT_EQ(result.tasks[sum].begin, 3);
  EXPECT_EQ(result.tasks[sum].end, 7);
  EXPECT_EQ(result.finish, 8);
  // Device 0: kernels 0-1, 1-6, 7-8; sends 3-7.
  EXPECT_EQ(result.devices[0].compute, 7);
  EXPECT_EQ(result.devices[0].communication, 4);
  EXPECT_EQ(result.devices[0].overlapped, 3);
  EXPECT_EQ(result.devices[0].idle, 0);
  // Device 1: kernel 0-3, sends 3-7.
  EXPECT_EQ(result.devices[1].idle, 1);
  // Device 1's kernel, the collective, the last kernel.
  EXPECT_EQ(result.critical_seconds.at("work"), 3 + 1);
  EXPECT_EQ(result.critical_seconds.at("all_reduce"), 4);
  ASSERT_EQ(result.critical_path.size(), 3u);
  EXPECT_EQ(result.critical_path[0], b);
}

// A kernel of 4 s; a transfer of 3 s runs beside it: in 3 s it does 3 / 1.5 = 2 s of work, then 2
// more at full speed.
TEST(SimulatorTest, KernelsSlowDownBesideCommunication) {
  Schedule schedule(2);
  const uint16_t work = schedule.Category("work");
  schedule.AddCompute(0, 4, work);
  const TaskId transfer = schedule.AddTransfer(0, 3, schedule.Category("send"));
  const TaskId receiver = schedule.AddCompute(1, 1, work, {transfer});
  const SimulationResult result = Simulated(schedule, 1.5);
  EXPECT_DOUBLE_EQ(result.finish, 5);
  EXPECT_DOUBLE_EQ(result.tasks[receiver].begin, 3);
  EXPECT_DOUBLE_EQ(result.devices[0].overlapped, 3);
  // The transfer begins under a kernel that already runs: 1 s alone, 3 s beside, then the rest.
  Schedule late(1);
  const TaskId first = late.AddCompute(0, 1, late.Category("work"));
  late.AddCompute(0, 4, late.Category("work"));
  late.AddTransfer(0, 3, late.Category("send"), {first});
  EXPECT_DOUBLE_EQ(Simulated(late, 1.5).finish, 6);
}

TEST(SimulatorTest, OnTheComputeStreamACollectiveHoldsKernelsUp) {
  Schedule schedule(2);
  const uint16_t work = schedule.Category("work");
  const CollectiveId collective = schedule.NewCollective(2, 2);
  for (uint32_t device : {0u, 1u}) {
    schedule.AddCompute(device, device + 1.0, work);
    schedule.AddCollective(device, collective, work, {}, -1, Stream::kCompute);
    schedule.AddCompute(device, 1, work);
  }
  const SimulationResult result = Simulated(schedule, 1.5);
  EXPECT_EQ(result.finish, 5);
  EXPECT_EQ(result.devices[0].idle, 1);
  EXPECT_EQ(result.devices[0].overlapped, 0);
}

TEST(SimulatorTest, CrossedCollectivesBlockAndAreNamed) {
  Schedule schedule(2);
  const CollectiveId x = schedule.NewCollective(1, 2);
  const CollectiveId y = schedule.NewCollective(1, 2);
  const uint16_t first = schedule.Category("all_gather weights");
  const uint16_t second = schedule.Category("all_reduce gradients");
  schedule.AddCollective(0, x, first);
  schedule.AddCollective(0, y, second);
  schedule.AddCollective(1, y, second, {}, 7);
  schedule.AddCollective(1, x, first);
  const absl::Status status = Simulate(schedule).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(status.message());
  EXPECT_NE(message.find("after 0 of 4 tasks"), std::string::npos) << message;
  EXPECT_NE(message.find("'all_gather weights' (task 0 of device 0) has 1 of 2 members"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("'all_reduce gradients 7' (task 2 of device 1)"), std::string::npos)
      << message;
}

TEST(SimulatorTest, CircularConditionsBlock) {
  Schedule schedule(2);
  const uint16_t work = schedule.Category("work");
  const TaskId a = schedule.AddCompute(0, 1, work);
  const TaskId b = schedule.AddCompute(1, 1, work, {a});
  schedule.AddDependency(a, b);
  const absl::Status status = Simulate(schedule).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("waits for 'work' (task 1 of device 1)"), std::string::npos)
      << status;
  // A collective of which a member never comes.
  Schedule lonely(2);
  lonely.AddCollective(0, lonely.NewCollective(1, 2), lonely.Category("x"));
  EXPECT_EQ(Simulate(lonely).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SimulatorTest, WhatDoesNotExistIsRefused) {
  Schedule device(1);
  device.AddCompute(1, 1, device.Category("x"));
  EXPECT_EQ(Simulate(device).status().code(), absl::StatusCode::kInvalidArgument);
  Schedule condition(1);
  condition.AddCompute(0, 1, condition.Category("x"), {5});
  EXPECT_EQ(Simulate(condition).status().code(), absl::StatusCode::kInvalidArgument);
  Schedule parts(1);
  const CollectiveId collective = parts.NewCollective(1, 1);
  parts.AddCollective(0, collective, parts.Category("x"));
  parts.AddCollective(0, collective, parts.Category("x"));
  EXPECT_EQ(Simulate(parts).status().code(), absl::StatusCode::kInvalidArgument);
  Schedule negative(1);
  negative.AddCompute(0, -1, negative.Category("x"));
  EXPECT_EQ(Simulate(negative).status().code(), absl::StatusCode::kInvalidArgument);
}

// Random schedules whose conditions point backwards: they always finish; the critical path is
// gapless and fills the whole time; nothing begins before its conditions.
TEST(SimulatorTest, CriticalPathsFillTheTime) {
  std::mt19937_64 random(3);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    const uint32_t devices = 1 + below(4);
    Schedule schedule(static_cast<int>(devices));
    const uint16_t work = schedule.Category("work");
    const uint16_t send = schedule.Category("send");
    std::vector<std::pair<TaskId, TaskId>> conditions;
    for (int i = 0; i < 60; ++i) {
      std::vector<TaskId> after;
      const uint32_t count = static_cast<uint32_t>(schedule.task_count());
      for (uint32_t n = below(3); n > 0 && count > 0; --n) after.push_back(below(count));
      const double seconds = 0.25 * below(8);
      const TaskId first = count;
      if (below(4) == 0) {
        const CollectiveId collective = schedule.NewCollective(seconds, devices);
        for (uint32_t d = 0; d < devices; ++d) schedule.AddCollective(d, collective, send, after);
      } else if (below(3) == 0) {
        schedule.AddTransfer(below(devices), seconds, send, after);
      } else {
        schedule.AddCompute(below(devices), seconds, work, after);
      }
      for (TaskId id = first; id < schedule.task_count(); ++id) {
        for (TaskId a : after) conditions.emplace_back(a, id);
      }
    }
    const SimulationResult result = Simulated(schedule, 1.25);
    for (const auto& [before, then] : conditions) {
      EXPECT_LE(result.tasks[before].end, result.tasks[then].begin);
    }
    double sum = 0;
    for (const auto& [category, seconds] : result.critical_seconds) sum += seconds;
    EXPECT_NEAR(sum, result.finish, 1e-9);
    for (size_t i = 1; i < result.critical_path.size(); ++i) {
      EXPECT_EQ(result.tasks[result.critical_path[i - 1]].end,
                result.tasks[result.critical_path[i]].begin);
    }
    for (const DeviceTimes& times : result.devices) {
      EXPECT_NEAR(times.compute + times.communication - times.overlapped + times.idle,
                  result.finish, 1e-9);
    }
    EXPECT_EQ(Simulated(schedule, 1.25).finish, result.finish);
  }
}

// Pipelines.

struct PipelineRun {
  double finish = 0;
  double idle = 0;  // of all devices, as a share of their work
};

PipelineRun RunPipeline(const std::vector<std::vector<PipelineSlot>>& order, int chunks,
                        double transfer = 0) {
  const int devices = static_cast<int>(order.size());
  Schedule schedule(devices);
  std::vector<uint32_t> device_of;
  for (int i = 0; i < devices; ++i) device_of.push_back(i);
  PipelineTimes times;
  times.forward.assign(devices * chunks, 1.0 / chunks);
  times.backward.assign(devices * chunks, 2.0 / chunks);
  times.transfer = transfer;
  AddPipeline(order, times, device_of, &schedule);
  const SimulationResult result = Simulated(schedule);
  PipelineRun run{.finish = result.finish};
  double work = 0;
  for (const DeviceTimes& device : result.devices) {
    work += device.compute;
    run.idle += result.finish - device.compute;
  }
  run.idle /= work;
  return run;
}

TEST(PipelineTest, TheOrderOfAStageIsWarmUpThenOneForwardOneBackward) {
  const auto order = OneForwardOneBackward(3, 4);
  ASSERT_TRUE(order.ok());
  std::string text;
  for (const PipelineSlot& slot : (*order)[0]) {
    text += (slot.backward ? "b" : "f") + std::to_string(slot.micro_batch) + " ";
  }
  EXPECT_EQ(text, "f0 f1 f2 b0 f3 b1 b2 b3 ");
}

// 1F1B and GPipe: m + p - 1 micro-batches' time, idle (p - 1) / m of the work.
TEST(PipelineTest, BubbleOfOneForwardOneBackward) {
  for (int p : {1, 2, 4, 8}) {
    for (int m : {1, 2, 8, 32}) {
      for (const auto& order : {*OneForwardOneBackward(p, m), AllForwardAllBackward(p, m)}) {
        const PipelineRun run = RunPipeline(order, 1);
        EXPECT_NEAR(run.finish, 3.0 * (m + p - 1), 1e-9) << p << " stages, " << m;
        EXPECT_NEAR(run.idle, double(p - 1) / m, 1e-9);
      }
    }
  }
}

// Interleaved: idle (p - 1) / (v m).
TEST(PipelineTest, BubbleOfInterleaving) {
  for (int p : {2, 4, 8}) {
    for (int v : {2, 3, 4}) {
      for (int m : {p, 2 * p, 4 * p}) {
        const PipelineRun run = RunPipeline(*OneForwardOneBackward(p, m, v), v);
        EXPECT_NEAR(run.finish, 3.0 * m + 3.0 * (p - 1) / v, 1e-9) << p << " " << v << " " << m;
        EXPECT_NEAR(run.idle, double(p - 1) / (v * m), 1e-9);
      }
    }
  }
  EXPECT_FALSE(OneForwardOneBackward(4, 6, 2).ok());
  EXPECT_FALSE(OneForwardOneBackward(0, 6).ok());
}

// The first micro-batch goes down and up; in between, transfers hide behind other micro-batches'
// work only in part: a stage waits for its own round trip.
TEST(PipelineTest, TransfersLengthenTheWay) {
  const double without = RunPipeline(*OneForwardOneBackward(4, 8), 1).finish;
  const double with = RunPipeline(*OneForwardOneBackward(4, 8), 1, 0.1).finish;
  EXPECT_GE(with, without + 2 * 3 * 0.1 - 1e-9);
  EXPECT_NEAR(RunPipeline(*OneForwardOneBackward(4, 1), 1, 0.1).finish, 12 + 6 * 0.1, 1e-9);
}

// Trace.

TEST(TraceTest, ATraceIsJsonWithEveryTask) {
  Schedule schedule(2);
  const TaskId a = schedule.AddCompute(0, 1e-3, schedule.Category("a \"quoted\" name"), {}, 3);
  schedule.AddTransfer(0, 2e-3, schedule.Category("send"), {a});
  const SimulationResult result = Simulated(schedule);
  const nlohmann::json trace = nlohmann::json::parse(TraceOf(schedule, result), nullptr, false);
  ASSERT_FALSE(trace.is_discarded());
  std::vector<nlohmann::json> events;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") events.push_back(event);
  }
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0]["name"], "a \"quoted\" name");
  EXPECT_EQ(events[0]["args"]["index"], 3);
  EXPECT_EQ(events[1]["tid"], 1);
  EXPECT_DOUBLE_EQ(events[1]["ts"], 1000);
  EXPECT_DOUBLE_EQ(events[1]["dur"], 2000);
  EXPECT_EQ(events[1]["args"]["critical"], true);
  const std::string path = testing::TempDir() + "/trace.json";
  EXPECT_TRUE(WriteTrace(schedule, result, path).ok());
  EXPECT_FALSE(WriteTrace(schedule, result, "/nowhere/trace.json").ok());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace moai
