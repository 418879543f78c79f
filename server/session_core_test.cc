#include "server/session_core.h"

#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/serialize.h"
#include "gtest/gtest.h"
#include "scheduler/planner.h"
#include "server/testing/recording_sinks.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

class SessionCoreTest : public ::testing::Test {
 protected:
  // slot 0 <- slot 0 * scalar 0; value 0 + feed 0 -> output. All f32[n].
  SessionCoreTest()
      : planner_(MakeOneDevicePlanner()), core_(Settings(), planner_.get(), &device_, &client_) {
    captured_ = Capture(4);
    core_.OnExecutorReady({"unix:/nowhere"});
  }

  static SessionSettings Settings() {
    SessionSettings settings;
    settings.devices = {{"cpu", 1 << 20, 1}};
    settings.limits.max_commands_in_flight = 1000;
    return settings;
  }

  static CapturedGraph Capture(int64_t n) {
    const TensorType type{Dtype::kF32, Shape{n}};
    GraphBuilder builder;
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, type);
    const ValueId value = builder.AddInput(InputKind::kValue, 0, type);
    const ValueId feed = builder.AddInput(InputKind::kFeed, 0, type);
    const ValueId scale = builder.AddScalar(Dtype::kF32);
    builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kMul, {slot, scale}), 0);
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kAdd, {value, feed}));
    return builder.Finish();
  }

  proto::ClientMessage RegisterMessage() const {
    proto::ClientMessage message;
    proto::RegisterGraph* graph = message.mutable_register_graph();
    graph->set_fingerprint_high(captured_.fingerprint.high);
    graph->set_fingerprint_low(captured_.fingerprint.low);
    graph->set_graph(SerializeGraph(captured_.graph));
    return message;
  }

  proto::ClientMessage UploadMessage(uint64_t id, int64_t n) const {
    proto::ClientMessage message;
    proto::Upload* upload = message.mutable_upload();
    upload->set_id(id);
    upload->set_dtype(uint32_t(Dtype::kF32));
    upload->add_shape(n);
    upload->set_inline_bytes(std::string(size_t(n) * 4, '\0'));
    return message;
  }

  // Complete: leaves nothing to the step before.
  proto::ClientMessage StepMessage(uint64_t slot, uint64_t value, uint64_t output,
                                   int64_t n = 4) const {
    proto::ClientMessage message;
    proto::Step* step = message.mutable_step();
    step->set_step(core_.steps() + 1);
    step->set_fingerprint_high(captured_.fingerprint.high);
    step->set_fingerprint_low(captured_.fingerprint.low);
    const Sizes sizes = Capture(n).sizes;
    step->mutable_sizes()->Add(sizes.begin(), sizes.end());
    step->add_slots()->set_first(slot);
    step->mutable_slots(0)->set_count(1);
    step->add_values()->set_first(value);
    step->mutable_values(0)->set_count(1);
    step->add_scalar_positions(0);
    step->add_scalar_bits(0x3ff0000000000000);
    step->add_feeds()->set_inline_bytes(std::string(size_t(n) * 4, '\0'));
    step->set_first_output(output);
    return message;
  }

  absl::Status Give(proto::ClientMessage message) {
    absl::Status status = core_.OnClientMessage(message);
    core_.Flush();
    return status;
  }

  // A session with the graph, slot 1 and value 2.
  void SetUpObjects() {
    ASSERT_TRUE(Give(RegisterMessage()).ok());
    ASSERT_TRUE(Give(UploadMessage(1, 4)).ok());
    ASSERT_TRUE(Give(UploadMessage(2, 4)).ok());
  }

  // Why reading `id` fails; OK where the read goes to the device.
  absl::Status ReadError(uint64_t id) {
    proto::ClientMessage message;
    message.mutable_read()->set_request(++request_);
    message.mutable_read()->set_id(id);
    const size_t before = client_.messages.size();
    absl::Status status = Give(std::move(message));
    if (!status.ok()) return status;
    for (size_t i = before; i < client_.messages.size(); ++i) {
      if (!client_.messages[i].has_read_result()) continue;
      const proto::StatusProto& proto = client_.messages[i].read_result().status();
      return absl::Status(absl::StatusCode(proto.code()), proto.message());
    }
    return absl::OkStatus();
  }

  std::vector<proto::Execute> Executed() const {
    std::vector<proto::Execute> steps;
    for (const auto& command : device_.commands) {
      if (command.has_execute()) steps.push_back(command.execute());
    }
    return steps;
  }

  RecordingDevice device_;
  RecordingClient client_;
  std::unique_ptr<Planner> planner_;
  SessionCore core_;
  CapturedGraph captured_;
  uint64_t request_ = 0;
};

TEST_F(SessionCoreTest, ForwardsAStepOnceItsProgramIsLoaded) {
  SetUpObjects();
  ASSERT_TRUE(Give(StepMessage(1, 2, 10)).ok());
  ASSERT_GE(device_.commands.size(), 5u);
  EXPECT_TRUE(device_.commands[2].has_load_structure());
  EXPECT_TRUE(device_.commands[3].has_load_program());
  ASSERT_TRUE(device_.commands[4].has_execute());
  EXPECT_FALSE(device_.commands[4].execute().same_slots());
  EXPECT_EQ(device_.commands[4].execute().slots(0).first(), 1u);
  EXPECT_TRUE(ReadError(10).ok());

  // The next one says only what changed, and loads nothing.
  proto::ClientMessage next = StepMessage(1, 10, 11);
  next.mutable_step()->clear_sizes();
  next.mutable_step()->set_same_sizes(true);
  next.mutable_step()->clear_slots();
  next.mutable_step()->set_same_slots(true);
  next.mutable_step()->clear_scalar_positions();
  next.mutable_step()->clear_scalar_bits();
  EXPECT_FALSE(core_.TakesLong(next));
  ASSERT_TRUE(Give(next).ok());
  EXPECT_TRUE(Executed()[1].same_slots());
  EXPECT_EQ(Executed()[1].slots_size(), 0);
  EXPECT_EQ(Executed()[1].scalar_positions_size(), 0);
}

TEST_F(SessionCoreTest, ARefusedStepIsMadeUpForInTheNext) {
  SetUpObjects();
  ASSERT_TRUE(Give(StepMessage(1, 2, 10)).ok());
  proto::ClientMessage bad = StepMessage(1, 777, 11);
  bad.mutable_step()->set_scalar_bits(0, 42);
  ASSERT_TRUE(Give(bad).ok());
  EXPECT_EQ(Executed().size(), 1u);
  EXPECT_THAT(ReadError(11).message(), HasSubstr("step 2: id 777 names no value"));
  proto::ClientMessage next = StepMessage(1, 2, 12);
  next.mutable_step()->clear_scalar_positions();
  next.mutable_step()->clear_scalar_bits();
  ASSERT_TRUE(Give(next).ok());
  ASSERT_EQ(Executed().size(), 2u);
  // The executor has not seen the scalar that came with the refused step.
  ASSERT_EQ(Executed()[1].scalar_bits_size(), 1);
  EXPECT_EQ(Executed()[1].scalar_bits(0), 42u);
  EXPECT_EQ(Executed()[1].slots_size(), 1);
}

TEST_F(SessionCoreTest, RefusalsNameTheField) {
  SetUpObjects();
  ASSERT_TRUE(Give(UploadMessage(3, 5)).ok());  // of another size
  uint64_t output = 100;
  auto refusal = [&](auto change) {
    proto::ClientMessage message = StepMessage(1, 2, ++output);
    change(*message.mutable_step());
    EXPECT_TRUE(Give(message).ok());
    const uint64_t id = message.step().first_output();
    return std::string(ReadError(id == 0 ? output : id).message());
  };
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_slots(0)->set_first(3); }),
              HasSubstr("slot binding 0: id 3 is f32[5], the graph takes f32[4]"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_values(0)->set_first(3); }),
              HasSubstr("value binding 0: id 3"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_values(0)->set_first(1); }),
              HasSubstr("is a slot that the same step replaces"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_slots(0)->set_count(2); }),
              HasSubstr("slots"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.clear_values(); }), HasSubstr("values"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_feeds(0)->set_inline_bytes("abc"); }),
              HasSubstr("feed 0: 3 bytes came"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.mutable_feeds(0)->set_uploaded(999); }),
              HasSubstr("id 999"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.set_scalar_positions(0, 9); }),
              HasSubstr("scalar_positions"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.add_sizes(4); }), HasSubstr("sizes"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.set_sizes(0, -4); }), HasSubstr("step"));
  EXPECT_THAT(refusal([](proto::Step& s) { s.set_fingerprint_low(1); }), HasSubstr("fingerprint"));
  EXPECT_TRUE(Executed().empty());
  ASSERT_TRUE(Give(StepMessage(1, 2, 50)).ok());
  EXPECT_EQ(Executed().size(), 1u);
}

TEST_F(SessionCoreTest, BrokenProtocolEndsTheSessionNamingTheField) {
  SetUpObjects();
  proto::ClientMessage step = StepMessage(1, 2, 10);
  step.mutable_step()->set_step(7);
  EXPECT_THAT(Give(step).message(), HasSubstr("step.step: 7 came, expected 1"));
  EXPECT_THAT(Give(UploadMessage(1, 4)).message(), HasSubstr("upload.id: 1 exists"));
  EXPECT_THAT(Give(UploadMessage(0, 4)).message(), HasSubstr("upload.id: 0 is no id"));
  proto::ClientMessage upload = UploadMessage(9, 4);
  upload.mutable_upload()->set_dtype(200);
  EXPECT_THAT(Give(upload).message(), HasSubstr("upload.dtype: 200"));
  upload = UploadMessage(9, 4);
  upload.mutable_upload()->add_shape(int64_t{1} << 60);
  EXPECT_THAT(Give(upload).message(), HasSubstr("upload.shape"));
  EXPECT_THAT(Give(proto::ClientMessage()).message(), HasSubstr("kind"));
}

TEST_F(SessionCoreTest, AForgedFingerprintIsRefused) {
  proto::ClientMessage message = RegisterMessage();
  captured_.fingerprint.low ^= 1;
  message.mutable_register_graph()->set_fingerprint_low(captured_.fingerprint.low);
  ASSERT_TRUE(Give(message).ok());
  ASSERT_TRUE(Give(UploadMessage(1, 4)).ok());
  ASSERT_TRUE(Give(UploadMessage(2, 4)).ok());
  ASSERT_TRUE(Give(StepMessage(1, 2, 10)).ok());
  EXPECT_THAT(ReadError(10).message(), HasSubstr("fingerprint: the graph's is"));
}

TEST_F(SessionCoreTest, CountsWhatIsAliveInTheOrderOfTheMessages) {
  ASSERT_TRUE(Give(RegisterMessage()).ok());
  constexpr int64_t n = 60000;  // 240,000 bytes: four fit into 1 MiB, with an arena
  for (uint64_t id : {1, 2}) {
    proto::ClientMessage upload = UploadMessage(id, n);
    ASSERT_TRUE(Give(upload).ok());
  }
  auto step = [&](uint64_t output) {
    proto::ClientMessage message = StepMessage(1, 2, output, n);
    // Too large to come inline: uploaded under an id that the step consumes.
    EXPECT_TRUE(Give(UploadMessage(1000 + output, n)).ok());
    message.mutable_step()->mutable_feeds(0)->set_uploaded(1000 + output);
    EXPECT_TRUE(Give(message).ok());
  };
  step(10);
  EXPECT_EQ(Executed().size(), 1u);
  step(11);  // three alive, and the feed: no room for a result
  EXPECT_EQ(Executed().size(), 1u);
  const absl::Status status = ReadError(11);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("step 2: the step needs"));
  // The feed has gone with the refused step; releasing the first result makes room.
  proto::ClientMessage release;
  release.mutable_release()->add_ids()->set_first(10);
  release.mutable_release()->mutable_ids(0)->set_count(1);
  ASSERT_TRUE(Give(release).ok());
  step(12);
  EXPECT_EQ(Executed().size(), 2u);
}

TEST_F(SessionCoreTest, BoundsHowFarAClientRunsAhead) {
  SetUpObjects();
  absl::Status status;
  uint64_t output = 10;
  for (int i = 0; i < 2000 && status.ok(); ++i) status = Give(StepMessage(1, 2, output++));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  // Once the executor has caught up, it may go on, and is told how far that is.
  proto::ExecutorEvent event;
  event.mutable_commands_done()->set_commands(device_.commands.size());
  event.mutable_commands_done()->set_step(core_.steps());
  ASSERT_TRUE(core_.OnExecutorEvent(0, event).ok());
  core_.Flush();
  EXPECT_EQ(client_.messages.back().steps_done().step(), core_.steps());
  EXPECT_TRUE(Give(StepMessage(1, 2, output)).ok());
}

TEST_F(SessionCoreTest, AnswersEverythingWhenTheExecutorIsLost) {
  SetUpObjects();
  ASSERT_TRUE(Give(StepMessage(1, 2, 10)).ok());
  EXPECT_TRUE(ReadError(10).ok());  // waits
  client_.messages.clear();
  core_.OnExecutorLost(absl::UnavailableError("killed by signal 9"));
  ASSERT_FALSE(client_.messages.empty());
  EXPECT_THAT(client_.messages[0].read_result().status().message(), HasSubstr("signal 9"));
  EXPECT_THAT(ReadError(10).message(), HasSubstr("signal 9"));
  EXPECT_TRUE(Give(StepMessage(1, 2, 11)).ok());
  EXPECT_EQ(client_.messages.back().steps_done().step(), 2u);
}

TEST_F(SessionCoreTest, ExecutorsAreNotTrustedEither) {
  SetUpObjects();
  proto::ExecutorEvent event;
  event.mutable_commands_done()->set_commands(1000000);
  EXPECT_FALSE(core_.OnExecutorEvent(0, event).ok());
  event.mutable_read_result()->set_request(5);
  EXPECT_FALSE(core_.OnExecutorEvent(0, event).ok());
  event.mutable_upload_opened()->set_id(5);
  EXPECT_FALSE(core_.OnExecutorEvent(0, event).ok());
}

// Valid messages with random bytes changed: whatever comes, an answer or an end, never a crash.
TEST_F(SessionCoreTest, SurvivesMutatedMessages) {
  SetUpObjects();
  std::mt19937 random(20240607);
  auto below = [&](size_t n) { return size_t(random() % n); };
  int accepted = 0;
  uint64_t id = 100;
  for (int round = 0; round < 20000; ++round) {
    proto::ClientMessage valid;
    switch (below(5)) {
      case 0:
        valid = RegisterMessage();
        break;
      case 1:
        valid = UploadMessage(++id, 4);
        break;
      case 2:
        valid.mutable_release()->add_ids()->set_first(below(200));
        valid.mutable_release()->mutable_ids(0)->set_count(below(3));
        break;
      case 3:
        valid.mutable_read()->set_request(++request_);
        valid.mutable_read()->set_id(below(200));
        break;
      default:
        valid = StepMessage(1, 2, ++id);
    }
    std::string bytes = valid.SerializeAsString();
    for (size_t changes = below(3); changes > 0; --changes) {
      bytes[below(bytes.size())] = char(random());
    }
    proto::ClientMessage message;
    if (!message.ParseFromString(bytes)) continue;
    core_.TakesLong(message);
    if (Give(message).ok()) ++accepted;
    proto::ExecutorEvent event;
    event.mutable_commands_done()->set_commands(device_.commands.size());
    ASSERT_TRUE(core_.OnExecutorEvent(0, event).ok());
    if (round % 50 == 0) {
      core_.OnClientMessage(message = UploadMessage(1, 4)).IgnoreError();
      core_.OnClientMessage(message = UploadMessage(2, 4)).IgnoreError();
    }
  }
  EXPECT_GT(accepted, 4000);
}

}  // namespace
}  // namespace moai
