// Where a program's time goes, instruction by instruction. Off unless the environment of the worker
// names a file in MOAI_PROFILE: each program then keeps the file `<MOAI_PROFILE>.<pid>.<number>` up
// to date, with a line for each instruction, slowest first, and the program's text below.
#ifndef MOAI_WORKER_EXECUTOR_STEP_PROFILE_H_
#define MOAI_WORKER_EXECUTOR_STEP_PROFILE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "program/program.h"

namespace moai {

// Not synchronised. `program` outlives it.
class StepProfile {
 public:
  // Null where profiling is off.
  static std::unique_ptr<StepProfile> Make(const Program& program);
  ~StepProfile() { Write(); }
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  void BeginStep();
  // Everything since the last call, or since BeginStep, was spent on this instruction: of one that
  // goes on beside others, on waiting for it. Once a step for each.
  void Ran(size_t instruction);
  // Writes the file after step 1, 2, 4, 8 and so on, so that a killed process leaves one too.
  void EndStep();

 private:
  struct Clocks {
    double wall = 0, cpu = 0;  // seconds; of all threads of the process
  };
  struct Times {
    Clocks total, least;
  };
  static Clocks Now();

  StepProfile(const Program& program, std::string path);
  void Write() const;

  const Program& program_;
  const std::string path_;
  std::vector<Times> times_;
  Clocks last_;
  int64_t steps_ = 0;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_STEP_PROFILE_H_
