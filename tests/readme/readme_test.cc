// The README's program is the one that is built, and prints what the README says it prints.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The text of the fenced block that begins with `fence` at or after `marker`.
std::string Block(const std::string& text, const std::string& marker, const std::string& fence) {
  const size_t at = text.find(marker);
  EXPECT_NE(at, std::string::npos) << marker;
  if (at == std::string::npos) return "";
  const size_t begin = text.find(fence, at) + fence.size();
  return text.substr(begin, text.find("```", begin) - begin);
}

TEST(Readme, ItsProgramIsTheOneThatIsBuilt) {
  EXPECT_EQ(Block(ReadAll("README.md"), "## A program", "```cpp\n"),
            ReadAll("client/examples/first_program.cc"));
}

TEST(Readme, ItsProgramPrintsWhatItSays) {
  FILE* program = popen("client/examples/first_program 2>&1", "r");
  ASSERT_NE(program, nullptr);
  std::string printed;
  char buffer[256];
  while (std::fgets(buffer, sizeof(buffer), program) != nullptr) printed += buffer;
  EXPECT_EQ(pclose(program), 0);
  EXPECT_EQ(Block(ReadAll("README.md"), "It prints", "```\n"), printed);
}

}  // namespace
}  // namespace moai
