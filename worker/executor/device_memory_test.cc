#include "worker/executor/device_memory.h"

#include <cstring>

#include "gtest/gtest.h"
#include "program/allocation.h"

namespace moai {
namespace {

TEST(DeviceMemoryTest, CountsWhatItGivesOut) {
  DeviceMemory memory(1 << 20);
  int64_t expected = 0;
  std::vector<std::pair<std::byte*, int64_t>> regions;
  for (int64_t bytes : {0, 1, 64, 65, 2048, 2049, 4096, 100000}) {
    auto address = memory.Allocate(bytes);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*address) % 64, 0u);
    memset(*address, 0xab, size_t(bytes));
    expected += AllocatedBytes(bytes);
    EXPECT_EQ(memory.in_use(), expected);
    regions.push_back({*address, bytes});
  }
  for (auto [address, bytes] : regions) memory.Free(address, bytes);
  EXPECT_EQ(memory.in_use(), 0);
  EXPECT_EQ(memory.peak(), expected);
}

TEST(DeviceMemoryTest, RefusesOverTheLimitAndGivesAllOfIt) {
  DeviceMemory memory(64 << 10);
  auto all = memory.Allocate(64 << 10);
  ASSERT_TRUE(all.ok());
  auto more = memory.Allocate(1);
  EXPECT_EQ(more.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(more.status().message().find("0 of 65536"), std::string::npos) << more.status();
  memory.Free(*all, 64 << 10);
  auto again = memory.Allocate(64 << 10);
  EXPECT_TRUE(again.ok());
  memory.Free(*again, 64 << 10);
}

TEST(DeviceMemoryTest, GivesFreedRegionsOutAgain) {
  DeviceMemory memory(1 << 20);
  std::byte* first = *memory.Allocate(8192);
  memory.Free(first, 8192);
  std::byte* second = *memory.Allocate(8192);
  EXPECT_EQ(first, second);
  memory.Free(second, 8192);
}

TEST(DeviceMemoryTest, KeepsNoMoreThanThePeak) {
  // One size after another: what is kept of earlier sizes must go, or the sum would grow.
  DeviceMemory memory(int64_t{1} << 30);
  for (int64_t pages = 1; pages < 2000; ++pages) {
    std::byte* region = *memory.Allocate(pages * 4096);
    memory.Free(region, pages * 4096);
    ASSERT_LE(memory.kept(), memory.peak());
  }
  // Small allocations make room as well.
  std::byte* small = *memory.Allocate(64);
  EXPECT_LE(memory.kept() + memory.in_use(), memory.peak());
  memory.Free(small, 64);
  EXPECT_EQ(memory.peak(), 1999 * 4096);
  EXPECT_EQ(memory.in_use(), 0);
}

}  // namespace
}  // namespace moai
