// What the server predicted of each execution of a program, and what the executors counted, read
// from the log of a cluster whose server and workers log at debug level.
#ifndef MOAI_TESTS_END_TO_END_STEP_ACCOUNTS_H_
#define MOAI_TESTS_END_TO_END_STEP_ACCOUNTS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai {

struct CountedSteps {
  int64_t executions = 0;                // of all devices together
  std::map<std::string, int64_t> calls;  // of collectives, by kind
  std::map<std::string, int64_t> bytes;  // that they sent
  std::map<int, int64_t> peak;  // by rank: objects and temporaries of the step with most of them
};

// Every execution that ran took the memory and sent the bytes that were predicted for it, on every
// device, in the order in which they were sent. Internal names the first that did not;
// FailedPrecondition where nothing was logged.
absl::StatusOr<CountedSteps> CompareWithPlan(absl::string_view log);

}  // namespace moai

#endif  // MOAI_TESTS_END_TO_END_STEP_ACCOUNTS_H_
