#include "scheduler/pool.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

DeviceProfile Cpu(int64_t bytes) { return {"cpu", bytes, 1}; }

TEST(PoolTest, SaysWhetherNobodyRegisteredOrEverythingIsInUse) {
  Pool pool;
  EXPECT_EQ(pool.Acquire().status().code(), absl::StatusCode::kUnavailable);
  pool.AddWorker("a", {Cpu(100)});
  ASSERT_TRUE(pool.Acquire().ok());
  EXPECT_EQ(pool.Acquire().status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(PoolTest, LeasesEachDeviceOnceAndTheLargestFirst) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", {Cpu(100), Cpu(300)});
  const uint64_t b = pool.AddWorker("b", {Cpu(200)});
  Lease first = *pool.Acquire();
  EXPECT_EQ(first.worker, a);
  EXPECT_EQ(first.device, 1u);
  EXPECT_EQ(first.profile.memory_bytes, 300);
  EXPECT_EQ((*pool.Acquire()).worker, b);
  EXPECT_EQ((*pool.Acquire()).device, 0u);
  EXPECT_FALSE(pool.Acquire().ok());
  pool.Release(first);
  EXPECT_EQ((*pool.Acquire()).device, 1u);
}

TEST(PoolTest, ForgetsTheLeasesOfARemovedWorker) {
  Pool pool;
  const uint64_t a = pool.AddWorker("a", {Cpu(100)});
  Lease lease = *pool.Acquire();
  pool.RemoveWorker(a);
  const uint64_t b = pool.AddWorker("b", {Cpu(100)});
  EXPECT_NE(a, b);
  ASSERT_EQ((*pool.Acquire()).worker, b);
  pool.Release(lease);  // of the old worker: must not free b's device
  EXPECT_FALSE(pool.Acquire().ok());
}

TEST(PoolTest, NamesFlavorsByTheirMemory) {
  EXPECT_EQ(FlavorName(Cpu(int64_t{4} << 30)), "Local.4GB");
  EXPECT_EQ(FlavorName(Cpu(int64_t{512} << 20)), "Local.512MB");
}

}  // namespace
}  // namespace moai
