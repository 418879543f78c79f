#include "wire/reliable_stream.h"

#include <deque>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai::wire {
namespace {

using ::testing::HasSubstr;

// One end: sends numbered messages and records what it takes.
struct End {
  ReliableSender sender;
  ReliableReceiver receiver;
  std::vector<std::string> taken;

  std::string NextFrame() {
    std::string frame;
    sender.Fill(frame);
    AppendAcknowledged(receiver.taken(), frame);
    return frame;
  }

  absl::Status Take(const std::string& bytes) {
    FrameView frame;
    MOAI_RETURN_IF_ERROR(ParseFrame(bytes, frame));
    MOAI_RETURN_IF_ERROR(sender.Acknowledge(frame.acknowledged));
    return receiver.OnFrame(frame, [this](absl::string_view message) {
      taken.emplace_back(message);
      return absl::OkStatus();
    });
  }
};

std::vector<std::string> Numbered(absl::string_view prefix, int count) {
  std::vector<std::string> messages;
  for (int i = 0; i < count; ++i) messages.push_back(absl::StrCat(prefix, i));
  return messages;
}

// Frames in flight are lost at each reconnect, some arrive twice, and either end sends whenever it
// likes: each message arrives once, in order.
class RandomCuts : public ::testing::TestWithParam<int> {};

TEST_P(RandomCuts, DeliverEachMessageOnceInOrder) {
  std::mt19937 random(GetParam());
  auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  ReliableLimits small;
  small.max_queued_messages = 17;
  small.target_frame_bytes = 40;
  End ends[2] = {{ReliableSender(small), {}, {}}, {ReliableSender(small), {}, {}}};
  constexpr int kMessages = 400;
  int sent[2] = {0, 0};
  std::deque<std::string> pipes[2];  // pipes[i]: from ends[i]

  while (ends[0].taken.size() < kMessages || ends[1].taken.size() < kMessages) {
    for (int i : {0, 1}) {
      while (sent[i] < kMessages && ends[i].sender.HasRoom() && chance(70)) {
        ASSERT_TRUE(ends[i].sender.Send(absl::StrCat(i == 0 ? "a" : "b", sent[i])).ok());
        ++sent[i];
      }
      if (chance(60)) pipes[i].push_back(ends[i].NextFrame());
      if (!pipes[i].empty() && chance(60)) {
        ASSERT_TRUE(ends[1 - i].Take(pipes[i].front()).ok());
        // The same frame again, as after an overlap of two connections.
        if (chance(20)) {
          ASSERT_TRUE(ends[1 - i].Take(pipes[i].front()).ok());
        }
        pipes[i].pop_front();
      }
    }
    if (chance(5)) {
      for (int i : {0, 1}) {
        pipes[i].clear();
        ASSERT_TRUE(ends[i].sender.Reconnect(ends[1 - i].receiver.taken()).ok());
      }
    }
  }
  EXPECT_EQ(ends[1].taken, Numbered("a", kMessages));
  EXPECT_EQ(ends[0].taken, Numbered("b", kMessages));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomCuts, ::testing::Range(0, 50));

TEST(ReliableSender, RefusesMessagesOverItsLimits) {
  ReliableSender sender(
      {.max_queued_messages = 2, .max_queued_bytes = 10, .max_message_bytes = 20});
  EXPECT_EQ(sender.Send(std::string(21, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(sender.Send(std::string(12, 'x')).ok());
  EXPECT_EQ(sender.Send("y").code(), absl::StatusCode::kResourceExhausted);
  std::string frame;
  sender.Fill(frame);
  EXPECT_TRUE(sender.Acknowledge(1).ok());
  EXPECT_TRUE(sender.Send("y").ok());
  EXPECT_TRUE(sender.Send("z").ok());
  EXPECT_EQ(sender.Send("w").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(sender.unacknowledged(), 2u);
}

TEST(ReliableSender, RefusesAcknowledgementsOfWhatItNeverSent) {
  ReliableSender sender;
  ASSERT_TRUE(sender.Send("x").ok());
  EXPECT_THAT(sender.Acknowledge(1).message(), HasSubstr("field acknowledged"));
  EXPECT_THAT(sender.Acknowledge(~uint64_t{0}).message(), HasSubstr("field acknowledged"));
  EXPECT_THAT(sender.Reconnect(2).message(), HasSubstr("never sent"));
  EXPECT_THAT(sender.Reconnect(~uint64_t{0}).message(), HasSubstr("never sent"));
  EXPECT_EQ(sender.unacknowledged(), 1u);
}

TEST(ReliableSender, NoticesAPeerThatLostItsState) {
  ReliableSender sender;
  std::string frame;
  ASSERT_TRUE(sender.Send("x").ok());
  sender.Fill(frame);
  ASSERT_TRUE(sender.Acknowledge(1).ok());
  EXPECT_EQ(sender.Reconnect(0).code(), absl::StatusCode::kDataLoss);
}

TEST(ReliableReceiver, RefusesGapsAndMissingSequences) {
  ReliableReceiver receiver;
  auto deliver = [](absl::string_view) { return absl::OkStatus(); };
  FrameView frame;
  frame.messages = {"x"};
  EXPECT_THAT(receiver.OnFrame(frame, deliver).message(), HasSubstr("first_sequence"));
  frame.first_sequence = 2;
  EXPECT_THAT(receiver.OnFrame(frame, deliver).message(), HasSubstr("expected at most 1, got 2"));
  frame.first_sequence = 1;
  EXPECT_TRUE(receiver.OnFrame(frame, deliver).ok());
  EXPECT_EQ(receiver.taken(), 1u);
}

}  // namespace
}  // namespace moai::wire
