#include "worker/executor/command_reader.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace moai {
namespace {

class CommandReaderTest : public ::testing::Test {
 protected:
  void Put(const std::vector<std::string>& commands) {
    for (const std::string& command : commands) queue_.Put(command);
    queue_.Notify();
  }
  std::string Next() {
    return std::string(reader_.Next([this] { ++waits_; }, [] {}).value_or("end"));
  }
  std::string Peek(size_t distance) { return std::string(reader_.Peek(distance).value_or("none")); }

  CommandQueue queue_;
  CommandReader reader_{&queue_};
  int waits_ = 0;
};

TEST_F(CommandReaderTest, GivesWhatComesInOrderHoweverFarItLooked) {
  EXPECT_EQ(Peek(0), "none");
  Put({"a", "b"});
  EXPECT_EQ(Next(), "a");
  EXPECT_EQ(Peek(0), "b");
  EXPECT_EQ(Peek(1), "none");
  Put({"c", "d"});
  EXPECT_EQ(Peek(1), "c");
  EXPECT_EQ(Peek(2), "d");
  EXPECT_EQ(Peek(3), "none");
  Put({"e"});
  EXPECT_EQ(Peek(3), "none");  // two batches at most are in its hands
  EXPECT_EQ(Next(), "b");
  EXPECT_EQ(Next(), "c");
  EXPECT_EQ(Peek(1), "e");
  EXPECT_EQ(waits_, 1);
  EXPECT_EQ(Next(), "d");
  EXPECT_EQ(Next(), "e");
  queue_.Close();
  EXPECT_EQ(Next(), "end");
  EXPECT_EQ(waits_, 2);
}

TEST_F(CommandReaderTest, LooksBeyondTheEnd) {
  Put({"a"});
  queue_.Close();
  EXPECT_EQ(Peek(0), "a");
  EXPECT_EQ(Peek(1), "none");
  EXPECT_EQ(Next(), "a");
  EXPECT_EQ(Peek(0), "none");
  EXPECT_EQ(Next(), "end");
}

}  // namespace
}  // namespace moai
