#include "graph/interpreter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "graph/builder.h"
#include "graph/testing/random_node.h"
#include "graph/testing/reference_bindings.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every op of the table in every dtype: no op is forgotten, and what comes out is what inference
// says.
TEST(InterpreterTest, EveryOpRunsInEveryDtype) {
  std::mt19937_64 random(1);
  for (const OpEntry& entry : ClientOps()) {
    for (Dtype dtype : DtypesOf(entry.op)) {
      for (int draw = 0; draw < 20; ++draw) {
        SCOPED_TRACE(absl::StrCat(entry.name, " ", Name(dtype), " draw ", draw));
        const absl::StatusOr<CapturedGraph> captured = RandomNodeGraph(entry.op, dtype, random);
        ASSERT_TRUE(captured.ok()) << captured.status();
        const auto outputs =
            Interpret(captured->graph, captured->sizes, RandomReferenceBindings(*captured, random),
                      {.round_to_dtype = draw % 2 == 1});
        ASSERT_TRUE(outputs.ok()) << outputs.status();
        ASSERT_EQ(outputs->size(), captured->graph.outputs.size());
        for (size_t i = 0; i < outputs->size(); ++i) {
          const ReferenceTensor& output = (*outputs)[i];
          EXPECT_EQ(output.type, captured->types[captured->graph.outputs[i].value]);
          const size_t elements = static_cast<size_t>(output.type.shape.elements());
          EXPECT_EQ(output.floats.size(), IsFloat(output.type.dtype) ? elements : 0);
          EXPECT_EQ(output.integers.size(), IsFloat(output.type.dtype) ? 0 : elements);
          // Integers lie within their dtype: the bytes of a device hold them.
          if (IsFloat(output.type.dtype)) continue;
          EXPECT_EQ(ReferenceTensor::FromBytes(output.type, output.ToBytes()).integers,
                    output.integers);
        }
      }
    }
  }
}

// Rounded floats are those that the dtype holds, and nothing else is.
TEST(InterpreterTest, RoundsWhereAsked) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, {Dtype::kBF16, {1}});
  const ValueId y = builder.AddInput(InputKind::kValue, 1, {Dtype::kBF16, {1}});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kAdd, {x, y}));
  const CapturedGraph captured = builder.Finish();
  const std::vector<ReferenceTensor> bindings = {
      {.type = {Dtype::kBF16, {1}}, .floats = {1}},
      {.type = {Dtype::kBF16, {1}}, .floats = {0x1p-10}},
  };
  const auto exact = Interpret(captured.graph, captured.sizes, bindings);
  ASSERT_TRUE(exact.ok()) << exact.status();
  EXPECT_THAT((*exact)[0].floats, ElementsAre(1 + 0x1p-10));
  const auto rounded =
      Interpret(captured.graph, captured.sizes, bindings, {.round_to_dtype = true});
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_THAT((*rounded)[0].floats, ElementsAre(1));
}

TEST(RoundToDtypeTest, HalvesRoundToNearestEven) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(RoundToDtype(1 + 0x1p-8, Dtype::kBF16), 1);
  EXPECT_EQ(RoundToDtype(1 + 0x3p-8, Dtype::kBF16), 1 + 0x4p-8);
  EXPECT_EQ(RoundToDtype(3.4e38, Dtype::kBF16), kInf);
  EXPECT_EQ(RoundToDtype(1 + 0x1p-11, Dtype::kF16), 1);
  EXPECT_EQ(RoundToDtype(1 + 0x3p-11, Dtype::kF16), 1 + 0x4p-11);
  EXPECT_EQ(RoundToDtype(65519, Dtype::kF16), 65504);
  EXPECT_EQ(RoundToDtype(-65520, Dtype::kF16), -kInf);
  // Subnormals come in steps of 2^-24.
  EXPECT_EQ(RoundToDtype(0x3p-25, Dtype::kF16), 0x1p-23);
  EXPECT_EQ(RoundToDtype(0x1p-25, Dtype::kF16), 0);
  EXPECT_EQ(RoundToDtype(0.1, Dtype::kF32), static_cast<double>(0.1f));
  EXPECT_EQ(RoundToDtype(1e300, Dtype::kF32), kInf);
  EXPECT_EQ(RoundToDtype(0.1, Dtype::kF64), 0.1);
  EXPECT_TRUE(std::isnan(RoundToDtype(std::nan(""), Dtype::kBF16)));
}

// The wire carries an f32 scalar as an f32: 0.1 is not the f64 nearest to it.
TEST(InterpreterTest, ScalarsAreRoundedOnEntry) {
  GraphBuilder builder;
  const ValueId x = builder.AddScalar(Dtype::kF32);
  builder.AddOutput(OutputKind::kValue, x);
  const CapturedGraph captured = builder.Finish();
  const auto outputs = Interpret(captured.graph, captured.sizes,
                                 {ReferenceTensor{.type = {Dtype::kF32, {}}, .floats = {0.1}}});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_THAT((*outputs)[0].floats, ElementsAre(static_cast<double>(0.1f)));
}

// Every op with checked ids says which index was wrong, and what the limit is.
TEST(InterpreterTest, ChecksIndices) {
  std::mt19937_64 random(2);
  for (Op op : {Op::kEmbedding, Op::kEmbeddingGrad, Op::kIndexSelect, Op::kIndexAdd, Op::kGather,
                Op::kScatter, Op::kScatterAdd, Op::kCrossEntropy, Op::kCrossEntropyGrad}) {
    for (int64_t wrong : {int64_t{-1}, int64_t{123456}}) {
      SCOPED_TRACE(absl::StrCat(Name(op), " index ", wrong));
      const CapturedGraph captured =
          *RandomNodeGraph(op, Dtype::kF32, random, {.allow_empty = false});
      std::vector<ReferenceTensor> bindings = RandomReferenceBindings(captured, random);
      for (ReferenceTensor& binding : bindings) {
        if (!binding.integers.empty()) binding.integers.back() = wrong;
      }
      const absl::Status status = Interpret(captured.graph, captured.sizes, bindings).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(Name(op))));
      EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(wrong)));
    }
  }
}

TEST(InterpreterTest, RefusesBindingsThatDoNotFit) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, {Dtype::kF32, {2}});
  builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kNeg, {x}));
  const CapturedGraph captured = builder.Finish();
  const auto code = [&](absl::Span<const ReferenceTensor> bindings) {
    return Interpret(captured.graph, captured.sizes, bindings).status().code();
  };
  const ReferenceTensor good = {.type = {Dtype::kF32, {2}}, .floats = {1, 2}};
  ReferenceTensor other_dtype = good, other_shape = good, short_of = good;
  other_dtype.type.dtype = Dtype::kF64;
  other_shape.type.shape = {1, 2};
  short_of.floats.pop_back();
  EXPECT_EQ(code({good}), absl::StatusCode::kOk);
  EXPECT_EQ(code({}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({good, good}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({other_dtype}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({other_shape}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({short_of}), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace moai
