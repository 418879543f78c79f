#include "worker/kernels/kernel.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace moai {
namespace {

TEST(StepErrorsTest, KeepsTheLowestInstructionWhateverTheOrder) {
  StepErrors errors;
  EXPECT_FALSE(errors.raised());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&errors, t] {
      for (uint32_t i = 0; i < 100; ++i) {
        errors.RaiseIndexOutOfRange(3 + (i * 7 + t) % 100, int64_t{i} + 1000, 10 + t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(errors.raised());
  EXPECT_EQ(errors.instruction(), 3u);
  EXPECT_EQ(errors.value(), 1000);
  EXPECT_EQ(errors.limit(), 10);
  errors.Clear();
  EXPECT_FALSE(errors.raised());
  errors.RaiseIndexOutOfRange(50, -1, 7);
  EXPECT_EQ(errors.instruction(), 50u);
  EXPECT_EQ(errors.value(), -1);
}

}  // namespace
}  // namespace moai
