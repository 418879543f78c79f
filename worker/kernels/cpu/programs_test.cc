// Whole random programs of all ops, compiled and run, against the reference interpreter.
#include "gtest/gtest.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/graph_parity.h"

namespace moai {
namespace {

TEST(ProgramsTest, RandomProgramsEqualTheInterpreter) {
  const absl::Status status =
      CheckRandomGraphs(300, 3, {.nodes = 24, .max_extent = 5}, MakeCpuKernel);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace moai
