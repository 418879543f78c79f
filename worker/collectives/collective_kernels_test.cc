#include "worker/collectives/collective_kernels.h"

#include <cstring>
#include <new>
#include <random>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "program/collective_bytes.h"
#include "worker/collectives/testing/collective_case.h"
#include "worker/collectives/testing/test_session.h"

namespace moai {
namespace {

// Memory aligned as a device's is, of exactly the size asked for.
class Aligned {
 public:
  explicit Aligned(size_t bytes)
      : data_(static_cast<std::byte*>(
            ::operator new(bytes, std::align_val_t(kCollectiveAlignment)))) {}
  ~Aligned() { ::operator delete(data_, std::align_val_t(kCollectiveAlignment)); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::byte* get() const { return data_; }

 private:
  std::byte* const data_;
};

// Runs a member's part on its device; checks the result, and what was sent against the prediction.
void RunMember(const CollectiveCase& collective, Communicator& communicator) {
  const auto me = std::find(collective.group.begin(), collective.group.end(), communicator.rank());
  if (me == collective.group.end()) return;
  const int64_t index = me - collective.group.begin();
  const MemberCase& member = collective.members[index];
  const auto kernel = MakeCollectiveKernel(member.program, 0, {collective.group}, &communicator);
  ASSERT_TRUE(kernel.ok()) << kernel.status() << " " << collective.text;

  const Aligned input(member.input.size()), output(member.expected.size());
  const Aligned scratch(member.program.buffers[2].bytes);
  if (!member.input.empty()) std::memcpy(input.get(), member.input.data(), member.input.size());
  std::byte* const buffers[] = {input.get(), output.get(), scratch.get()};
  StepErrors errors;
  const int64_t before = communicator.counters().bytes();
  (*kernel)->Run({buffers, &errors});
  ASSERT_TRUE(communicator.status().ok()) << communicator.status() << " " << collective.text;

  const Bytes result(output.get(), output.get() + member.expected.size());
  EXPECT_TRUE(SameElements(collective.dtype, result, member.expected))
      << "device " << communicator.rank() << ": " << collective.text;
  const Instruction& instruction = member.program.instructions[0];
  EXPECT_EQ(
      communicator.counters().bytes() - before,
      CollectiveBytesSent(
          instruction.op, instruction.inputs.empty() ? TensorType() : instruction.inputs[0].type(),
          instruction.outputs[0].type(), instruction.attributes, instruction.extents,
          static_cast<int64_t>(collective.group.size()), index))
      << "device " << communicator.rank() << ": " << collective.text;
}

// Each device runs its members' parts of all of them, in order.
void RunAll(TestSession& session, const std::vector<CollectiveCase>& collectives) {
  session.Run([&](Communicator& communicator) {
    for (const CollectiveCase& collective : collectives) RunMember(collective, communicator);
  });
}

using Placement = std::vector<uint32_t>;  // the process of each device

// Placements, and whether processes use the host's memory or the network.
class RandomCollectives : public testing::TestWithParam<std::tuple<Placement, bool>> {
 protected:
  const Placement& placement() const { return std::get<0>(GetParam()); }
  ProcessGroupOptions options() const {
    return {.process_of_rank = placement(), .host_memory = std::get<1>(GetParam())};
  }
};

TEST_P(RandomCollectives, GiveWhatTheReferenceGivesAndSendWhatIsPredicted) {
  std::mt19937 random(placement().size() * 1000 + placement().back());
  TestSession session(options());
  ASSERT_EQ(session.size(), placement().size());
  std::vector<CollectiveCase> collectives;
  for (int i = 0; i < 150; ++i) {
    collectives.push_back(DrawCollective(random, session.size(), i % 10 == 0 ? 40 : 1));
  }
  RunAll(session, collectives);
}

// Tensors that travel in many blocks.
TEST_P(RandomCollectives, AreRightWhereTensorsAreLarge) {
  std::mt19937 random(placement().size() * 1000 + 7);
  TestSession session(options());
  ASSERT_EQ(session.size(), placement().size());
  std::vector<CollectiveCase> collectives;
  for (int i = 0; i < 12; ++i) {
    collectives.push_back(DrawCollective(random, session.size(), 2000));
  }
  RunAll(session, collectives);
}

INSTANTIATE_TEST_SUITE_P(
    OneProcess, RandomCollectives,
    testing::Combine(testing::Values(Placement{0}, Placement{0, 0}, Placement{0, 0, 0},
                                     Placement{0, 0, 0, 0, 0}, Placement{0, 0, 0, 0, 0, 0, 0, 0}),
                     testing::Values(false)));
INSTANTIATE_TEST_SUITE_P(SeveralProcesses, RandomCollectives,
                         testing::Combine(testing::Values(Placement{0, 1}, Placement{0, 0, 1, 1},
                                                          Placement{0, 1, 0}, Placement{0, 1, 2},
                                                          Placement{0, 1, 2, 3},
                                                          Placement{0, 0, 1, 1, 2, 2}),
                                          testing::Bool()));

// A kernel of one member, alone.
absl::Status MakeError(Op op, const Shape& input, const Shape& output,
                       std::vector<int32_t> attributes, std::vector<int64_t> extents,
                       const DeviceGroup& group, int64_t scratch = 1 << 21) {
  TestSession session(Placement{0, 0});
  Instruction instruction;
  instruction.op = op;
  instruction.inputs.push_back({.dtype = Dtype::kF32, .shape = input});
  instruction.outputs.push_back({.buffer = 1, .dtype = Dtype::kF32, .shape = output});
  instruction.attributes.assign(attributes.begin(), attributes.end());
  instruction.extents.assign(extents.begin(), extents.end());
  instruction.scratch = 2;
  Program program;
  program.buffers.resize(3);
  program.buffers[2].bytes = scratch;
  program.instructions.push_back(instruction);
  return MakeCollectiveKernel(program, 0, {group}, &session.communicator(0)).status();
}

TEST(MakeCollectiveKernel, RefusesWhatDoesNotFit) {
  const int32_t sum = static_cast<int32_t>(ReduceKind::kSum);
  const int32_t any = static_cast<int32_t>(ReduceKind::kOr);
  const auto all_reduce = [](std::vector<int32_t> attributes, const DeviceGroup& group) {
    return MakeError(Op::kAllReduce, {4}, {4}, attributes, {}, group);
  };
  EXPECT_TRUE(all_reduce({0, sum}, {0, 1}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({1, sum}, {0, 1})));  // no such group
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({-1, sum}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, any}, {0, 1})));  // f32 has no or
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, 0}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, 99}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, sum}, {1})));  // device 0 is not in it
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, sum}, {0, 2})));
  EXPECT_TRUE(absl::IsInvalidArgument(all_reduce({0, sum}, {0, 0})));

  // Device 0 has 3 of 5 elements, or 4 of 6 in units of 2.
  EXPECT_TRUE(MakeError(Op::kAllGather, {3}, {5}, {0, 0}, {5, 1}, {0, 1}).ok());
  EXPECT_TRUE(MakeError(Op::kAllGather, {4}, {6}, {0, 0}, {6, 2}, {0, 1}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(MakeError(Op::kAllGather, {2}, {5}, {0, 0}, {5, 1}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeError(Op::kAllGather, {3}, {5}, {0, 0}, {5, 0}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      MakeError(Op::kReduceScatter, {5}, {2}, {0, 0, sum}, {2, 1}, {0, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      MakeError(Op::kSend, {4}, {0}, {0}, {}, {1, 0})));  // the first of the pair sends
  EXPECT_EQ(MakeError(Op::kAllReduce, {4}, {4}, {0, sum}, {}, {0, 1}, 64).code(),
            absl::StatusCode::kInternal);
}

TEST(CollectiveKernel, DoesNothingOnceALinkIsBroken) {
  TestSession session(Placement{0, 0});
  std::mt19937 random(1);
  CollectiveCase collective;
  do {
    collective = DrawCollective(random, 2);
  } while (collective.group.size() < 2 || collective.members[0].input.empty());
  session.communicator(0).Abort(absl::CancelledError("the session ends"));
  session.Run([&](Communicator& communicator) {
    const size_t index = collective.group[0] == communicator.rank() ? 0 : 1;
    const MemberCase& member = collective.members[index];
    const auto kernel = MakeCollectiveKernel(member.program, 0, {collective.group}, &communicator);
    ASSERT_TRUE(kernel.ok());
    std::byte* const buffers[] = {nullptr, nullptr, nullptr};
    StepErrors errors;
    (*kernel)->Run({buffers, &errors});
    EXPECT_EQ(communicator.status(), absl::CancelledError("the session ends"));
    EXPECT_EQ(communicator.counters().bytes(), 0);
  });
}

}  // namespace
}  // namespace moai
