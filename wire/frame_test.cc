#include "wire/frame.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"

namespace moai::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Frame, HasTheLayoutOfTheSessionProtocol) {
  proto::Hello hello;
  hello.set_token("t");
  proto::ClientMessage release;
  release.mutable_release()->add_ids()->set_first(7);
  std::string bytes;
  AppendOpening(hello.SerializeAsString(), bytes);
  AppendFirstSequence(300, bytes);
  AppendAcknowledged(5, bytes);
  AppendMessage(release.SerializeAsString(), bytes);
  AppendMessage("", bytes);

  proto::ClientFrame parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_EQ(parsed.hello().token(), "t");
  EXPECT_EQ(parsed.first_sequence(), 300u);
  EXPECT_EQ(parsed.acknowledged(), 5u);
  ASSERT_EQ(parsed.messages_size(), 2);
  EXPECT_EQ(parsed.messages(0).release().ids(0).first(), 7u);
  EXPECT_EQ(parsed.SerializeAsString(), bytes);
}

TEST(Frame, ParsesWhatProtobufWrites) {
  proto::ServerFrame frame;
  frame.mutable_welcome()->set_version(1);
  frame.set_first_sequence(1);
  frame.set_acknowledged(~uint64_t{0});
  frame.add_messages()->mutable_steps_done()->set_step(9);
  frame.mutable_closed()->set_message("bye");
  const std::string bytes = frame.SerializeAsString();
  FrameView view;
  ASSERT_TRUE(ParseFrame(bytes, view).ok());
  EXPECT_TRUE(view.has_opening);
  EXPECT_EQ(view.opening, frame.welcome().SerializeAsString());
  EXPECT_EQ(view.first_sequence, 1u);
  EXPECT_EQ(view.acknowledged, ~uint64_t{0});
  EXPECT_THAT(view.messages, ElementsAre(frame.messages(0).SerializeAsString()));
  EXPECT_TRUE(view.has_closed);
  EXPECT_EQ(view.closed, frame.closed().SerializeAsString());
}

TEST(Frame, KeepsTheOrderOfMessagesAndPieces) {
  std::string bytes;
  AppendMessage("a", bytes);
  AppendPiece("b", bytes);
  AppendPiece("c", bytes);
  AppendMessage("d", bytes);
  FrameView view;
  ASSERT_TRUE(ParseFrame(bytes, view).ok());
  EXPECT_THAT(view.messages, ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(view.pieces, ElementsAre(1, 2));
  EXPECT_THAT(ParseFrame("\x32\x05"
                         "abc",
                         view)
                  .message(),
              HasSubstr("field pieces: the length 5 passes the end"));
}

TEST(Frame, SkipsFieldsOfLaterVersions) {
  FrameView view;
  EXPECT_TRUE(
      ParseFrame(absl::string_view("\x50\x01\x5a\x01x\x65\1\2\3\4\x61\1\2\3\4\5\6\7\x08", 19), view)
          .ok());
}

TEST(Frame, NamesTheMalformedField) {
  FrameView view;
  EXPECT_THAT(ParseFrame("\x22\x05"
                         "abc",
                         view)
                  .message(),
              HasSubstr("field messages: the length 5 passes the end"));
  EXPECT_THAT(ParseFrame("\x10\xff", view).message(), HasSubstr("field first_sequence"));
  EXPECT_THAT(ParseFrame("\x1a\x01x", view).message(), HasSubstr("field acknowledged: expected a"));
  EXPECT_THAT(ParseFrame("\x50", view).message(), HasSubstr("number 10"));
  EXPECT_THAT(ParseFrame(absl::string_view("\0\0", 2), view).message(), HasSubstr("tag"));
}

TEST(Frame, SurvivesMutations) {
  proto::ServerFrame frame;
  frame.mutable_welcome()->set_session_id("0123456789abcdef");
  frame.set_first_sequence(100);
  for (int i = 0; i < 5; ++i) frame.add_messages()->mutable_steps_done()->set_step(1000 * i);
  const std::string seed = frame.SerializeAsString();
  std::mt19937 random(1);
  FrameView view;
  int accepted = 0;
  for (int i = 0; i < 100000; ++i) {
    std::string bytes = seed;
    for (int n = random() % 3; n >= 0; --n) bytes[random() % bytes.size()] = random();
    bytes.resize(bytes.size() - random() % 3);
    if (ParseFrame(bytes, view).ok()) {
      ++accepted;
      for (absl::string_view message : view.messages) {
        EXPECT_GE(message.data(), bytes.data());
        EXPECT_LE(message.data() + message.size(), bytes.data() + bytes.size());
      }
    }
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace moai::wire
