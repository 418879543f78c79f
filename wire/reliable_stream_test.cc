#include "wire/reliable_stream.h"

#include <algorithm>
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
  ReliableSender sender{};
  ReliableReceiver receiver{};
  std::vector<std::string> taken{};

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

// Some are as long as several pieces of RandomCuts.
std::string NumberedMessage(absl::string_view prefix, int i) {
  return absl::StrCat(prefix, i, std::string(i % 5 == 0 ? i % 50 : 0, '.'));
}

std::vector<std::string> Numbered(absl::string_view prefix, int count) {
  std::vector<std::string> messages;
  for (int i = 0; i < count; ++i) messages.push_back(NumberedMessage(prefix, i));
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
  small.piece_bytes = 10;
  End ends[2] = {{ReliableSender(small)}, {ReliableSender(small)}};
  constexpr int kMessages = 400;
  int sent[2] = {0, 0};
  std::deque<std::string> pipes[2];  // pipes[i]: from ends[i]

  while (ends[0].taken.size() < kMessages || ends[1].taken.size() < kMessages) {
    for (int i : {0, 1}) {
      while (sent[i] < kMessages && ends[i].sender.HasRoom() && chance(70)) {
        ASSERT_TRUE(ends[i].sender.Send(NumberedMessage(i == 0 ? "a" : "b", sent[i])).ok());
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

// Each connection passes `bytes` in one direction, then breaks; what is in flight is lost. Returns
// how many connections it took to deliver everything, or -1 if 1000 were too few.
int ConnectionsToDeliver(End& from, End& to, size_t messages, size_t bytes) {
  for (int connections = 1; connections <= 1000; ++connections) {
    for (size_t passed = 0;;) {
      const std::string frame = from.NextFrame();
      passed += frame.size();
      if (passed > bytes) break;
      EXPECT_TRUE(to.Take(frame).ok());
      if (to.taken.size() == messages) return connections;
    }
    EXPECT_TRUE(from.sender.Reconnect(to.receiver.taken()).ok());
  }
  return -1;
}

TEST(ReliableStream, MakesProgressOverALinkThatPassesLessThanAMessage) {
  End from, to;
  const std::string large(100'000, 'x');
  ASSERT_TRUE(from.sender.Send(std::string(large)).ok());
  ASSERT_TRUE(from.sender.Send("small").ok());
  // A few connections until frames are small enough, then a piece or more on each.
  const int connections = ConnectionsToDeliver(from, to, 2, 6000);
  EXPECT_GT(connections, 0);
  EXPECT_LE(connections, 40);
  EXPECT_EQ(to.taken, (std::vector<std::string>{large, "small"}));
}

TEST(ReliableStream, MakesProgressOverALinkThatPassesLessThanAFrame) {
  End from, to;
  for (const std::string& message : Numbered("m", 4000)) {
    ASSERT_TRUE(from.sender.Send(std::string(message)).ok());
  }
  EXPECT_GT(ConnectionsToDeliver(from, to, 4000, 6000), 0);
  EXPECT_EQ(to.taken, Numbered("m", 4000));
}

TEST(ReliableStream, WholeFramesComeBackWithAConnectionThatHolds) {
  End from, to;
  const std::string message(1000, 'x');
  std::string frame;
  // Nothing gets through on four connections.
  ASSERT_TRUE(from.sender.Send(std::string(200'000, 'y')).ok());
  const size_t whole = from.NextFrame().size();
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(from.sender.Reconnect(0).ok());
    frame = from.NextFrame();
  }
  EXPECT_LT(frame.size(), whole / 8);
  ASSERT_TRUE(from.sender.Reconnect(0).ok());
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(from.sender.Send(std::string(message)).ok());
    frame = from.NextFrame();
    ASSERT_TRUE(to.Take(frame).ok());
    ASSERT_TRUE(from.Take(to.NextFrame()).ok());
  }
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(from.sender.Send(std::string(message)).ok());
  EXPECT_GT(from.NextFrame().size(), whole / 2);
}

TEST(ReliableReceiver, RefusesPiecesOfMoreThanAMessage) {
  ReliableReceiver receiver({.max_message_bytes = 10});
  const auto deliver = [](absl::string_view) { return absl::OkStatus(); };
  FrameView frame;
  frame.first_sequence = 1;
  frame.messages = {"12345", "12345", "1"};
  frame.pieces = {0, 1};
  EXPECT_THAT(receiver.OnFrame(frame, deliver).message(), HasSubstr("field pieces"));
}

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
