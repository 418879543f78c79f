#include "server/layout_table.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

Mesh Grid() { return {{{"data", 2}, {"model", 2}}}; }

TEST(LayoutTableTest, OneDeviceHasOneLayout) {
  LayoutTable table(1);
  EXPECT_EQ(*table.Intern(Layout{}), kOnFirstDevice);
  EXPECT_EQ(*table.Intern(Replicated({{{"data", 1}}})), kOnFirstDevice);
  EXPECT_EQ(ReplicatedLayout(1), kOnFirstDevice);
}

TEST(LayoutTableTest, EqualLayoutsHaveOneNumber) {
  LayoutTable table(4);
  EXPECT_EQ(*table.Intern(OnFirstDevice(Grid())), kOnFirstDevice);
  EXPECT_EQ(*table.Intern(Replicated(Grid())), ReplicatedLayout(4));
  EXPECT_EQ(*table.Intern(Replicated({{{"all", 4}}})), ReplicatedLayout(4));
  Layout rows = Replicated(Grid());
  rows.placement[0] = {.kind = PlacementKind::kShard, .dim = 0, .count = 6};
  const LayoutId id = *table.Intern(rows);
  EXPECT_EQ(*table.Intern(rows), id);
  EXPECT_TRUE(table[id] == rows);
  Layout columns = rows;
  columns.placement[0].dim = 1;
  EXPECT_NE(*table.Intern(columns), id);
  Layout longer = rows;
  longer.placement[0].count = 8;
  EXPECT_NE(*table.Intern(longer), id);
}

TEST(LayoutTableTest, RefusesALayoutOfOtherDevices) {
  LayoutTable table(2);
  Layout layout = Replicated(Grid());
  layout.placement[0] = {.kind = PlacementKind::kShard, .dim = 0, .count = 6};
  EXPECT_EQ(table.Intern(layout).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace moai
