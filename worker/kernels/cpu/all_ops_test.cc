// Every op in every dtype it exists in, through the compiler and the kernels, against the reference
// interpreter. An op or a dtype without a kernel fails here, and so does one that is never drawn.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/op.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_node.h"
#include "gtest/gtest.h"
#include "program/compile.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/graph_parity.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

constexpr int kDrawsPerDtype = 8;

// What one rounding of the result, and a few of f32 on the way, may change.
double Tolerance(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
      return 1e-10;
    case Dtype::kF32:
      return 2e-5;
    case Dtype::kF16:
      return 2e-3;
    case Dtype::kBF16:
      return 1.6e-2;
    default:
      return 0;
  }
}

std::string Describe(const CapturedGraph& captured) {
  std::string text = absl::StrCat(Name(captured.graph.nodes[0].op), "(");
  for (ValueId input : captured.graph.nodes[0].inputs) {
    absl::StrAppend(&text, ToString(captured.types[input]), " ");
  }
  absl::StrAppend(&text, ") attributes");
  for (int32_t attribute : captured.graph.nodes[0].attributes)
    absl::StrAppend(&text, " ", attribute);
  absl::StrAppend(&text, " extents");
  for (int64_t extent : Extents(captured.graph.nodes[0], captured.sizes)) {
    absl::StrAppend(&text, " ", extent);
  }
  return text;
}

// oneDNN divides its work, long sums included, by the size of the team.
bool DependsOnThreads(Op op) {
  return op == Op::kMatmul || op == Op::kConv2d || op == Op::kConv2dGradInput ||
         op == Op::kConv2dGradWeight;
}

BufferKind KindOf(InputKind kind) {
  switch (kind) {
    case InputKind::kSlot:
      return BufferKind::kSlot;
    case InputKind::kValue:
      return BufferKind::kValue;
    case InputKind::kFeed:
      return BufferKind::kFeed;
    case InputKind::kScalar:
      return BufferKind::kScalar;
  }
  return BufferKind::kValue;
}

void CheckGraph(const CapturedGraph& captured, std::mt19937_64& random) {
  SCOPED_TRACE(Describe(captured));
  const std::vector<std::vector<std::byte>> bindings = RandomBindings(captured, random);
  std::vector<ReferenceTensor> reference_bindings;
  for (size_t i = 0; i < bindings.size(); ++i) {
    reference_bindings.push_back(
        ReferenceTensor::FromBytes(captured.types[captured.graph.inputs[i].value], bindings[i]));
  }
  const auto want = Interpret(captured.graph, captured.sizes, reference_bindings);
  ASSERT_TRUE(want.ok()) << want.status();
  std::vector<std::vector<std::byte>> results;

  for (int threads : {2, 1, 3}) {
    SCOPED_TRACE(absl::StrCat(threads, " threads"));
    const DeviceShape device{.threads = threads};
    auto program = CompileProgram(captured.graph, captured.sizes, device);
    ASSERT_TRUE(program.ok()) << program.status();
    auto runner = ProgramRunner::Make(*std::move(program), MakeCpuKernel, device);
    ASSERT_TRUE(runner.ok()) << runner.status();
    for (size_t i = 0; i < bindings.size(); ++i) {
      const Input& input = captured.graph.inputs[i];
      const absl::Span<std::byte> memory = (*runner)->Memory(KindOf(input.kind), input.index);
      if (memory.empty()) continue;
      ASSERT_EQ(memory.size(), bindings[i].size());
      std::memcpy(memory.data(), bindings[i].data(), bindings[i].size());
    }
    const absl::Status ran = (*runner)->Run();
    ASSERT_TRUE(ran.ok()) << ran;
    for (size_t i = 0; i < want->size(); ++i) {
      const TensorType& type = captured.types[captured.graph.outputs[i].value];
      ASSERT_EQ((*want)[i].type, type);
      const absl::Span<std::byte> got = (*runner)->Memory(BufferKind::kOutput, i);
      ASSERT_EQ(got.size(), size_t(type.bytes()));
      if (threads == 2 || DependsOnThreads(captured.graph.nodes[0].op)) {
        EXPECT_EQ(Difference(type, Tolerance(type.dtype), got, (*want)[i]), "") << "output " << i;
        results.emplace_back(got.begin(), got.end());
      } else {
        // The same bits whatever the team.
        ASSERT_TRUE(std::equal(got.begin(), got.end(), results[i].begin())) << "output " << i;
      }
    }
  }
}

class AllOpsTest : public testing::TestWithParam<Op> {};

TEST_P(AllOpsTest, EqualsTheInterpreterInEveryDtype) {
  const Op op = GetParam();
  const std::vector<Dtype> dtypes = DtypesOf(op);
  ASSERT_FALSE(dtypes.empty());
  std::mt19937_64 random(17 + static_cast<int>(op));
  for (Dtype dtype : dtypes) {
    for (int draw = 0; draw < kDrawsPerDtype; ++draw) {
      // Larger than the blocks of most kernels, now and then.
      const int64_t extent = draw % 4 == 3 ? 40 : 7;
      auto captured = RandomNodeGraph(op, dtype, random, {.max_extent = extent});
      ASSERT_TRUE(captured.ok()) << captured.status();
      CheckGraph(*captured, random);
      if (HasFatalFailure() || HasNonfatalFailure()) {
        ADD_FAILURE() << "dtype " << Name(dtype) << ", draw " << draw;
        break;
      }
    }
  }
}

std::vector<Op> EveryOp() {
  std::vector<Op> ops;
  for (const OpEntry& entry : ClientOps()) ops.push_back(entry.op);
  return ops;
}

INSTANTIATE_TEST_SUITE_P(Table, AllOpsTest, testing::ValuesIn(EveryOp()),
                         [](const testing::TestParamInfo<Op>& info) {
                           return std::string(Name(info.param).data(), Name(info.param).size());
                         });

}  // namespace
}  // namespace moai
