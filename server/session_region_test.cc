// SessionCore with steps that come in two parts: what the executor is sent, and when.
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/serialize.h"
#include "gtest/gtest.h"
#include "program/allocation.h"
#include "scheduler/planner.h"
#include "server/session_core.h"
#include "server/testing/recording_sinks.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = proto::ExecutorCommand;

// Forward: hidden = batch x weight, loss = sum of it; backward and update: weight -= rate * batch^T
// x hidden. The batch comes inline with both; slot 1 is the weight.
class SessionRegionTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 64, kWidth = 4;

  SessionRegionTest() : core_(Settings(), planner_.get(), &device_, &client_) {
    const TensorType weight{Dtype::kF32, {kWidth, kWidth}};
    const TensorType batch{Dtype::kF32, {kRows, kWidth}};
    {
      GraphBuilder builder;
      const ValueId slot = builder.AddInput(InputKind::kSlot, 0, weight);
      const ValueId feed = builder.AddInput(InputKind::kFeed, 0, batch);
      const ValueId hidden = *builder.AddNode(Op::kMatmul, {feed, slot}, {0, 0});
      builder.AddOutput(OutputKind::kValue, hidden);
      builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceSum, {hidden}, {0, 1}));
      forward_ = builder.Finish();
    }
    {
      GraphBuilder builder;
      const ValueId slot = builder.AddInput(InputKind::kSlot, 0, weight);
      const ValueId hidden = builder.AddInput(InputKind::kValue, 0, batch);
      const ValueId feed = builder.AddInput(InputKind::kFeed, 0, batch);
      const ValueId rate = builder.AddScalar(Dtype::kF32);
      const ValueId gradient = *builder.AddNode(Op::kMatmul, {feed, hidden}, {1, 0});
      const ValueId change = *builder.AddNode(Op::kMul, {gradient, rate});
      builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kSub, {slot, change}), 0);
      update_ = builder.Finish();
    }
    core_.OnExecutorReady({"unix:/nowhere"});
    for (const CapturedGraph* graph : {&forward_, &update_}) {
      proto::ClientMessage message;
      message.mutable_register_graph()->set_fingerprint_high(graph->fingerprint.high);
      message.mutable_register_graph()->set_fingerprint_low(graph->fingerprint.low);
      message.mutable_register_graph()->set_graph(SerializeGraph(graph->graph));
      Give(message);
    }
    proto::ClientMessage message;
    proto::Upload* upload = message.mutable_upload();
    upload->set_id(1);
    upload->set_dtype(uint32_t(Dtype::kF32));
    upload->add_shape(kWidth);
    upload->add_shape(kWidth);
    upload->set_inline_bytes(std::string(kWidth * kWidth * 4, '\0'));
    Give(message);
  }

  static SessionSettings Settings() {
    SessionSettings settings;
    settings.devices = {{"cpu", 1 << 20, 1}};
    return settings;
  }

  void Give(proto::ClientMessage message) {
    const absl::Status status = core_.OnClientMessage(message);
    ASSERT_TRUE(status.ok()) << status;
    core_.Flush();
  }

  proto::ClientMessage Step(const CapturedGraph& graph, char batch) {
    proto::ClientMessage message;
    proto::Step* step = message.mutable_step();
    step->set_step(core_.steps() + 1);
    step->set_fingerprint_high(graph.fingerprint.high);
    step->set_fingerprint_low(graph.fingerprint.low);
    step->mutable_sizes()->Add(graph.sizes.begin(), graph.sizes.end());
    step->add_slots()->set_first(1);
    step->mutable_slots(0)->set_count(1);
    step->add_feeds()->set_inline_bytes(std::string(kRows * kWidth * 4, batch));
    return message;
  }
  void Forward(uint64_t output, char batch = 'a') {
    proto::ClientMessage message = Step(forward_, batch);
    message.mutable_step()->set_first_output(output);
    Give(message);
  }
  void Update(uint64_t hidden, uint64_t rate, char batch = 'a') {
    proto::ClientMessage message = Step(update_, batch);
    message.mutable_step()->add_values()->set_first(hidden);
    message.mutable_step()->mutable_values(0)->set_count(1);
    message.mutable_step()->add_scalar_positions(0);
    message.mutable_step()->add_scalar_bits(rate);
    Give(message);
  }
  void Read(uint64_t id) {
    proto::ClientMessage message;
    message.mutable_read()->set_request(++request_);
    message.mutable_read()->set_id(id);
    Give(message);
  }
  void Release(uint64_t id, uint64_t count = 1) {
    proto::ClientMessage message;
    message.mutable_release()->add_ids()->set_first(id);
    message.mutable_release()->mutable_ids(0)->set_count(count);
    Give(message);
  }
  // The whole of one training step.
  void Train(uint64_t output, uint64_t rate) {
    Forward(output);
    Read(output + 1);
    Update(output, rate);
    Release(output, 2);
  }
  // Two steps, after which a region is expected.
  void Begin() {
    Train(10, 1);
    Train(12, 2);
    seen_ = device_.commands.size();
  }

  // Since the last call.
  std::vector<Kind::KindCase> Sent() {
    std::vector<Kind::KindCase> kinds;
    for (; seen_ < device_.commands.size(); ++seen_) {
      kinds.push_back(device_.commands[seen_].kind_case());
    }
    return kinds;
  }
  const proto::Execute& LastExecute() const {
    size_t last = device_.commands.size();
    while (!device_.commands[--last].has_execute()) {
    }
    return device_.commands[last].execute();
  }

  static constexpr Kind::KindCase kStructure = Kind::kLoadStructure, kProgram = Kind::kLoadProgram,
                                  kExecute = Kind::kExecute, kRename = Kind::kRename,
                                  kRead = Kind::kRead, kRelease = Kind::kRelease,
                                  kUnload = Kind::kUnloadProgram,
                                  kUnloadStructure = Kind::kUnloadStructure;

  RecordingDevice device_;
  RecordingClient client_;
  std::unique_ptr<Planner> planner_ = MakeOneDevicePlanner();
  SessionCore core_;
  CapturedGraph forward_, update_;
  uint64_t request_ = 0;
  size_t seen_ = 0;
};

TEST_F(SessionRegionTest, TheSecondStepTakesWhatTheFirstHasLeftOnTheDevice) {
  const int64_t before = core_.objects().live_bytes(0);
  Begin();
  ASSERT_EQ(core_.objects().live_bytes(0), before);
  Forward(14);
  EXPECT_THAT(Sent(), ElementsAre(kStructure, kProgram, kExecute, kRename));
  EXPECT_EQ(LastExecute().step(), 5u);
  EXPECT_GE(LastExecute().first_output(), SessionCore::kFirstOwnId);
  EXPECT_EQ(device_.commands.back().rename().to(), 15u);
  // A gradient is kept in place of the hidden values.
  EXPECT_TRUE(core_.objects().Find(14)->deferred);
  EXPECT_EQ(core_.objects().live_bytes(0) - before,
            AllocatedBytes(4) + AllocatedBytes(kWidth * kWidth * 4));
  Read(15);
  EXPECT_THAT(Sent(), ElementsAre(kRead));
  Update(14, 3);
  EXPECT_THAT(Sent(), IsEmpty());  // until it is known what the program keeps
  Release(14, 2);
  EXPECT_THAT(Sent(), ElementsAre(kStructure, kProgram, kExecute, kRelease, kRelease));
  EXPECT_EQ(LastExecute().step(), 6u);
  ASSERT_EQ(LastExecute().values_size(), 1);
  EXPECT_GT(LastExecute().values(0).first(), SessionCore::kFirstOwnId);
  EXPECT_EQ(LastExecute().scalar_bits(0), 3u);
  EXPECT_EQ(core_.objects().live_bytes(0), before);
  // Again, with what the executor knows by now.
  Train(16, 4);
  EXPECT_THAT(Sent(), ElementsAre(kExecute, kRename, kRead, kExecute, kRelease, kRelease));
  EXPECT_TRUE(LastExecute().same_slots());
  EXPECT_EQ(core_.objects().live_bytes(0), before);
}

TEST_F(SessionRegionTest, AReadOfWhatWasNotMadeMakesIt) {
  Begin();
  Forward(14);
  Sent();
  Read(14);
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kExecute, kUnload, kUnloadStructure, kRead));
  EXPECT_EQ(LastExecute().step(), 0u);
  EXPECT_EQ(LastExecute().first_output(), 14u);
  ASSERT_EQ(LastExecute().slots_size(), 1);
  EXPECT_EQ(LastExecute().feeds(0).inline_bytes(), std::string(kRows * kWidth * 4, 'a'));
  EXPECT_FALSE(core_.objects().Find(14)->deferred);
  Update(14, 3);
  EXPECT_THAT(Sent(), ElementsAre(kExecute));
  EXPECT_EQ(LastExecute().step(), 6u);
}

TEST_F(SessionRegionTest, WhatTheProgramKeepsIsMadeBeforeTheSecondStepRuns) {
  Begin();
  Forward(14);
  Update(14, 3);
  Sent();
  Read(14);  // it has not been released
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kExecute, kExecute, kUnload, kUnloadStructure, kRead));
  EXPECT_EQ(LastExecute().step(), 6u);
  EXPECT_EQ(device_.commands[device_.commands.size() - 5].execute().first_output(), 14u);
  Release(14, 2);
  Sent();
  // Everything is kept from now on: there is nothing to gain.
  for (uint64_t output = 16; output < 40; output += 2) {
    Train(output, output);
    EXPECT_THAT(Sent(), ElementsAre(kExecute, kRead, kExecute, kRelease));
  }
}

TEST_F(SessionRegionTest, AnotherBatchInTheSecondStepEndsTheRegion) {
  Begin();
  Forward(14, 'a');
  Sent();
  Update(14, 3, 'b');
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kExecute, kExecute));
  EXPECT_EQ(LastExecute().feeds(0).inline_bytes(), std::string(kRows * kWidth * 4, 'b'));
}

TEST_F(SessionRegionTest, AnotherStepEndsTheRegion) {
  Begin();
  Forward(14);
  Sent();
  Forward(16);
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kExecute, kExecute));
  EXPECT_EQ(device_.commands[device_.commands.size() - 2].execute().first_output(), 14u);
  EXPECT_EQ(LastExecute().first_output(), 16u);
  EXPECT_EQ(LastExecute().step(), 6u);
}

TEST_F(SessionRegionTest, NothingRunsAgainForWhatNobodyCanName) {
  Begin();
  Forward(14);
  Sent();
  Release(14, 2);
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kRelease));
  EXPECT_EQ(core_.objects().Find(14), nullptr);
  EXPECT_EQ(core_.objects().Find(15), nullptr);
}

TEST_F(SessionRegionTest, IdsThatDoNotExistAreRefusedInARegionToo) {
  Begin();
  Forward(14);
  Sent();
  Update(77, 3);
  // The first step has been made up for, the second is refused.
  EXPECT_THAT(Sent(), ElementsAre(kRelease, kExecute));
  EXPECT_FALSE(core_.objects().Find(14)->deferred);
}

TEST_F(SessionRegionTest, StepsAreReportedAsDoneThoughTheSecondWaits) {
  Begin();
  Forward(14);
  Update(14, 3);
  proto::ExecutorEvent event;
  event.mutable_commands_done()->set_commands(device_.commands.size());
  event.mutable_commands_done()->set_step(5);
  ASSERT_TRUE(core_.OnExecutorEvent(0, event).ok());
  core_.Flush();
  ASSERT_FALSE(client_.messages.empty());
  EXPECT_EQ(client_.messages.back().steps_done().step(), 6u);
}

}  // namespace
}  // namespace moai
