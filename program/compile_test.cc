#include "program/compile.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/builder.h"
#include "graph/infer.h"
#include "graph/testing/random_graph.h"
#include "gtest/gtest.h"
#include "program/collective_bytes.h"
#include "program/explain.h"
#include "program/program_checker.h"
#include "program/transfer_runs.h"

namespace moai {
namespace {

// A graph under construction that fails the test where a node is refused.
class Recorder {
 public:
  ValueId Slot(uint32_t index, const Shape& shape, Dtype dtype = Dtype::kF32) {
    return builder_.AddInput(InputKind::kSlot, index, {dtype, shape});
  }
  ValueId Feed(uint32_t index, const Shape& shape, Dtype dtype = Dtype::kF32) {
    return builder_.AddInput(InputKind::kFeed, index, {dtype, shape});
  }
  ValueId Scalar(Dtype dtype = Dtype::kF32) { return builder_.AddScalar(dtype); }

  ValueId Node(Op op, absl::Span<const ValueId> inputs, absl::Span<const int32_t> attributes = {},
               absl::Span<const int64_t> extents = {}) {
    const absl::StatusOr<ValueId> value = builder_.AddNode(op, inputs, attributes, extents);
    EXPECT_TRUE(value.ok()) << value.status();
    return value.ok() ? *value : 0;
  }
  void Value(ValueId value) { builder_.AddOutput(OutputKind::kValue, value); }
  void Replace(uint32_t slot, ValueId value) { builder_.AddOutput(OutputKind::kSlot, value, slot); }

  // Compiles and checks.
  Program Compile() {
    captured_ = builder_.Finish();
    absl::StatusOr<Program> program = CompileProgram(captured_.graph, captured_.sizes, {});
    EXPECT_TRUE(program.ok()) << program.status();
    if (!program.ok()) return {};
    const absl::Status status = CheckProgram(captured_.graph, *program);
    EXPECT_TRUE(status.ok()) << status << "\n" << Explain(*program);
    return *std::move(program);
  }

 private:
  GraphBuilder builder_;
  CapturedGraph captured_;
};

bool WritesInPlace(const Program& program, uint32_t slot) {
  // A copy is a fused kernel of one load and one store.
  for (const Instruction& instruction : program.instructions) {
    for (const Operand& output : instruction.outputs) {
      const Buffer& buffer = program.buffers[output.buffer];
      if (buffer.kind != BufferKind::kSlot || buffer.index != slot) continue;
      return instruction.fused < 0 || program.kernels[instruction.fused].code.size() > 2;
    }
  }
  return false;
}

TEST(CompileTest, RandomProgramsUseMemoryRightly) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 400; ++round) {
    RandomGraphOptions options;
    options.nodes = 1 + static_cast<int>(random() % 60);
    const CapturedGraph captured = RandomGraph(random, options);
    const absl::StatusOr<Program> program =
        CompileProgram(captured.graph, captured.sizes, {.threads = 2});
    ASSERT_TRUE(program.ok()) << program.status();
    const absl::Status status = CheckProgram(captured.graph, *program);
    ASSERT_TRUE(status.ok()) << "round " << round << ": " << status << "\n" << Explain(*program);
  }
}

TEST(CompileTest, PointwiseChainIsOneKernel) {
  Recorder r;
  const ValueId x = r.Feed(0, {8, 16}), bias = r.Slot(0, {16});
  const ValueId wide = r.Node(Op::kBroadcast, {bias}, {2, 1}, {8, 16});
  const ValueId y = r.Node(Op::kSilu, {r.Node(Op::kAdd, {x, wide})});
  r.Value(r.Node(Op::kMul, {y, x}));
  const Program program = r.Compile();
  EXPECT_EQ(program.instructions.size(), 1) << Explain(program);
  EXPECT_EQ(program.memory.arena, 0);
}

TEST(CompileTest, ReductionsEndTheirChain) {
  Recorder r;
  const ValueId x = r.Feed(0, {8, 16}), y = r.Feed(1, {8, 16});
  const ValueId product = r.Node(Op::kMul, {x, y});
  r.Value(r.Node(Op::kReduceSum, {product}, {0}));
  r.Value(product);
  EXPECT_EQ(r.Compile().instructions.size(), 1);
}

TEST(CompileTest, ReductionsIntoASlotAreReductions) {
  Recorder r;
  const ValueId slot = r.Slot(0, {16});
  r.Value(slot);
  r.Replace(0, r.Node(Op::kReduceMean, {r.Node(Op::kExp, {r.Feed(0, {8, 16})})}, {0}));
  const Program program = r.Compile();
  EXPECT_TRUE(WritesInPlace(program, 0)) << Explain(program);
  std::vector<Op> ops;
  for (const TileInstruction& code : program.kernels.back().code) {
    if (code.code == TileCode::kOp || code.code == TileCode::kReduce) ops.push_back(code.op);
  }
  EXPECT_EQ(ops, (std::vector<Op>{Op::kExp, Op::kReduceMean})) << Explain(program);
}

TEST(CompileTest, SiblingsThatReadTheSameAreOneKernel) {
  Recorder r;
  const ValueId gate = r.Feed(0, {8, 16}), up = r.Feed(1, {8, 16}), dy = r.Feed(2, {8, 16});
  r.Value(r.Node(Op::kMul, {dy, r.Node(Op::kSilu, {gate})}));
  r.Value(r.Node(Op::kMul, {dy, up}));
  EXPECT_EQ(r.Compile().instructions.size(), 1);
}

TEST(CompileTest, OptimizerUpdateIsOneKernelInPlace) {
  Recorder r;
  std::vector<ValueId> inputs = {r.Slot(0, {64}), r.Feed(0, {64}, Dtype::kBF16), r.Slot(1, {64}),
                                 r.Slot(2, {64})};
  for (int i = 0; i < 8; ++i) inputs.push_back(r.Scalar());
  const ValueId updated = r.Node(Op::kAdamW, inputs);
  for (uint32_t i = 0; i < 3; ++i) r.Replace(i, updated + i);
  const Program program = r.Compile();
  EXPECT_EQ(program.instructions.size(), 1);
  EXPECT_EQ(program.memory.arena, 0);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(WritesInPlace(program, i));
}

TEST(CompileTest, MatmulTakesTransposesAsFlags) {
  Recorder r;
  const ValueId x = r.Feed(0, {4, 8}), weight = r.Slot(0, {6, 8});
  r.Value(r.Node(Op::kMatmul, {x, r.Node(Op::kTranspose, {weight}, {1, 0})}, {0, 0}));
  const Program program = r.Compile();
  ASSERT_EQ(program.instructions.size(), 1);
  EXPECT_EQ(program.instructions[0].attributes[1], 1);
  EXPECT_EQ(program.instructions[0].inputs[1].shape, Shape({6, 8}));
}

TEST(CompileTest, DenseSlicesAreNotCopied) {
  Recorder r;
  const ValueId x = r.Feed(0, {4, 8});
  const ValueId rows = r.Node(Op::kSlice, {x}, {}, {1, 3, 1, 0, 8, 1});
  r.Value(r.Node(Op::kSoftmax, {rows}));
  const Program program = r.Compile();
  ASSERT_EQ(program.instructions.size(), 1);
  EXPECT_EQ(program.instructions[0].inputs[0].offset, 8);
}

TEST(CompileTest, SwappedSlotsGoThroughOneCopy) {
  Recorder r;
  const ValueId a = r.Slot(0, {10}), b = r.Slot(1, {10});
  r.Replace(0, b);
  r.Replace(1, a);
  const Program program = r.Compile();
  // One of them waits in the arena until the other has been read.
  EXPECT_EQ(program.instructions.size(), 3) << Explain(program);
}

TEST(CompileTest, UnchangedSlotCostsNothing) {
  Recorder r;
  r.Replace(0, r.Slot(0, {10}));
  EXPECT_TRUE(r.Compile().instructions.empty());
}

TEST(CompileTest, TransposedSlotIsNotWrittenWhileItIsRead) {
  Recorder r;
  const ValueId a = r.Slot(0, {10, 10});
  r.Replace(0, r.Node(Op::kAdd, {a, r.Node(Op::kTranspose, {a}, {1, 0})}));
  const Program program = r.Compile();
  EXPECT_EQ(program.instructions.size(), 2) << Explain(program);
}

TEST(CompileTest, OneValueMayBeSeveralOutputs) {
  Recorder r;
  const ValueId x = r.Feed(0, {10});
  const ValueId y = r.Node(Op::kNeg, {x});
  r.Value(y);
  r.Value(y);
  r.Value(x);
  r.Replace(0, y);
  EXPECT_EQ(r.Compile().output_types.size(), 3);
}

// Reads ids that may be out of range; updates a slot that the check does not need.
TEST(CompileTest, UpdatesWaitForTheCommitPoint) {
  Recorder r;
  const ValueId slot = r.Slot(0, {10}), table = r.Slot(1, {10, 4});
  const ValueId ids = r.Feed(0, {3}, Dtype::kI64);
  r.Replace(0, r.Node(Op::kNeg, {slot}));
  r.Value(r.Node(Op::kEmbedding, {table, ids}));
  const Program program = r.Compile();
  EXPECT_EQ(program.commit_point, 1) << Explain(program);
  EXPECT_TRUE(WritesInPlace(program, 0));
}

TEST(CompileTest, UpdateThatACheckDependsOnIsCopiedAfterTheCommit) {
  Recorder r;
  const ValueId table = r.Slot(0, {10, 4}), ids = r.Feed(0, {3}, Dtype::kI64);
  const ValueId updated = r.Node(Op::kNeg, {table});
  r.Replace(0, updated);
  r.Value(r.Node(Op::kEmbedding, {updated, ids}));
  const Program program = r.Compile();
  EXPECT_FALSE(WritesInPlace(program, 0)) << Explain(program);
}

TEST(CompileTest, RepeatedCheckDoesNotHoldBackUpdates) {
  for (const int64_t rows : {10, 11}) {
    Recorder r;
    const ValueId table = r.Slot(0, {10, 4}), ids = r.Feed(0, {3}, Dtype::kI64);
    const ValueId slot = r.Slot(1, {3, 4});
    const ValueId out = r.Node(Op::kEmbedding, {table, ids});
    const ValueId updated = r.Node(Op::kAdd, {slot, out});
    r.Replace(1, updated);
    r.Value(
        r.Node(Op::kEmbeddingGrad, {ids, updated}, {static_cast<int32_t>(Dtype::kF32)}, {rows}));
    const Program program = r.Compile();
    // With another number of rows the second check is not the first one.
    EXPECT_EQ(WritesInPlace(program, 1), rows == 10) << Explain(program);
  }
}

// A window's check is against the whole table.
TEST(CompileTest, RepeatedCheckOfAWindowDoesNotHoldBackUpdates) {
  for (const int64_t whole : {20, 21}) {
    Recorder r;
    const ValueId table = r.Slot(0, {10, 4}), ids = r.Feed(0, {3}, Dtype::kI64);
    const ValueId slot = r.Slot(1, {3, 4});
    const ValueId out = r.Node(Op::kEmbedding, {table, ids}, {}, {5, 20});
    const ValueId updated = r.Node(Op::kAdd, {slot, out});
    r.Replace(1, updated);
    r.Value(r.Node(Op::kEmbeddingGrad, {ids, updated}, {static_cast<int32_t>(Dtype::kF32)},
                   {7, 0, whole}));
    const Program program = r.Compile();
    EXPECT_EQ(WritesInPlace(program, 1), whole == 20) << Explain(program);
  }
}

// ---- Collectives --------------------------------------------------------------------------------

constexpr int32_t kSum = static_cast<int32_t>(ReduceKind::kSum);

std::vector<Op> CollectivesOf(const Program& program) {
  std::vector<Op> ops;
  for (const Instruction& instruction : program.instructions) {
    if (instruction.fused < 0 && IsCollective(instruction.op)) ops.push_back(instruction.op);
  }
  return ops;
}

// An output may come early, and what nobody reads not at all; not so collectives.
TEST(CompileTest, CollectivesKeepTheirOrder) {
  Recorder r;
  const ValueId x = r.Feed(0, {5, 4});
  const ValueId sum = r.Node(Op::kAllReduce, {r.Node(Op::kNeg, {x})}, {0, kSum});
  r.Node(Op::kReduceScatter, {sum}, {0, 1, kSum}, {2, 1});
  r.Value(r.Node(Op::kAllGather, {x}, {1, 0}, {7, 1}));
  r.Value(r.Node(Op::kAllToAll, {x}, {0, 1, 0}, {9, 1, 2, 2}));
  r.Value(r.Node(Op::kSoftmax, {sum}));
  const Program program = r.Compile();
  EXPECT_EQ(CollectivesOf(program),
            (std::vector<Op>{Op::kAllReduce, Op::kReduceScatter, Op::kAllGather, Op::kAllToAll}))
      << Explain(program);
}

TEST(CompileTest, CollectivesHaveRoomForWhatComesIn) {
  Recorder r;
  const ValueId x = r.Feed(0, {100, 4});
  r.Value(r.Node(Op::kAllReduce, {x}, {0, kSum}));
  r.Value(r.Node(Op::kReduceScatter, {x}, {0, 0, kSum}, {30, 5}));
  r.Value(r.Node(Op::kAllGather, {x}, {0, 0}, {300, 1}));
  const Program program = r.Compile();
  ASSERT_EQ(program.instructions.size(), 3);
  const auto scratch = [&](int i) {
    return program.buffers[program.instructions[i].scratch].bytes;
  };
  EXPECT_EQ(scratch(0), CollectiveScratchBytes(program.instructions[0]));
  EXPECT_GE(scratch(0), 63 * 1600);  // the whole tensor of each other member
  EXPECT_EQ(scratch(1), CollectiveScratchBytes(program.instructions[1]));
  EXPECT_GE(scratch(1), 1600 + 63 * 480);          // what leaves, and a part of each other member
  EXPECT_EQ(program.instructions[2].scratch, -1);  // straight to its place
}

// Gradients of parameters, two in a bucket, made one bucket after the other: while the first is
// summed, the second is computed.
TEST(CompileTest, SumsGoOnBesideWhatFollows) {
  Recorder r;
  const ValueId x = r.Feed(0, {16, 16});
  ValueId slots[4], parts[4], y = x;
  for (uint32_t i = 0; i < 4; i += 2) {
    slots[i] = r.Slot(i, {16, 16});
    slots[i + 1] = r.Slot(i + 1, {16, 16});
    y = r.Node(Op::kMatmul, {y, x}, {0, 0});
    const auto flat = [&](ValueId v) { return r.Node(Op::kReshape, {v}, {1}, {256}); };
    const ValueId gradient = r.Node(Op::kMatmul, {y, y}, {0, 0});
    const ValueId bucket = r.Node(Op::kConcat, {flat(gradient), flat(y)}, {0});
    const ValueId sum = r.Node(Op::kAllReduce, {bucket}, {0, kSum});
    for (uint32_t k : {0, 1}) {
      const ValueId part = r.Node(Op::kSlice, {sum}, {}, {256 * k, 256 * (k + 1), 1});
      parts[i + k] = r.Node(Op::kReshape, {part}, {2}, {16, 16});
    }
  }
  for (uint32_t i = 0; i < 4; ++i) r.Replace(i, r.Node(Op::kSub, {slots[i], parts[i]}));
  const Program program = r.Compile();
  std::vector<Op> ops;
  for (const Instruction& instruction : program.instructions) ops.push_back(instruction.op);
  ops.resize(8);
  EXPECT_EQ(ops, (std::vector<Op>{Op::kMatmul, Op::kMatmul, Op::kConcat, Op::kAllReduce,
                                  Op::kMatmul, Op::kMatmul, Op::kConcat, Op::kAllReduce}))
      << Explain(program);
  EXPECT_TRUE(program.instructions[3].overlapped) << Explain(program);
  EXPECT_EQ(program.instructions[7].overlapped_before, 0);
  EXPECT_EQ(program.instructions[8].overlapped_before, 1);
}

// Devices compile one structure at their own sizes: where an assumption holds for one only, both
// still meet in the same order.
TEST(CompileTest, CollectivesKeepTheirOrderOnEveryTemplate) {
  std::vector<std::vector<Op>> orders;
  std::vector<bool> in_place;
  for (const int64_t rows : {10, 11}) {
    Recorder r;
    const ValueId table = r.Slot(0, {10, 4}), ids = r.Feed(0, {3}, Dtype::kI64);
    const ValueId slot = r.Slot(1, {3, 4});
    const ValueId found = r.Node(Op::kEmbedding, {table, ids});
    const ValueId joined = r.Node(Op::kAllGather, {found}, {1, 0}, {8, 1});
    const ValueId out = r.Node(Op::kReduceScatter, {joined}, {1, 0, kSum}, {4, 1});
    const ValueId updated = r.Node(Op::kAdd, {slot, out});
    r.Replace(1, updated);
    const ValueId gradient =
        r.Node(Op::kEmbeddingGrad, {ids, updated}, {static_cast<int32_t>(Dtype::kF32)}, {rows});
    r.Value(r.Node(Op::kAllReduce, {gradient}, {0, kSum}));
    const Program program = r.Compile();
    orders.push_back(CollectivesOf(program));
    in_place.push_back(WritesInPlace(program, 1));
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_NE(in_place[0], in_place[1]) << "both use one template";
}

// Without transfers, devices have one structure and commit at the same place.
TEST(CompileTest, CollectivesMayFollowTheCommitPoint) {
  Recorder r;
  const ValueId updated = r.Node(Op::kNeg, {r.Slot(0, {10})});
  r.Replace(0, updated);
  r.Value(r.Node(Op::kAllGather, {updated}, {0, 0}, {20, 1}));
  const Program program = r.Compile();
  EXPECT_TRUE(WritesInPlace(program, 0)) << Explain(program);
  EXPECT_EQ(program.commit_point, 0);
}

// The slot that is sent is not overwritten in place before, nor does the device commit first.
TEST(CompileTest, CollectivesBesideTransfersComeBeforeTheCommitPoint) {
  Recorder r;
  const ValueId slot = r.Slot(0, {10}), other = r.Slot(1, {10});
  const ValueId updated = r.Node(Op::kNeg, {slot});
  r.Replace(0, updated);
  r.Replace(1, r.Node(Op::kExp, {other}));
  r.Node(Op::kSend, {updated}, {0});
  const ValueId got = r.Node(Op::kRecv, {}, {static_cast<int32_t>(Dtype::kF32), 1, 1}, {3});
  r.Value(r.Node(Op::kAllReduce, {got}, {2, kSum}));
  const Program program = r.Compile();
  EXPECT_FALSE(WritesInPlace(program, 0)) << Explain(program);
  EXPECT_TRUE(WritesInPlace(program, 1)) << Explain(program);
  EXPECT_EQ(CollectivesOf(program), (std::vector<Op>{Op::kRecv, Op::kSend, Op::kAllReduce}));
}

// How many labels of a batch count does not depend on the model: that sum is under way while it
// runs.
TEST(CompileTest, SumsNumbersOfTheBatchFirst) {
  for (const int64_t stride : {1, 2}) {  // a part of the feed in its place, and a copied one
    Recorder r;
    const ValueId x = r.Feed(0, {3, 3}), labels = r.Feed(1, {6}, Dtype::kI64);
    const ValueId y = r.Node(Op::kMatmul, {x, x}, {0, 0});
    const ValueId part = r.Node(Op::kSlice, {labels}, {}, {0, 3 * stride, stride});
    const ValueId flags = r.Node(Op::kNe, {part, r.Scalar(Dtype::kI64)});
    const ValueId numbers = r.Node(Op::kCast, {flags}, {static_cast<int32_t>(Dtype::kF32)});
    const ValueId count = r.Node(Op::kReduceSum, {numbers}, {0});
    const ValueId all = r.Node(Op::kAllReduce, {count}, {0, kSum});
    // Not so what depends on the model, nor what would need memory for longer.
    const ValueId loss = r.Node(Op::kReduceSum, {y}, {0, 1});
    r.Value(r.Node(Op::kDiv, {r.Node(Op::kAllReduce, {loss}, {0, kSum}), all}));
    r.Value(r.Node(Op::kAllReduce, {r.Node(Op::kNeg, {x})}, {0, kSum}));
    const Program program = r.Compile();
    const auto place = [&](Op op) {
      const auto at = std::find_if(program.instructions.begin(), program.instructions.end(),
                                   [op](const Instruction& one) { return one.op == op; });
      return at - program.instructions.begin();
    };
    EXPECT_LT(place(Op::kAllReduce), place(Op::kMatmul)) << Explain(program);
    EXPECT_EQ(program.instructions[place(Op::kMatmul) - 1].op, Op::kAllReduce);
    EXPECT_EQ(CollectivesOf(program).size(), 3u);
  }
}

// What does not need it goes on until then; transfers stay in their order.
TEST(CompileTest, ReceivesAsLateAsItCan) {
  Recorder r;
  const std::vector<int32_t> matrix = {static_cast<int32_t>(Dtype::kF32), 1, 2};
  const ValueId x = r.Feed(0, {3, 3});
  const ValueId got = r.Node(Op::kRecv, {}, matrix, {3, 3});
  const ValueId sent = r.Node(Op::kMatmul, {x, x}, {0, 0});
  r.Node(Op::kSend, {sent}, {0});
  const ValueId more = r.Node(Op::kRecv, {}, matrix, {3, 3});
  const ValueId other = r.Node(Op::kMatmul, {got, x}, {0, 0});
  const ValueId product = r.Node(Op::kMatmul, {other, more}, {0, 0});
  r.Value(r.Node(Op::kMatmul, {product, x}, {0, 0}));
  const Program program = r.Compile();
  std::vector<Op> order;
  for (const Instruction& instruction : program.instructions) order.push_back(instruction.op);
  EXPECT_EQ(order, (std::vector<Op>{Op::kMatmul, Op::kRecv, Op::kSend, Op::kMatmul, Op::kRecv,
                                    Op::kMatmul, Op::kMatmul}))
      << Explain(program);
}

// Two that follow each other wait as long as the second.
TEST(CompileTest, ReceivesThatFollowEachOtherWaitTogether) {
  Recorder r;
  const std::vector<int32_t> matrix = {static_cast<int32_t>(Dtype::kF32), 1, 2};
  const ValueId x = r.Feed(0, {3, 3});
  const ValueId got = r.Node(Op::kRecv, {}, matrix, {3, 3});
  const ValueId more = r.Node(Op::kRecv, {}, matrix, {3, 3});
  const ValueId sent = r.Node(Op::kMatmul, {x, x}, {0, 0});
  r.Node(Op::kSend, {sent}, {0});
  r.Value(r.Node(Op::kMatmul, {got, more}, {0, 0}));
  const Program program = r.Compile();
  std::vector<Op> order;
  for (const Instruction& instruction : program.instructions) order.push_back(instruction.op);
  EXPECT_EQ(order, (std::vector<Op>{Op::kMatmul, Op::kRecv, Op::kRecv, Op::kSend, Op::kMatmul}))
      << Explain(program);
  for (uint32_t i = 1; i < 4; ++i) {
    EXPECT_EQ(TransferRunOf(program, i).begin, 1);
    EXPECT_EQ(TransferRunOf(program, i).end, 4);
  }
}

// What is received is sent on afterwards, and nothing that follows comes before that.
TEST(CompileTest, WhatIsSentOnIsReceivedBefore) {
  Recorder r;
  const std::vector<int32_t> vector = {static_cast<int32_t>(Dtype::kF32), 1, 1};
  const ValueId got = r.Node(Op::kRecv, {}, vector, {3});
  r.Node(Op::kSend, {got}, {0});
  std::vector<int32_t> elsewhere = vector;
  elsewhere[1] = 2;
  r.Value(r.Node(Op::kAdd, {got, r.Node(Op::kRecv, {}, elsewhere, {3})}));
  const Program program = r.Compile();
  EXPECT_EQ(CollectivesOf(program), (std::vector<Op>{Op::kRecv, Op::kSend, Op::kRecv}))
      << Explain(program);
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(TransferRunOf(program, i).begin, i) << Explain(program);
    EXPECT_EQ(TransferRunOf(program, i).end, i + 1) << Explain(program);
  }
}

// The same graph with collectives among its nodes.
CapturedGraph WithCollectives(const CapturedGraph& from, std::mt19937_64& random) {
  GraphBuilder builder;
  std::vector<ValueId> values(from.graph.values.size());
  size_t input = 0;
  const auto take_inputs = [&](ValueId end) {
    for (; input < from.graph.inputs.size() && from.graph.inputs[input].value < end; ++input) {
      const Input& taken = from.graph.inputs[input];
      const TensorType& type = from.types[taken.value];
      values[taken.value] = taken.kind == InputKind::kScalar
                                ? builder.AddScalar(type.dtype)
                                : builder.AddInput(taken.kind, taken.index, type);
    }
  };
  const bool transfers = random() % 2 == 0;
  const auto add = [&](Op op, std::vector<ValueId> inputs, absl::Span<const int32_t> attributes) {
    const absl::StatusOr<ValueId> value = builder.AddNode(op, inputs, attributes);
    EXPECT_TRUE(value.ok()) << value.status();
    return value.value_or(0);
  };
  for (const Node& node : from.graph.nodes) {
    take_inputs(node.first_output);
    std::vector<ValueId> inputs;
    for (ValueId value : node.inputs) inputs.push_back(values[value]);
    const absl::StatusOr<ValueId> first =
        builder.AddNode(node.op, inputs, node.attributes, Extents(node, from.sizes), node.numbers);
    EXPECT_TRUE(first.ok()) << first.status();
    for (uint32_t i = 0; i < node.output_count; ++i) {
      ValueId& value = values[node.first_output + i] = *first + i;
      if (transfers && random() % 6 == 0) add(Op::kSend, {value}, {0});
      if (random() % 4 == 0 && from.types[node.first_output + i].dtype != Dtype::kBool) {
        value = add(Op::kAllReduce, {value}, {0, kSum});
      }
    }
  }
  take_inputs(static_cast<ValueId>(from.graph.values.size()));
  for (const Output& output : from.graph.outputs) {
    builder.AddOutput(output.kind, values[output.value], output.index);
  }
  return builder.Finish();
}

TEST(CompileTest, RandomProgramsWithCollectivesAreRight) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 200; ++round) {
    RandomGraphOptions options;
    options.nodes = 1 + static_cast<int>(random() % 60);
    const CapturedGraph captured = WithCollectives(RandomGraph(random, options), random);
    const absl::StatusOr<Program> program =
        CompileProgram(captured.graph, captured.sizes, {.threads = 2});
    ASSERT_TRUE(program.ok()) << program.status();
    const absl::Status status = CheckProgram(captured.graph, *program);
    ASSERT_TRUE(status.ok()) << "round " << round << ": " << status << "\n" << Explain(*program);
  }
}

TEST(CompileTest, SlotsKeepTheirType) {
  GraphBuilder builder;
  const ValueId slot = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, {10}});
  const absl::StatusOr<ValueId> half = builder.AddNode(Op::kSlice, {slot}, {}, {0, 5, 1});
  ASSERT_TRUE(half.ok());
  builder.AddOutput(OutputKind::kSlot, *half, 0);
  const CapturedGraph captured = builder.Finish();
  const absl::StatusOr<Program> program = CompileProgram(captured.graph, captured.sizes, {});
  EXPECT_EQ(program.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(program.status().message().find("f32[10]"), absl::string_view::npos)
      << program.status();
}

}  // namespace
}  // namespace moai
