#include "client/testing/reference_session.h"

#include <cstring>

#include "graph/builder.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

constexpr ObjectId kTable = 1;

// Looks up an id in slot 0, which it then doubles.
StepRequest LookUp(int32_t id, ObjectId first_output) {
  GraphBuilder builder;
  const ValueId table = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, {2, 1}});
  const ValueId ids = builder.AddInput(InputKind::kFeed, 0, {Dtype::kI32, {1}});
  const ValueId row = *builder.AddNode(Op::kEmbedding, {table, ids});
  const ValueId doubled = *builder.AddNode(Op::kAdd, {table, table});
  builder.AddOutput(OutputKind::kSlot, doubled, 0);
  builder.AddOutput(OutputKind::kValue, row);
  CapturedGraph captured = builder.Finish();
  auto bytes = std::make_shared<std::vector<std::byte>>(4);
  std::memcpy(bytes->data(), &id, 4);
  const absl::Span<const std::byte> span(*bytes);
  return {.fingerprint = captured.fingerprint,
          .graph = std::make_shared<const Graph>(std::move(captured.graph)),
          .sizes = std::move(captured.sizes),
          .slots = {kTable},
          .feeds = {{.bytes = span, .owner = bytes}},
          .first_output = first_output};
}

class ReferenceSessionTest : public ::testing::Test {
 protected:
  ReferenceSessionTest() {
    EXPECT_EQ(session_.NewIds(10), kTable);
    static constexpr float kContent[] = {3, 5};
    EXPECT_TRUE(session_
                    .Upload(kTable, {Dtype::kF32, {2, 1}},
                            {.bytes = {reinterpret_cast<const std::byte*>(kContent), 8}})
                    .ok());
  }

  absl::StatusOr<float> Read(ObjectId id, size_t elements = 1) {
    std::vector<float> content(elements);
    absl::Status status =
        session_.Read(id, {reinterpret_cast<std::byte*>(content.data()), elements * sizeof(float)});
    if (!status.ok()) return status;
    return content[0];
  }

  ReferenceSession session_;
};

TEST_F(ReferenceSessionTest, RunsAndCommits) {
  ASSERT_TRUE(session_.Submit(LookUp(1, 2)).ok());
  EXPECT_EQ(*Read(2), 5);
  EXPECT_EQ(*Read(kTable, 2), 6);
  EXPECT_TRUE(session_.Synchronize().ok());
}

TEST_F(ReferenceSessionTest, AStepThatFailsCommitsNothing) {
  ASSERT_TRUE(session_.Submit(LookUp(2, 2)).ok());
  EXPECT_EQ(Read(2).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*Read(kTable, 2), 3);
  EXPECT_FALSE(session_.Synchronize().ok());
  EXPECT_TRUE(session_.Synchronize().ok());
}

TEST_F(ReferenceSessionTest, RefusesWhatIsNoStep) {
  StepRequest step = LookUp(0, 2);
  step.slots.clear();
  EXPECT_FALSE(session_.Submit(step).ok());
  step = LookUp(0, 2);
  ++step.fingerprint.low;
  EXPECT_FALSE(session_.Submit(step).ok());
}

}  // namespace
}  // namespace moai
