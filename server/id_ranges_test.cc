#include "server/id_ranges.h"

#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

proto::Release Ranges(const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
  proto::Release message;
  for (const auto& [first, count] : ranges) {
    proto::IdRange* range = message.add_ids();
    range->set_first(first);
    range->set_count(count);
  }
  return message;
}

TEST(IdRangesTest, WhatIsJoinedComesApartAgain) {
  const std::vector<uint64_t> ids = {7, 8, 9, 3, 20, 21, 21};
  proto::Release message;
  AppendRanges(ids, message.mutable_ids());
  EXPECT_EQ(message.ids_size(), 4);
  std::vector<uint64_t> again;
  AppendIds(message.ids(), ids.size(), again);
  EXPECT_EQ(again, ids);
}

TEST(IdRangesTest, NoMoreIdsThanAskedFor) {
  constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();
  std::vector<uint64_t> ids = {1};
  AppendIds(Ranges({{5, 0}, {5, 2}, {9, kAll}, {9, kAll}}).ids(), 3, ids);
  EXPECT_THAT(ids, ElementsAre(1, 5, 6, 9));
  ids.clear();
  AppendIds(Ranges({{5, kAll}}).ids(), 0, ids);
  EXPECT_THAT(ids, IsEmpty());
}

}  // namespace
}  // namespace moai
