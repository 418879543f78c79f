// Fused kernels against the reference interpreter: chains, reductions, views, broadcasts, in-place
// slots, empty tensors.
#include <cstring>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/builder.h"
#include "graph/op.h"
#include "graph/testing/random_bindings.h"
#include "gtest/gtest.h"
#include "worker/kernels/cpu/tile_kernel.h"
#include "worker/kernels/testing/graph_parity.h"

namespace moai {
namespace {

absl::StatusOr<std::unique_ptr<Kernel>> OnlyTiles(const Program& program, uint32_t index,
                                                  const DeviceShape& device) {
  if (program.instructions[index].fused >= 0) return MakeTileKernel(program, index, device);
  return absl::UnimplementedError("not a fused instruction");
}

void CheckGraph(const CapturedGraph& captured, std::mt19937_64& random) {
  const absl::Status status = CheckAgainstInterpreter(captured, OnlyTiles, random);
  EXPECT_TRUE(status.ok()) << status;
}

std::vector<TensorBytes> RunProgram(const CapturedGraph& captured,
                                    const std::vector<TensorBytes>& bindings,
                                    const DeviceShape& device) {
  auto outputs = RunGraph(captured, bindings, OnlyTiles, device);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? *std::move(outputs) : std::vector<TensorBytes>();
}

bool RunsInTiles(const OpEntry& entry) {
  switch (entry.op_class) {
    case OpClass::kPointwise:
    case OpClass::kView:
    case OpClass::kCreate:
      return true;
    case OpClass::kReduce:
      return entry.op != Op::kArgmax && entry.op != Op::kArgmin;
    default:
      return entry.op == Op::kTril || entry.op == Op::kTriu;
  }
}

std::vector<Op> TileOps() {
  std::vector<Op> ops;
  for (const OpEntry& entry : ClientOps()) {
    if (RunsInTiles(entry)) ops.push_back(entry.op);
  }
  return ops;
}

TEST(TileTest, RandomProgramsEqualTheInterpreter) {
  const absl::Status status =
      CheckRandomGraphs(600, 1, {.nodes = 24, .max_extent = 6, .ops = TileOps()}, OnlyTiles);
  EXPECT_TRUE(status.ok()) << status;
}

TEST(TileTest, RandomProgramsOnLargerTensors) {
  const absl::Status status =
      CheckRandomGraphs(60, 2, {.nodes = 12, .max_extent = 40, .ops = TileOps()}, OnlyTiles);
  EXPECT_TRUE(status.ok()) << status;
}

// ---- Sizes that cross tiles, chunks and threads -------------------------------------------------

struct ReductionCase {
  Shape shape;
  std::vector<int32_t> axes;
};

CapturedGraph ReduceGraph(const ReductionCase& c, Dtype dtype) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, {dtype, c.shape});
  const ValueId y = builder.AddInput(InputKind::kFeed, 1, {dtype, c.shape});
  const ValueId product = *builder.AddNode(Op::kMul, {x, y});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceSum, {product}, c.axes));
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceMax, {product}, c.axes));
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceMean, {x}, c.axes));
  return builder.Finish();
}

const ReductionCase kReductions[] = {
    {{3, 5000}, {1}},       {{5000, 3}, {0}},       {{300, 257}, {0}},      {{300, 257}, {1}},
    {{100000}, {0}},        {{7, 130, 33}, {0, 2}}, {{7, 130, 33}, {1}},    {{1, 9000, 1}, {1}},
    {{4, 9, 5, 8}, {1, 3}}, {{3000, 7}, {1}},       {{2, 3000, 5}, {2}},    {{0, 5}, {0}},
    {{5, 0}, {0}},          {{600, 1, 40}, {0, 1}}, {{2, 2, 300, 11}, {2}},
};

TEST(TileTest, ReductionsOfAllForms) {
  std::mt19937_64 random(4);
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF64, Dtype::kBF16}) {
    for (const ReductionCase& c : kReductions) {
      SCOPED_TRACE(absl::StrCat(Name(dtype), ToString(c.shape)));
      CheckGraph(ReduceGraph(c, dtype), random);
    }
  }
}

TEST(TileTest, TheSameBitsWhateverTheThreads) {
  std::mt19937_64 random(5);
  for (const ReductionCase& c : kReductions) {
    const CapturedGraph captured = ReduceGraph(c, Dtype::kF32);
    const std::vector<TensorBytes> bindings = RandomBindings(captured, random);
    const std::vector<TensorBytes> one = RunProgram(captured, bindings, {.threads = 1});
    for (const int threads : {2, 3, 8}) {
      EXPECT_EQ(RunProgram(captured, bindings, {.threads = threads}), one) << ToString(c.shape);
    }
  }
}

// The error of a sum stays near one rounding, however many elements it has.
TEST(TileTest, LongSumsAreAccurate) {
  constexpr int64_t kCount = 1 << 22;
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, {kCount}});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kReduceSum, {x}, {0}));
  const CapturedGraph captured = builder.Finish();
  std::mt19937_64 random(6);
  TensorBytes bytes(kCount * sizeof(float));
  double sum = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const float value = static_cast<float>(random() % 1000) * 0.001f;
    std::memcpy(bytes.data() + i * sizeof(float), &value, sizeof(float));
    sum += value;
  }
  const std::vector<TensorBytes> got = RunProgram(captured, {bytes}, {.threads = 2});
  EXPECT_NEAR(LoadElement(Dtype::kF32, got[0].data()) / sum, 1, 2e-7);
}

// ---- In place -----------------------------------------------------------------------------------

TEST(TileTest, OptimizerUpdatesInPlaceOverManyTiles) {
  for (const Dtype gradient : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
    GraphBuilder builder;
    const Shape shape = {123, 321};
    std::vector<ValueId> inputs = {builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, shape}),
                                   builder.AddInput(InputKind::kFeed, 0, {gradient, shape}),
                                   builder.AddInput(InputKind::kSlot, 1, {Dtype::kF32, shape}),
                                   builder.AddInput(InputKind::kSlot, 2, {Dtype::kF32, shape})};
    for (int i = 0; i < 8; ++i) inputs.push_back(builder.AddScalar(Dtype::kF32));
    const ValueId updated = *builder.AddNode(Op::kAdamW, inputs);
    for (uint32_t i = 0; i < 3; ++i) builder.AddOutput(OutputKind::kSlot, updated + i, i);
    std::mt19937_64 random(7);
    CheckGraph(builder.Finish(), random);
  }
}

TEST(TileTest, StridedOperands) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, {33, 130, 5}});
  const ValueId bias = builder.AddInput(InputKind::kFeed, 1, {Dtype::kF32, {130}});
  const ValueId turned = *builder.AddNode(Op::kTranspose, {x}, {1, 2, 0});
  const ValueId flipped = *builder.AddNode(Op::kFlip, {turned}, {0, 2});
  const ValueId part = *builder.AddNode(Op::kSlice, {flipped}, {}, {3, 130, 2, 1, 5, 1, 0, 33, 3});
  const ValueId few = *builder.AddNode(Op::kSlice, {bias}, {}, {3, 130, 2});
  const ValueId wide = *builder.AddNode(Op::kBroadcast, {few}, {3, 0}, {64, 4, 11});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kAdd, {part, wide}));
  builder.AddOutput(OutputKind::kValue, flipped);
  std::mt19937_64 random(8);
  CheckGraph(builder.Finish(), random);
}

}  // namespace
}  // namespace moai
