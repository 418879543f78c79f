#include "server/jobs.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::chrono::seconds kPatience(30);

Job MakeJob(uint64_t id, uint32_t device, std::string identity = "") {
  return {.id = id, .identity = std::move(identity), .virtual_device = device};
}

TEST(JobsTest, KnowWhatRunsWhere) {
  Jobs jobs;
  EXPECT_FALSE(jobs.Runs("", 0));
  auto meter = std::make_shared<UseMeter>();
  meter->Note({10, 20}, false, std::chrono::steady_clock::now());
  jobs.Add(MakeJob(7, 1), meter, nullptr, [] {});
  EXPECT_TRUE(jobs.Runs("", 1));
  EXPECT_FALSE(jobs.Runs("", 0));
  EXPECT_FALSE(jobs.Runs("ada", 1));
  ASSERT_EQ(jobs.List().size(), 1u);
  EXPECT_EQ(jobs.List()[0].job.id, 7u);
  EXPECT_THAT(jobs.List()[0].use.memory_bytes, ElementsAre(10, 20));
  jobs.Remove(7);
  EXPECT_THAT(jobs.List(), IsEmpty());
}

TEST(JobsTest, StopEndsThoseOfOneDeviceAndWaits) {
  Jobs jobs;
  const auto meter = std::make_shared<UseMeter>();
  std::thread ends;
  jobs.Add(MakeJob(1, 0), meter, nullptr, [&] { jobs.Remove(1); });
  jobs.Add(MakeJob(2, 0), meter, nullptr, [&] { ends = std::thread([&] { jobs.Remove(2); }); });
  jobs.Add(MakeJob(3, 1), meter, nullptr, [] { ADD_FAILURE() << "another device"; });
  jobs.Add(MakeJob(4, 0, "ada"), meter, nullptr, [] { ADD_FAILURE() << "another identity"; });
  EXPECT_THAT(jobs.Stop("", 0, kPatience), ElementsAre(1, 2));
  ends.join();
  EXPECT_THAT(jobs.Stop("", 0, kPatience), IsEmpty());
}

TEST(JobsTest, StopDoesNotClaimWhatDoesNotEnd) {
  Jobs jobs;
  jobs.Add(MakeJob(1, 0), std::make_shared<UseMeter>(), nullptr, [] {});
  EXPECT_THAT(jobs.Stop("", 0, std::chrono::milliseconds(1)), IsEmpty());
  EXPECT_TRUE(jobs.Runs("", 0));
}

}  // namespace
}  // namespace moai
