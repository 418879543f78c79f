#include "client/cli/flavor_menu.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

const std::vector<std::string> kFlavors = {"Small.64GB", "Medium.128GB", "Large.256GB"};

TEST(FlavorMenuTest, NumbersThePositionsAndMarksTheCurrentOne) {
  EXPECT_EQ(MenuText(kFlavors, "Medium.128GB"),
            "1. Small.64GB\n2. Medium.128GB  *\n3. Large.256GB\n");
}

TEST(FlavorMenuTest, LeavesOutWhatIsNotOffered) {
  proto::ListFlavorsReply reply;
  for (const std::string& name : kFlavors) {
    proto::FlavorDescription* flavor = reply.add_flavors();
    flavor->set_name(name);
    flavor->set_offered(name != "Medium.128GB");
  }
  EXPECT_THAT(OfferedFlavors(reply), testing::ElementsAre("Small.64GB", "Large.256GB"));
}

TEST(FlavorMenuTest, AsksUntilTheAnswerIsOne) {
  std::istringstream in("0\n4\nx\n\n 3 \n1\n");
  std::ostringstream out;
  EXPECT_EQ(AskForFlavor(kFlavors, in, out), "Large.256GB");
  EXPECT_EQ(AskForFlavor(kFlavors, in, out), "Small.64GB");
  const std::string prompt = "Selection (1-3, q, Q): ";
  const std::string again = "Enter a number from 1 to 3, or q to quit.\n";
  EXPECT_EQ(out.str(),
            prompt + again + prompt + again + prompt + again + prompt + again + prompt + prompt);
}

TEST(FlavorMenuTest, EndsWithQAndWithTheInput) {
  for (const char* answer : {"q\n", "Q\n", ""}) {
    std::istringstream in(answer);
    std::ostringstream out;
    EXPECT_EQ(AskForFlavor(kFlavors, in, out), std::nullopt);
  }
}

}  // namespace
}  // namespace moai
