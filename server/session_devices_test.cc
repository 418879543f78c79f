// SessionCore with several devices in several executors: what each of them is sent, where objects
// lie, and whose progress counts.
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

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = proto::ExecutorCommand;

// What each executor was sent.
class RecordingDevices : public DeviceSink {
 public:
  size_t Send(const proto::ExecutorCommand& command) override {
    for (auto& executor : commands) executor.push_back(command);
    return command.ByteSizeLong();
  }
  size_t SendTo(size_t executor, const proto::ExecutorCommand& command) override {
    commands[executor].push_back(command);
    return command.ByteSizeLong();
  }
  void Flush() override {}
  std::vector<std::vector<proto::ExecutorCommand>> commands{2};
};

class RecordingClient : public ClientSink {
 public:
  void Send(const proto::ServerMessage& message) override { messages.push_back(message); }
  void Flush() override {}
  std::vector<proto::ServerMessage> messages;
};

// Where values 0 and 1 of a graph are wanted: the first split, the second whole on every device.
class SplittingPlanner : public Planner {
 public:
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    auto made = replicating_->MakePlan(request);
    if (!made.ok()) return made.status();
    auto plan = std::make_shared<Plan>(**made);
    plan->value_layouts[0].placement[0] = {.kind = PlacementKind::kShard, .dim = 0, .count = 6};
    return plan;
  }

 private:
  const std::unique_ptr<Planner> replicating_ = MakeReplicatingPlanner();
};

class SessionDevicesTest : public ::testing::Test {
 protected:
  // slot 0 += feed 0; value 0 + value 1 -> output. All f32[6]; a rank in one executor, two in the
  // other.
  explicit SessionDevicesTest(std::unique_ptr<Planner> planner = MakeReplicatingPlanner())
      : planner_(std::move(planner)), core_(Settings(), planner_.get(), &devices_, &client_) {
    const TensorType type{Dtype::kF32, Shape{6}};
    GraphBuilder builder;
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, type);
    const ValueId feed = builder.AddInput(InputKind::kFeed, 0, type);
    const ValueId first = builder.AddInput(InputKind::kValue, 0, type);
    const ValueId second = builder.AddInput(InputKind::kValue, 1, type);
    builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {slot, feed}), 0);
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kAdd, {first, second}));
    captured_ = builder.Finish();
    core_.OnExecutorReady({"unix:/nowhere"});
    proto::ClientMessage message;
    message.mutable_register_graph()->set_fingerprint_high(captured_.fingerprint.high);
    message.mutable_register_graph()->set_fingerprint_low(captured_.fingerprint.low);
    message.mutable_register_graph()->set_graph(SerializeGraph(captured_.graph));
    EXPECT_TRUE(Give(message).ok());
    for (uint64_t id = 1; id <= 3; ++id) Upload(id, 6);
  }

  static SessionSettings Settings() {
    SessionSettings settings;
    settings.devices = {{"cpu", 1 << 20, 1}, {"cpu", 1 << 20, 1}, {"cpu", 1 << 20, 1}};
    settings.executors = {1, 2};
    return settings;
  }

  absl::Status Give(proto::ClientMessage message) {
    absl::Status status = core_.OnClientMessage(message);
    core_.Flush();
    return status;
  }

  void Upload(uint64_t id, int64_t n) {
    proto::ClientMessage message;
    proto::Upload* upload = message.mutable_upload();
    upload->set_id(id);
    upload->set_dtype(uint32_t(Dtype::kF32));
    upload->add_shape(n);
    upload->set_inline_bytes(std::string(size_t(n) * 4, '\0'));
    EXPECT_TRUE(Give(std::move(message)).ok());
  }

  proto::ClientMessage StepMessage(uint64_t slot, std::vector<uint64_t> values,
                                   uint64_t output) const {
    proto::ClientMessage message;
    proto::Step* step = message.mutable_step();
    step->set_step(core_.steps() + 1);
    step->set_fingerprint_high(captured_.fingerprint.high);
    step->set_fingerprint_low(captured_.fingerprint.low);
    step->mutable_sizes()->Add(captured_.sizes.begin(), captured_.sizes.end());
    step->add_slots()->set_first(slot);
    step->mutable_slots(0)->set_count(1);
    for (const uint64_t value : values) {
      step->add_values()->set_first(value);
      step->mutable_values()->rbegin()->set_count(1);
    }
    step->add_feeds()->set_inline_bytes(std::string(24, '\0'));
    step->set_first_output(output);
    return message;
  }

  proto::ClientMessage ReadMessage(uint64_t request, uint64_t id) const {
    proto::ClientMessage message;
    message.mutable_read()->set_request(request);
    message.mutable_read()->set_id(id);
    return message;
  }

  std::vector<Kind::KindCase> KindsSince(size_t from) const {
    std::vector<Kind::KindCase> kinds;
    for (size_t i = from; i < devices_.commands[0].size(); ++i) {
      kinds.push_back(devices_.commands[0][i].kind_case());
    }
    return kinds;
  }
  size_t sent() const { return devices_.commands[0].size(); }

  absl::Status Done(size_t executor, uint64_t commands, uint64_t step) {
    proto::ExecutorEvent event;
    event.mutable_commands_done()->set_commands(commands);
    event.mutable_commands_done()->set_step(step);
    absl::Status status = core_.OnExecutorEvent(executor, event);
    core_.Flush();
    return status;
  }

  RecordingDevices devices_;
  RecordingClient client_;
  std::unique_ptr<Planner> planner_;
  SessionCore core_;
  CapturedGraph captured_;
};

TEST_F(SessionDevicesTest, UploadsGoToTheFirstDevice) {
  ASSERT_EQ(devices_.commands[0].size(), 3u);
  ASSERT_EQ(devices_.commands[1].size(), 3u);
  EXPECT_EQ(devices_.commands[0][0].upload().inline_bytes().size(), 24u);
  EXPECT_EQ(devices_.commands[1][0].upload().inline_bytes().size(), 0u);
  EXPECT_EQ(devices_.commands[1][0].upload().rank(), 0u);
  EXPECT_EQ(core_.objects().Find(1)->layout, kOnFirstDevice);
  // It answers reads of them, and no copy is made.
  ASSERT_TRUE(Give(ReadMessage(1, 1)).ok());
  EXPECT_THAT(KindsSince(3), ElementsAre(Kind::kRead));
  EXPECT_EQ(devices_.commands[1].back().read().id(), 1u);
}

TEST_F(SessionDevicesTest, AStepsBindingsAreBroughtWhereItsPlanWantsThemOnce) {
  size_t before = sent();
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, 10)).ok());
  EXPECT_THAT(KindsSince(before),
              ElementsAre(Kind::kLoadStructure, Kind::kLoadProgram,  // one for all three
                          Kind::kExecute, Kind::kRename, Kind::kExecute, Kind::kRename,
                          Kind::kExecute, Kind::kRename,  //
                          Kind::kLoadStructure, Kind::kLoadProgram, Kind::kExecute));
  EXPECT_EQ(devices_.commands[0].size(), devices_.commands[1].size());
  // Each executor is told of its devices.
  const proto::LoadProgram& first = devices_.commands[0][before + 1].load_program();
  const proto::LoadProgram& second = devices_.commands[1][before + 1].load_program();
  ASSERT_EQ(first.devices_size(), 1);
  ASSERT_EQ(second.devices_size(), 2);
  EXPECT_TRUE(first.collectives());
  EXPECT_THAT(second.devices(1).groups(0).ranks(), ElementsAre(0, 1, 2));
  // The others have empty tensors to begin with.
  EXPECT_EQ(first.devices(0).sizes(0), 6);
  EXPECT_EQ(second.devices(0).sizes(0), 0);
  const proto::ExecutorCommand& move = devices_.commands[1][before + 2];
  EXPECT_EQ(move.execute().step(), 0u);
  EXPECT_EQ(move.execute().values(0).first(), 1u);
  EXPECT_GE(move.execute().first_output(), SessionCore::kFirstOwnId);
  EXPECT_EQ(devices_.commands[1][before + 3].rename().from(), move.execute().first_output());
  EXPECT_EQ(devices_.commands[1][before + 3].rename().to(), 1u);
  EXPECT_EQ(core_.objects().Find(1)->layout, ReplicatedLayout(3));
  for (size_t device = 0; device < 3; ++device) {
    EXPECT_EQ(core_.objects().live_bytes(device), 4 * AllocatedBytes(24));
  }
  before = sent();
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, 11)).ok());
  EXPECT_THAT(KindsSince(before), ElementsAre(Kind::kExecute));
}

TEST_F(SessionDevicesTest, ProgressIsThatOfTheSlowestExecutor) {
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, 10)).ok());
  const uint64_t all = sent();
  EXPECT_TRUE(Done(1, all, 1).ok());
  EXPECT_TRUE(client_.messages.empty());
  EXPECT_TRUE(Done(0, all, 1).ok());
  ASSERT_EQ(client_.messages.size(), 1u);
  EXPECT_EQ(client_.messages[0].steps_done().step(), 1u);
  EXPECT_FALSE(Done(0, all + 1, 1).ok());
  EXPECT_FALSE(Done(1, all - 1, 1).ok());
}

TEST_F(SessionDevicesTest, ASynchronizationIsAnsweredByAllExecutors) {
  proto::ClientMessage message;
  message.mutable_synchronize()->set_request(5);
  ASSERT_TRUE(Give(message).ok());
  proto::ExecutorEvent event;
  event.mutable_synchronize_result()->set_request(5);
  event.mutable_synchronize_result()->set_device_bytes_peak(100);
  EXPECT_TRUE(core_.OnExecutorEvent(1, event).ok());
  EXPECT_TRUE(client_.messages.empty());
  event.mutable_synchronize_result()->set_request(5);
  event.mutable_synchronize_result()->set_device_bytes_peak(70);
  EXPECT_TRUE(core_.OnExecutorEvent(0, event).ok());
  ASSERT_EQ(client_.messages.size(), 1u);
  EXPECT_EQ(client_.messages[0].synchronize_result().device_bytes_peak(), 100u);
}

TEST_F(SessionDevicesTest, ARefusalNamesTheDevice) {
  Upload(20, 250000);
  EXPECT_TRUE(core_.objects().Find(20)->poison.ok());
  Upload(21, 250000);
  const absl::Status poison = core_.objects().Find(21)->poison;
  EXPECT_EQ(poison.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(poison.message(), HasSubstr("device 0 of the accelerator's 3 has 1.00 MiB"));
}

TEST_F(SessionDevicesTest, IdsOfTheServersOwnAreNotTheClients) {
  proto::ClientMessage upload;
  upload.mutable_upload()->set_id(SessionCore::kFirstOwnId);
  upload.mutable_upload()->set_dtype(uint32_t(Dtype::kF32));
  upload.mutable_upload()->set_inline_bytes("1234");
  EXPECT_EQ(Give(upload).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, SessionCore::kFirstOwnId - 1)).ok());
  EXPECT_TRUE(core_.objects().Find(SessionCore::kFirstOwnId - 1)->poison.ok());
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, SessionCore::kFirstOwnId)).ok());
  EXPECT_EQ(core_.objects().Find(SessionCore::kFirstOwnId)->poison.code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionDevicesTest, AnExecutorThatCannotGoOnEndsTheSession) {
  proto::ExecutorEvent event;
  event.mutable_failed()->mutable_status()->set_code(int(absl::StatusCode::kUnavailable));
  event.mutable_failed()->mutable_status()->set_message("the cable was pulled");
  const absl::Status status = core_.OnExecutorEvent(1, event);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(),
              HasSubstr("executor 1 of this session's 2 cannot go on: the cable"));
}

class SplitBindingTest : public SessionDevicesTest {
 protected:
  SplitBindingTest() : SessionDevicesTest(std::make_unique<SplittingPlanner>()) {}
};

TEST_F(SplitBindingTest, AnIdThatIsBoundTwiceLiesInBothWays) {
  const size_t before = sent();
  ASSERT_TRUE(Give(StepMessage(1, {2, 2}, 10)).ok());
  ASSERT_TRUE(core_.objects().Find(10)->poison.ok()) << core_.objects().Find(10)->poison;
  const LayoutId split = core_.objects().Find(2)->layout;
  EXPECT_NE(split, kOnFirstDevice);
  EXPECT_NE(split, ReplicatedLayout(3));
  // The step gets a copy for its second binding, which goes with it.
  proto::Execute step;
  uint64_t released = 0;
  for (size_t i = before; i < sent(); ++i) {
    const proto::ExecutorCommand& command = devices_.commands[0][i];
    if (command.has_execute() && command.execute().step() == 1) step = command.execute();
    if (command.has_release()) released = command.release().ids(0).first();
  }
  ASSERT_EQ(step.values_size(), 2);
  EXPECT_EQ(step.values(0).first(), 2u);
  EXPECT_GE(step.values(1).first(), SessionCore::kFirstOwnId);
  EXPECT_EQ(released, step.values(1).first());
  EXPECT_FALSE(core_.objects().Contains(released));
}

TEST_F(SplitBindingTest, AReadOfASplitObjectGoesThroughACopy) {
  ASSERT_TRUE(Give(StepMessage(1, {2, 3}, 10)).ok());
  const size_t before = sent();
  const int64_t live = core_.objects().live_bytes(0);
  ASSERT_TRUE(Give(ReadMessage(1, 2)).ok());
  EXPECT_THAT(KindsSince(before), ElementsAre(Kind::kLoadStructure, Kind::kLoadProgram,
                                              Kind::kExecute, Kind::kRead, Kind::kRelease));
  EXPECT_EQ(devices_.commands[0][before + 3].read().id(),
            devices_.commands[0][before + 2].execute().first_output());
  EXPECT_EQ(core_.objects().live_bytes(0), live);
  // The object stays as it is, and the program is there for the next read.
  ASSERT_TRUE(Give(ReadMessage(2, 2)).ok());
  EXPECT_THAT(KindsSince(before + 5), ElementsAre(Kind::kExecute, Kind::kRead, Kind::kRelease));
}

}  // namespace
}  // namespace moai
