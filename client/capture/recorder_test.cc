#include "client/capture/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "client/testing/reference_session.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

// A session that ends when told to.
class EndingSession : public ReferenceSession {
 public:
  EndingSession() : ReferenceSession({.keep_graphs = true}) {}
  absl::Status Submit(StepRequest step) override {
    if (ended) return absl::UnavailableError("the server has gone");
    return ReferenceSession::Submit(std::move(step));
  }
  bool ended = false;
};

Ref<LazyValue> Bytes(const std::vector<float>& elements) {
  auto owner = std::make_shared<const std::vector<float>>(elements);
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(owner->data()),
                                          owner->size() * sizeof(float));
  return LazyValue::FromBytes({Dtype::kF32, {static_cast<int64_t>(elements.size())}},
                              {.bytes = bytes, .owner = owner});
}

class RecorderTest : public ::testing::Test {
 protected:
  RecorderTest()
      : session_(std::make_shared<EndingSession>()),
        recorder_(Recorder::Create(session_, {.max_feed_bytes = 64})) {}

  // x + x.
  Ref<LazyValue> Double(const Ref<LazyValue>& x) {
    EXPECT_TRUE(recorder_->Begin().ok());
    const absl::StatusOr<ValueId> id = recorder_->Id(x.get());
    EXPECT_TRUE(id.ok()) << id.status();
    const absl::StatusOr<ValueId> sum = recorder_->Node(Op::kAdd, {*id, *id}, {}, {}, {});
    EXPECT_TRUE(sum.ok()) << sum.status();
    return recorder_->NewValue(*sum);
  }
  absl::StatusOr<std::vector<float>> Read(const Ref<LazyValue>& value) {
    std::vector<float> content(value->type().shape.elements());
    absl::Status status = recorder_->Read(
        value.get(),
        {reinterpret_cast<std::byte*>(content.data()), content.size() * sizeof(float)});
    if (!status.ok()) return status;
    return content;
  }

  std::shared_ptr<EndingSession> session_;
  Ref<Recorder> recorder_;
};

TEST_F(RecorderTest, SmallBytesAreFedToEveryGraphThatUsesThem) {
  const Ref<LazyValue> x = Bytes({1, 2});
  EXPECT_EQ(*Read(Double(x)), (std::vector<float>{2, 4}));
  EXPECT_EQ(*Read(Double(x)), (std::vector<float>{2, 4}));
  EXPECT_EQ(session_->steps()[1].feeds.size(), 1u);
  EXPECT_EQ(session_->stats().graphs_registered, 1u);
}

TEST_F(RecorderTest, LargeBytesAreUploadedOnce) {
  const Ref<LazyValue> x = Bytes(std::vector<float>(100, 3));
  const Ref<LazyValue> y = Double(x);
  EXPECT_EQ(Read(y)->at(99), 6);
  EXPECT_EQ(Read(Double(x))->at(99), 6);
  EXPECT_TRUE(session_->steps()[0].feeds.empty());
  EXPECT_EQ(session_->steps()[0].values, session_->steps()[1].values);
}

TEST_F(RecorderTest, BytesOfTheClientAreReadWithoutASession) {
  EXPECT_EQ(*Read(Bytes({7})), std::vector<float>{7});
  EXPECT_EQ(session_->stats().steps, 0u);
}

TEST_F(RecorderTest, BytesThatBecomeStateAreUploadedIntoTheSlot) {
  const Ref<Slot> slot = recorder_->NewSlot({Dtype::kF32, {2}});
  absl::StatusOr<Ref<LazyValue>> content = recorder_->Assign(slot, Bytes({1, 2}));
  ASSERT_TRUE(content.ok());
  ASSERT_TRUE(recorder_->Flush().ok());
  EXPECT_EQ(session_->stats().steps, 0u);
  EXPECT_EQ((*content)->state(), LazyValue::State::kSlot);
  EXPECT_EQ(*Read(*content), (std::vector<float>{1, 2}));
}

TEST_F(RecorderTest, BytesThatBecomeStateAndAreUsedLeaveNothingBehind) {
  const Ref<Slot> slot = recorder_->NewSlot({Dtype::kF32, {100}});
  absl::StatusOr<Ref<LazyValue>> content =
      recorder_->Assign(slot, Bytes(std::vector<float>(100, 3)));
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(Read(Double(*content))->at(0), 6);
  EXPECT_EQ(Read(*content)->at(0), 3);
  ASSERT_TRUE(recorder_->Flush().ok());
  Double(*content);
  EXPECT_EQ(*Read(Double(Bytes({2}))), std::vector<float>{4});
  EXPECT_EQ(session_->object_count(), 2u);  // the slot, and what was read last
}

TEST_F(RecorderTest, AssignmentsOfDroppedSlotsAreNotStored) {
  Ref<Slot> slot = recorder_->NewSlot({Dtype::kF32, {1}});
  Ref<LazyValue> value = Double(Bytes({1}));
  ASSERT_TRUE(recorder_->Assign(slot, value).ok());
  slot = nullptr;
  EXPECT_EQ(*Read(value), std::vector<float>{2});
  value = nullptr;
  ASSERT_TRUE(recorder_->Flush().ok());
  EXPECT_EQ(*Read(Double(Bytes({2}))), std::vector<float>{4});
  EXPECT_EQ(session_->object_count(), 1u);
}

TEST_F(RecorderTest, SlotsKeepTheirType) {
  const Ref<Slot> slot = recorder_->NewSlot({Dtype::kF32, {2}});
  EXPECT_EQ(recorder_->Assign(slot, Bytes({1})).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(RecorderTest, AGraphThatNobodyCanSeeIsNotSubmitted) {
  Double(Bytes({1}));
  ASSERT_TRUE(recorder_->Flush().ok());
  EXPECT_EQ(session_->stats().steps, 0u);
  EXPECT_EQ(recorder_->open_nodes(), 0u);
}

TEST_F(RecorderTest, ValuesOfAnotherSessionAreRefused) {
  const Ref<LazyValue> mine = Double(Bytes({1}));
  const Ref<Recorder> other = Recorder::Create(std::make_shared<ReferenceSession>());
  EXPECT_THAT(other->Id(mine.get()).status().message(), HasSubstr("another session"));
}

TEST_F(RecorderTest, TheEndOfTheSessionReachesEveryCall) {
  const Ref<LazyValue> lost = Double(Bytes({1}));
  session_->ended = true;
  EXPECT_THAT(Read(lost).status().message(), HasSubstr("gone"));
  EXPECT_FALSE(recorder_->Begin().ok());
  EXPECT_FALSE(recorder_->Id(lost.get()).ok());
  EXPECT_FALSE(recorder_->MarkStep().ok());
}

}  // namespace
}  // namespace moai
