#include "tests/cli/run_command.h"

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const CommandResult& result) {
  return out << "exit code " << result.exit_code << "\n"
             << result.output << "--- errors\n"
             << result.errors;
}

CommandResult RunCommand(const std::string& command,
                         const std::map<std::string, std::string>& environment,
                         const std::string& input) {
  const std::string folder = testing::TempDir();
  const std::string in = absl::StrCat(folder, "/in");
  const std::string out = absl::StrCat(folder, "/out");
  const std::string errors = absl::StrCat(folder, "/errors");
  std::ofstream(in) << input;
  std::string line = "env --unset=MOAI_SERVER --unset=MOAI_TOKEN --unset=MOREH_VISIBLE_DEVICE";
  for (const auto& [name, value] : environment) absl::StrAppend(&line, " ", name, "='", value, "'");
  const bool plans = absl::StartsWith(command, "moai-plan");
  absl::StrAppend(&line, plans ? " tools/plan/" : " client/cli/", command, " <'", in, "' >'", out,
                  "' 2>'", errors, "'");
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(out), ReadAll(errors)};
}

}  // namespace moai
