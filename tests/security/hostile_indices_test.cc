// Positions inside tensors that lie outside of what they point into, through real processes: the
// step fails with words that say where, the slots keep what they had, and the session goes on.
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/session/grpc_session.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct IndexedOp {
  Op op;
  std::vector<TensorType> inputs;
  std::vector<int32_t> attributes;
  std::vector<int64_t> extents;
  size_t ids;     // which input holds positions
  int64_t limit;  // they must be below
};

std::vector<IndexedOp> OpsWith(Dtype ids) {
  const TensorType x{Dtype::kF32, {5, 4}}, one{ids, {3}}, column{ids, {3, 4}};
  const TensorType rows{Dtype::kF32, {3, 4}}, statistic{Dtype::kF32, {3}};
  return {
      {Op::kIndexSelect, {x, one}, {0}, {}, 1, 5},
      {Op::kIndexAdd, {x, one, rows}, {0}, {}, 1, 5},
      {Op::kGather, {x, column}, {0}, {}, 1, 5},
      {Op::kScatter, {x, column, rows}, {0}, {}, 1, 5},
      {Op::kScatterAdd, {x, column, rows}, {0}, {}, 1, 5},
      {Op::kEmbedding, {x, one}, {}, {}, 1, 5},
      {Op::kEmbeddingGrad, {one, rows}, {1}, {5}, 0, 5},
      {Op::kCrossEntropy, {rows, one}, {-100}, {}, 1, 4},
      {Op::kCrossEntropyGrad, {rows, one, statistic, statistic}, {-100}, {}, 1, 4},
  };
}

std::vector<int64_t> BadIds(Dtype dtype, int64_t limit) {
  std::vector<int64_t> bad = {limit, -1, std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()};
  if (dtype == Dtype::kI64) {
    bad.push_back(std::numeric_limits<int64_t>::min());
    bad.push_back(std::numeric_limits<int64_t>::max());
  }
  return bad;
}

SharedBytes Share(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return {absl::MakeConstSpan(*owner), owner};
}

// Zeros, but for ids: small ones, and `special` in the middle.
std::vector<std::byte> Content(const TensorType& type, bool ids, int64_t special) {
  std::vector<std::byte> bytes(size_t(type.bytes()));
  if (!ids) return bytes;
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    const int64_t id = i == type.shape.elements() / 2 ? special : i % 3;
    if (type.dtype == Dtype::kI64) {
      std::memcpy(bytes.data() + 8 * i, &id, 8);
    } else {
      const int32_t narrow = static_cast<int32_t>(id);
      std::memcpy(bytes.data() + 4 * i, &narrow, 4);
    }
  }
  return bytes;
}

class HostileIndicesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start();
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    auto session = GrpcSession::Connect({.address = cluster_->address()});
    ASSERT_TRUE(session.ok()) << session.status();
    session_ = *std::move(session);
    slot_ = session_->NewIds(1);
    ASSERT_TRUE(
        session_->Upload(slot_, kSlotType, Share(std::vector<std::byte>(size_t(kSlotType.bytes()))))
            .ok());
  }

  // The op over feeds; the same step adds 1 to the slot. Returns the error of reading its result.
  absl::Status Run(const IndexedOp& op, int64_t id) {
    GraphBuilder builder;
    std::vector<ValueId> inputs;
    StepRequest step;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      inputs.push_back(builder.AddInput(InputKind::kFeed, uint32_t(i), op.inputs[i]));
      step.feeds.push_back(Share(Content(op.inputs[i], i == op.ids, id)));
    }
    const ValueId slot = builder.AddInput(InputKind::kSlot, 0, kSlotType);
    const ValueId one = builder.AddScalar(Dtype::kF32);
    const absl::StatusOr<ValueId> grown = builder.AddNode(Op::kAdd, {slot, one});
    const absl::StatusOr<ValueId> result =
        builder.AddNode(op.op, inputs, op.attributes, op.extents);
    if (!result.ok()) return result.status();
    builder.AddOutput(OutputKind::kSlot, *grown, 0);
    builder.AddOutput(OutputKind::kValue, *result);
    const TensorType type = builder.type(*result);
    CapturedGraph captured = builder.Finish();
    step.fingerprint = captured.fingerprint;
    step.graph = std::make_shared<const Graph>(std::move(captured.graph));
    step.sizes = std::move(captured.sizes);
    step.slots = {slot_};
    step.scalars = {Scalar{.f64 = 1.0}};
    step.first_output = session_->NewIds(1);
    const ObjectId output = step.first_output;
    if (absl::Status status = session_->Submit(std::move(step)); !status.ok()) return status;
    std::vector<std::byte> bytes(size_t(type.bytes()));
    return session_->Read(output, absl::MakeSpan(bytes));
  }

  std::vector<float> Slot() {
    std::vector<float> numbers(2);
    const absl::Status status = session_->Read(
        slot_, absl::MakeSpan(reinterpret_cast<std::byte*>(numbers.data()), 2 * sizeof(float)));
    EXPECT_TRUE(status.ok()) << status;
    return numbers;
  }

  static inline const TensorType kSlotType{Dtype::kF32, Shape{2}};
  std::unique_ptr<Cluster> cluster_;
  std::shared_ptr<GrpcSession> session_;
  ObjectId slot_ = 0;
};

TEST_F(HostileIndicesTest, OutOfRangeCostsTheStepAndNothingElse) {
  float steps = 0;
  for (const Dtype dtype : {Dtype::kI32, Dtype::kI64}) {
    for (const IndexedOp& op : OpsWith(dtype)) {
      const absl::string_view name = Name(op.op);
      SCOPED_TRACE(std::string(name));
      for (const int64_t id : BadIds(dtype, op.limit)) {
        const absl::Status status = Run(op, id);
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
        EXPECT_THAT(
            std::string(status.message()),
            HasSubstr(absl::StrCat(name, ": index ", id, " is outside [0, ", op.limit, ")")));
        EXPECT_THAT(Slot(), ElementsAre(steps, steps));
      }
      // The largest that is allowed.
      EXPECT_EQ(Run(op, op.limit - 1), absl::OkStatus());
      ++steps;
      EXPECT_THAT(Slot(), ElementsAre(steps, steps));
    }
  }
  EXPECT_EQ(cluster_->executors().size(), 1u);
}

TEST_F(HostileIndicesTest, BytesThatAreNoBoolBecomeOne) {
  const TensorType type{Dtype::kBool, Shape{4}};
  const ObjectId id = session_->NewIds(1);
  const std::vector<std::byte> sent = {std::byte{0}, std::byte{1}, std::byte{2}, std::byte{255}};
  ASSERT_TRUE(session_->Upload(id, type, Share(sent)).ok());
  std::vector<std::byte> bytes(4);
  ASSERT_TRUE(session_->Read(id, absl::MakeSpan(bytes)).ok());
  EXPECT_THAT(bytes, ElementsAre(std::byte{0}, std::byte{1}, std::byte{1}, std::byte{1}));
}

}  // namespace
}  // namespace moai
