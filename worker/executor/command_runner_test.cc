#include "worker/executor/command_runner.h"

#include <deque>
#include <utility>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "graph/serialize.h"
#include "gtest/gtest.h"
#include "worker/kernels/cpu/cpu_kernels.h"

namespace moai {
namespace {

using ::testing::ElementsAre;

class NoTransfers : public BulkTransfers {
 public:
  absl::Status OpenUpload(const proto::Ticket&, Arrival) override {
    return absl::UnimplementedError("");
  }
  absl::Status OpenDownload(const proto::Ticket&, std::shared_ptr<Bytes>,
                            std::shared_ptr<TransferGate>) override {
    return absl::UnimplementedError("");
  }
  void Close(absl::string_view) override {}
};

// The requests that have been answered, in order, each with the first number of its answer.
class Answers : public EventSink {
 public:
  void Send(const proto::ExecutorEvent& event) override {
    if (event.has_read_result()) {
      EXPECT_EQ(event.read_result().status().code(), 0) << event.read_result().status().message();
      float number = 0;
      memcpy(&number, event.read_result().inline_bytes().data(), sizeof(number));
      answers.emplace_back(event.read_result().request(), number);
    }
  }
  void Flush() override {}

  std::vector<std::pair<uint64_t, float>> answers;
};

// A step's value is the square of slot 5, which is a matrix that the step doubles.
class CommandRunnerTest : public ::testing::Test {
 protected:
  CommandRunnerTest() {
    GraphBuilder builder;
    const TensorType type{Dtype::kF32, Shape{2, 2}};
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, type);
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kMatmul, {slot, slot}, {0, 0}));
    builder.AddOutput(OutputKind::kSlot, *builder.AddNode(Op::kAdd, {slot, slot}), 0);
    const CapturedGraph captured = builder.Finish();
    proto::ExecutorCommand command;
    command.mutable_load_structure()->set_structure(1);
    command.mutable_load_structure()->set_graph(SerializeGraph(captured.graph));
    Run(command);
    command.mutable_load_program()->set_program(1);
    command.mutable_load_program()->set_graph(1);
    proto::DeviceProgram* device = command.mutable_load_program()->add_devices();
    device->set_structure(1);
    for (const int64_t size : captured.sizes) device->add_sizes(size);
    Run(command);
    const float numbers[] = {1, 2, 3, 4};
    command.mutable_upload()->set_id(5);
    command.mutable_upload()->set_dtype(uint32_t(Dtype::kF32));
    command.mutable_upload()->add_shape(2);
    command.mutable_upload()->add_shape(2);
    command.mutable_upload()->set_inline_bytes(numbers, sizeof(numbers));
    Run(command);
  }

  static proto::ExecutorCommand Step() {
    proto::ExecutorCommand command;
    proto::Execute* execute = command.mutable_execute();
    execute->set_step(1);
    execute->set_program(1);
    execute->add_slots()->set_first(5);
    execute->mutable_slots(0)->set_count(1);
    execute->set_first_output(20);
    return command;
  }
  static proto::ExecutorCommand Read(uint64_t request, uint64_t id) {
    proto::ExecutorCommand command;
    command.mutable_read()->set_request(request);
    command.mutable_read()->set_id(id);
    return command;
  }
  static proto::ExecutorCommand Release(uint64_t id) {
    proto::ExecutorCommand command;
    proto::IdRange* range = command.mutable_release()->add_ids();
    range->set_first(id);
    range->set_count(1);
    return command;
  }

  // With what follows it in `following_`.
  void Run(const proto::ExecutorCommand& command) {
    const absl::Status status = runner_.Run(
        command.SerializeAsString(), [this](size_t distance) -> std::optional<absl::string_view> {
          if (distance >= following_.size()) return std::nullopt;
          return following_[distance];
        });
    EXPECT_TRUE(status.ok()) << status;
  }
  void RunAll(const std::vector<proto::ExecutorCommand>& commands) {
    for (const auto& command : commands) following_.push_back(command.SerializeAsString());
    for (const auto& command : commands) {
      following_.pop_front();
      Run(command);
      answered_.push_back(events_.answers.size());
    }
  }

  NoTransfers transfers_;
  Answers events_;
  StructureStore structures_;
  CommandRunner runner_{{.memory_bytes = 1 << 20, .device = {1}, .make_kernel = MakeCpuKernel},
                        &structures_,
                        &transfers_,
                        &events_};
  std::deque<std::string> following_;
  std::vector<size_t> answered_;  // how many reads, after each command of RunAll
};

TEST_F(CommandRunnerTest, AnswersAReadOfWhatAStepMakesWithinTheStep) {
  RunAll({Step(), Release(99), Read(7, 20), Read(8, 20)});
  EXPECT_THAT(answered_, ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(events_.answers, ElementsAre(std::pair(7, 7), std::pair(8, 7)));
}

TEST_F(CommandRunnerTest, AReadOfASlotWaitsForTheStepThatWritesIt) {
  RunAll({Step(), Read(7, 5), Read(8, 20)});
  EXPECT_THAT(answered_, ElementsAre(1, 2, 2));
  EXPECT_THAT(events_.answers, ElementsAre(std::pair(8, 7), std::pair(7, 2)));
}

TEST_F(CommandRunnerTest, LooksNoFurtherThanTheNextStep) {
  proto::ExecutorCommand next = Step();
  next.mutable_execute()->set_first_output(21);
  RunAll({Step(), next, Read(7, 20), Read(8, 21)});
  EXPECT_THAT(answered_, ElementsAre(0, 1, 2, 2));
  EXPECT_THAT(events_.answers, ElementsAre(std::pair(8, 28), std::pair(7, 7)));
}

}  // namespace
}  // namespace moai
