// Tensors without elements: their other extents may be huge, and no kernel may loop over them. A
// kernel that does keeps these tests from ending.
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/op.h"
#include "gtest/gtest.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

constexpr int64_t kHuge = int64_t{1} << 43;
constexpr DeviceShape kDevice{.threads = 2};

TEST(NoElementsTest, NothingIsDoneForThem) {
  const TensorType rows{Dtype::kF32, {kHuge, 0}}, heads{Dtype::kF32, {1, 2, kHuge, 0}};
  const TensorType angles{Dtype::kF32, {2, 0}}, line{Dtype::kF32, {kHuge, 3, 0}};
  const TensorType no_ids{Dtype::kI64, {kHuge, 0}};
  const std::vector<InstructionSpec> specs = {
      {Op::kRotary, {heads, angles, angles}, {heads}, {0}, {}, {}},
      {Op::kSoftmax, {rows}, {rows}, {}, {}, {}},
      {Op::kCumsum, {line}, {line}, {1}, {}, {}},
      {Op::kConcat, {line, line}, {{Dtype::kF32, {kHuge, 6, 0}}}, {1}, {}, {}},
      {Op::kScatterAdd, {rows, no_ids, rows}, {rows}, {1}, {}, {}},
  };
  for (const InstructionSpec& spec : specs) {
    SCOPED_TRACE(Name(spec.op));
    auto runner =
        ProgramRunner::Make(MakeInstructionProgram(spec, kDevice), MakeCpuKernel, kDevice);
    ASSERT_TRUE(runner.ok()) << runner.status();
    EXPECT_EQ((*runner)->Run(), absl::OkStatus());
  }
}

TEST(NoElementsTest, PositionsAreCheckedAllTheSame) {
  const TensorType x{Dtype::kF32, {kHuge, 5, 0}}, ids{Dtype::kI64, {3}};
  const TensorType rows{Dtype::kF32, {kHuge, 3, 0}};
  const std::vector<InstructionSpec> specs = {
      {Op::kIndexSelect, {x, ids}, {rows}, {1}, {}, {}},
      {Op::kIndexAdd, {x, ids, rows}, {x}, {1}, {}, {}},
  };
  for (const InstructionSpec& spec : specs) {
    SCOPED_TRACE(Name(spec.op));
    auto runner =
        ProgramRunner::Make(MakeInstructionProgram(spec, kDevice), MakeCpuKernel, kDevice);
    ASSERT_TRUE(runner.ok()) << runner.status();
    const absl::Span<std::byte> memory = (*runner)->Memory(BufferKind::kValue, 1);
    for (const int64_t last : {4, 5}) {
      const int64_t positions[] = {0, 0, last};
      std::memcpy(memory.data(), positions, sizeof(positions));
      const absl::Status ran = (*runner)->Run();
      EXPECT_EQ(ran.ok(), last < 5) << ran;
      EXPECT_THAT(std::string(ran.message()), testing::HasSubstr(last < 5 ? "" : "5 is outside"));
    }
  }
}

}  // namespace
}  // namespace moai
