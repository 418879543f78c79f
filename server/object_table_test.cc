#include "server/object_table.h"

#include "gtest/gtest.h"
#include "program/allocation.h"

namespace moai {
namespace {

TensorType Floats(int64_t n) { return {Dtype::kF32, Shape{n}}; }

TEST(ObjectTableTest, CountsLiveBytes) {
  const LayoutTable layouts(1);
  ObjectTable table(&layouts);
  table.Put(1, Floats(10000));
  table.Put(2, Floats(1));
  EXPECT_EQ(table.live_bytes(0), AllocatedBytes(40000) + AllocatedBytes(4));
  table.Put(1, Floats(10));
  EXPECT_EQ(table.live_bytes(0), AllocatedBytes(40) + AllocatedBytes(4));
  table.PutPoisoned(2, absl::InternalError("bad"));
  EXPECT_EQ(table.live_bytes(0), AllocatedBytes(40));
  table.Erase(1);
  table.Erase(1);
  EXPECT_EQ(table.live_bytes(0), 0);
}

TEST(ObjectTableTest, CountsEachDevicesPart) {
  LayoutTable layouts(2);
  Layout halves = Replicated({{{"data", 2}}});
  halves.placement[0] = {.kind = PlacementKind::kShard, .dim = 0, .count = 2001};
  ObjectTable table(&layouts);
  table.Put(1, Floats(2001), *layouts.Intern(halves));
  EXPECT_EQ(table.live_bytes(0), AllocatedBytes(1001 * 4));
  EXPECT_EQ(table.live_bytes(1), AllocatedBytes(1000 * 4));
  table.Put(2, Floats(10));  // an upload: the other device has an empty tensor
  EXPECT_EQ(table.live_bytes(0), AllocatedBytes(1001 * 4) + AllocatedBytes(40));
  EXPECT_EQ(table.live_bytes(1), AllocatedBytes(1000 * 4) + AllocatedBytes(0));
  table.MarkSlot(1);
  const uint64_t version = table.slots_version();
  table.Put(3, Floats(2001), ReplicatedLayout(2));
  table.Rename(3, 1);
  EXPECT_NE(table.slots_version(), version);
  EXPECT_TRUE(table.Find(1)->is_slot);
  EXPECT_FALSE(table.Contains(3));
  EXPECT_EQ(table.live_bytes(1), AllocatedBytes(2001 * 4) + AllocatedBytes(0));
  table.EraseRange(1, 3);
  EXPECT_EQ(table.live_bytes(0), 0);
  EXPECT_EQ(table.live_bytes(1), 0);
}

TEST(ObjectTableTest, ErasesRangesOfAnyLength) {
  const LayoutTable layouts(1);
  ObjectTable table(&layouts);
  for (uint64_t id = 1; id <= 100; ++id) table.Put(id, Floats(1));
  table.EraseRange(10, 5);
  EXPECT_EQ(table.size(), 95u);
  EXPECT_EQ(table.Find(14), nullptr);
  EXPECT_NE(table.Find(15), nullptr);
  table.EraseRange(50, ~uint64_t{0});  // wraps around
  EXPECT_EQ(table.size(), 0u + (table.Find(49) != nullptr ? 1 : 0));
  table.EraseRange(0, ~uint64_t{0});
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.live_bytes(0), 0);
}

TEST(ObjectTableTest, TheSlotsVersionChangesWhereSlotsDo) {
  const LayoutTable layouts(1);
  ObjectTable table(&layouts);
  table.Put(1, Floats(4));
  table.Put(2, Floats(4));
  table.MarkSlot(1);
  const uint64_t version = table.slots_version();
  table.Put(1, Floats(4));  // the same type again
  table.Erase(2);           // no slot
  EXPECT_EQ(table.slots_version(), version);
  table.Put(1, Floats(5));
  EXPECT_NE(table.slots_version(), version);
  const uint64_t changed = table.slots_version();
  table.Erase(1);
  EXPECT_NE(table.slots_version(), changed);
}

}  // namespace
}  // namespace moai
