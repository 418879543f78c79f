#include "worker/executor/command_queue.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

TEST(CommandQueueTest, KeepsEveryCommandInOrder) {
  CommandQueue queue;
  constexpr int kCommands = 20000;
  std::thread putter([&] {
    for (int i = 0; i < kCommands; ++i) {
      queue.Put(absl::StrCat("command ", i));
      if (i % 7 == 0) queue.Notify();
      if (i % 1000 == 0) std::this_thread::yield();
    }
    queue.Close();
  });
  CommandBatch batch;
  int next = 0;
  while (queue.Take(batch)) {
    for (size_t i = 0; i < batch.size(); ++i) {
      ASSERT_EQ(std::string(batch[i]), absl::StrCat("command ", next));
      ++next;
    }
  }
  EXPECT_EQ(next, kCommands);
  putter.join();
}

TEST(CommandQueueTest, TakesWhatWasPutBeforeTheEnd) {
  CommandQueue queue;
  queue.Put("");
  queue.Put("last");
  queue.Close();
  CommandBatch batch;
  ASSERT_TRUE(queue.Take(batch));
  ASSERT_EQ(batch.size(), 2u);
  EXPECT_EQ(batch[0], "");
  EXPECT_EQ(batch[1], "last");
  EXPECT_FALSE(queue.Take(batch));
}

}  // namespace
}  // namespace moai
