// Positions are data: one out of range raises the step's error, and no kernel reads or writes
// outside its operands.
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/op.h"
#include "gtest/gtest.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

struct IndexedCase {
  InstructionSpec spec;
  int ids;        // which input holds positions
  int64_t limit;  // they must be below
};

std::vector<IndexedCase> CasesFor(Dtype ids) {
  const TensorType x{Dtype::kF32, {5, 4}}, one{ids, {3}}, column{ids, {3, 4}};
  const TensorType rows{Dtype::kF32, {3, 4}}, statistic{Dtype::kF32, {3}};
  return {
      {{Op::kIndexSelect, {x, one}, {rows}, {0}, {}, {}}, 1, 5},
      {{Op::kIndexAdd, {x, one, rows}, {x}, {0}, {}, {}}, 1, 5},
      {{Op::kGather, {x, column}, {rows}, {0}, {}, {}}, 1, 5},
      {{Op::kScatter, {x, column, rows}, {x}, {0}, {}, {}}, 1, 5},
      {{Op::kScatterAdd, {x, column, rows}, {x}, {0}, {}, {}}, 1, 5},
      {{Op::kEmbedding, {x, one}, {rows}, {}, {}, {}}, 1, 5},
      {{Op::kEmbeddingGrad, {one, rows}, {x}, {1}, {}, {5}}, 0, 5},
      {{Op::kEmbedding, {x, one}, {rows}, {}, {}, {3, 9}}, 1, 9},
      {{Op::kEmbeddingGrad, {one, rows}, {x}, {1}, {}, {5, 3, 9}}, 0, 9},
      {{Op::kCrossEntropy, {rows, one}, {statistic, statistic}, {-100}, {}, {}}, 1, 4},
      {{Op::kCrossEntropyGrad, {rows, one, statistic, statistic}, {rows}, {-100}, {}, {}}, 1, 4},
  };
}

void WriteIds(const TensorType& type, int64_t bad, absl::Span<std::byte> memory) {
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    const int64_t id = i == type.shape.elements() / 2 ? bad : i % 3;
    if (type.dtype == Dtype::kI64) {
      std::memcpy(memory.data() + 8 * i, &id, 8);
    } else {
      const int32_t narrow = static_cast<int32_t>(id);
      std::memcpy(memory.data() + 4 * i, &narrow, 4);
    }
  }
}

TEST(BadIndexTest, EveryCheckedOpRaisesTheError) {
  const DeviceShape device{.threads = 2};
  for (Dtype ids : {Dtype::kI32, Dtype::kI64}) {
    for (const IndexedCase& c : CasesFor(ids)) {
      SCOPED_TRACE(Name(c.spec.op));
      auto runner =
          ProgramRunner::Make(MakeInstructionProgram(c.spec, device), MakeCpuKernel, device);
      ASSERT_TRUE(runner.ok()) << runner.status();
      for (size_t i = 0; i < c.spec.inputs.size(); ++i) {
        const absl::Span<std::byte> memory = (*runner)->Memory(BufferKind::kValue, i);
        std::memset(memory.data(), 0, memory.size());
      }
      const absl::Span<std::byte> memory = (*runner)->Memory(BufferKind::kValue, c.ids);
      const TensorType& type = c.spec.inputs[c.ids];
      WriteIds(type, c.limit - 1, memory);
      EXPECT_EQ((*runner)->Run(), absl::OkStatus());
      std::vector<int64_t> bad = {c.limit, -1, std::numeric_limits<int32_t>::min(),
                                  std::numeric_limits<int32_t>::max()};
      if (ids == Dtype::kI64) {
        bad.push_back(std::numeric_limits<int64_t>::min());
        bad.push_back(std::numeric_limits<int64_t>::max());
      }
      for (int64_t id : bad) {
        WriteIds(type, id, memory);
        const absl::Status ran = (*runner)->Run();
        EXPECT_EQ(ran.code(), absl::StatusCode::kInvalidArgument) << id << ": " << ran;
        EXPECT_THAT(std::string(ran.message()),
                    testing::HasSubstr(std::to_string(id) + " is outside [0, " +
                                       std::to_string(c.limit) + ")"));
      }
    }
  }
}

TEST(BadIndexTest, TheIgnoredLabelIsNoError) {
  const DeviceShape device{.threads = 1};
  const TensorType logits{Dtype::kF32, {2, 3}}, labels{Dtype::kI64, {2}}, loss{Dtype::kF32, {2}};
  auto runner = ProgramRunner::Make(
      MakeInstructionProgram({Op::kCrossEntropy, {logits, labels}, {loss, loss}, {-100}, {}, {}},
                             device),
      MakeCpuKernel, device);
  ASSERT_TRUE(runner.ok()) << runner.status();
  std::memset((*runner)->Memory(BufferKind::kValue, 0).data(), 0, logits.bytes());
  const int64_t ids[2] = {-100, 1};
  std::memcpy((*runner)->Memory(BufferKind::kValue, 1).data(), ids, sizeof(ids));
  ASSERT_EQ((*runner)->Run(), absl::OkStatus());
  float losses[2];
  std::memcpy(losses, (*runner)->Memory(BufferKind::kOutput, 0).data(), sizeof(losses));
  EXPECT_EQ(losses[0], 0);
  EXPECT_NEAR(losses[1], 1.0986123, 1e-6);
}

}  // namespace
}  // namespace moai
