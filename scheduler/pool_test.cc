#include "scheduler/pool.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

DeviceProfile Cpu(int64_t bytes) { return {"cpu", bytes, 1}; }

std::vector<DeviceProfile> Cpus(size_t count, int64_t bytes) {
  return std::vector<DeviceProfile>(count, Cpu(bytes));
}

TEST(PoolTest, SaysWhetherNobodyRegisteredOrEverythingIsInUse) {
  Pool pool;
  EXPECT_EQ(pool.Acquire(1).status().code(), absl::StatusCode::kUnavailable);
  pool.AddWorker("a", {Cpu(100)});
  ASSERT_TRUE(pool.Acquire(1).ok());
  EXPECT_EQ(pool.Acquire(1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(pool.Acquire(1).status().message(),
              HasSubstr("every device of this server is in use"));
  EXPECT_THAT(pool.Acquire(2).status().message(), HasSubstr("needs 2 devices; this server has 1"));
}

TEST(PoolTest, LeasesEachDeviceOnceAndTheLargestFirst) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", {Cpu(100), Cpu(300)});
  const uint64_t b = pool.AddWorker("b", {Cpu(200)});
  const std::vector<Lease> first = *pool.Acquire(1);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].worker, a);
  EXPECT_EQ(first[0].device, 1u);
  EXPECT_EQ(first[0].profile.memory_bytes, 300);
  EXPECT_EQ((*pool.Acquire(1))[0].worker, b);
  EXPECT_EQ((*pool.Acquire(1))[0].device, 0u);
  EXPECT_FALSE(pool.Acquire(1).ok());
  pool.Release(first);
  EXPECT_EQ((*pool.Acquire(1))[0].device, 1u);
}

TEST(PoolTest, KeepsASessionsDevicesTogether) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", Cpus(2, 100));
  const uint64_t b = pool.AddWorker("b", Cpus(4, 100));
  // The first worker that is enough by itself.
  const std::vector<Lease> two = *pool.Acquire(2);
  EXPECT_EQ(two[0].worker, a);
  EXPECT_EQ(two[1].worker, a);
  EXPECT_EQ(two[1].device, 1u);
  const std::vector<Lease> three = *pool.Acquire(3);
  EXPECT_EQ(three[0].worker, b);
  EXPECT_EQ(three[2].worker, b);
  pool.Release(two);
  EXPECT_EQ((*pool.Acquire(3)).size(), 3u);  // over both: 2 of a, 1 of b
}

TEST(PoolTest, OrdersASessionsDevicesByWorker) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", Cpus(1, 100));
  const uint64_t b = pool.AddWorker("b", Cpus(2, 100));
  const std::vector<Lease> all = *pool.Acquire(3);
  EXPECT_EQ(all[0].worker, a);
  EXPECT_EQ(all[1].worker, b);
  EXPECT_EQ(all[1].device, 0u);
  EXPECT_EQ(all[2].device, 1u);
}

TEST(PoolTest, PrefersDevicesThatAreAlike) {
  Pool pool;
  pool.AddWorker("a", {Cpu(300), Cpu(100), Cpu(100)});
  const std::vector<Lease> two = *pool.Acquire(2);
  EXPECT_EQ(two[0].profile.memory_bytes, 100);
  EXPECT_EQ(two[1].profile.memory_bytes, 100);
  pool.Release(two);
  EXPECT_EQ((*pool.Acquire(3)).size(), 3u);  // no other way
}

TEST(PoolTest, LeasesDevicesOfEnoughMemoryOnly) {
  Pool pool;
  pool.AddWorker("a", {Cpu(100), Cpu(300)});
  EXPECT_THAT(pool.Acquire(2, 200).status().message(),
              HasSubstr("needs 2 devices of 200 bytes; this server has 1"));
  EXPECT_EQ((*pool.Acquire(1, 200))[0].device, 1u);
  EXPECT_THAT(pool.Acquire(2).status().message(), HasSubstr("of the 2 of this server 1 are free"));
}

TEST(PoolTest, ForgetsTheLeasesOfARemovedWorker) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", {Cpu(100)});
  const std::vector<Lease> lease = *pool.Acquire(1);
  pool.RemoveWorker(a);
  const uint64_t b = pool.AddWorker("b", {Cpu(100)});
  EXPECT_NE(a, b);
  ASSERT_EQ((*pool.Acquire(1))[0].worker, b);
  pool.Release(lease);  // of the old worker: must not free b's device
  EXPECT_FALSE(pool.Acquire(1).ok());
}

}  // namespace
}  // namespace moai
