// Runs moreh-switch-model and moreh-smi as a person would.
#ifndef MOAI_TESTS_CLI_RUN_COMMAND_H_
#define MOAI_TESTS_CLI_RUN_COMMAND_H_

#include <map>
#include <ostream>
#include <string>

namespace moai {

struct CommandResult {
  int exit_code = -1;
  std::string output;  // standard output
  std::string errors;  // standard error
};

inline bool operator==(const CommandResult& a, const CommandResult& b) {
  return a.exit_code == b.exit_code && a.output == b.output && a.errors == b.errors;
}
std::ostream& operator<<(std::ostream& out, const CommandResult& result);

// `command` is a shell's line that begins with a program of client/cli; `environment` is all that
// it sees of MOAI_ and MOREH_ variables; `input` is what the person types.
CommandResult RunCommand(const std::string& command,
                         const std::map<std::string, std::string>& environment,
                         const std::string& input = "");

}  // namespace moai

#endif  // MOAI_TESTS_CLI_RUN_COMMAND_H_
