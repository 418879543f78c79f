// Mutated graphs: no crash, errors that name the field, and enough that still verify. Draws few by
// default; the long run sets MOAI_HOSTILE_MESSAGES=1000000, under --config=asan.
#include <gtest/gtest.h>

#include <iostream>

#include "graph/testing/hostile.h"

namespace moai {
namespace {

TEST(HostileGraphTest, MutatedGraphsGiveErrorsThatNameTheField) {
  const HostileReport report = RunHostile(GraphTarget(), HostileMessages(20000), HostileSeed());
  std::cout << "target=graph messages=" << report.messages << " passed=" << report.passed
            << " unnamed=" << report.unnamed << std::endl;
  EXPECT_EQ(report.unnamed, 0) << report.first_unnamed;
  EXPECT_GE(report.passed * 5, report.messages) << "too few mutations pass verification";
  EXPECT_LE(report.passed * 5, report.messages * 4) << "mutations are too harmless";
}

}  // namespace
}  // namespace moai
