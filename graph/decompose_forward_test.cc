// Decomposed forward ops against plain loops over random draws. Convolution, attention and what the
// norms save are in whole_op_meaning_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/testing/reference_bindings.h"
#include "graph/testing/reference_op.h"

namespace moai {
namespace {

void ExpectNear(const ReferenceTensor& got, const ReferenceTensor& expected) {
  ASSERT_EQ(got.type, expected.type);
  for (size_t i = 0; i < got.floats.size(); ++i) {
    if (got.floats[i] == expected.floats[i]) continue;  // infinities among them
    ASSERT_NEAR(got.floats[i], expected.floats[i], 1e-9 * (1 + std::abs(expected.floats[i])))
        << "element " << i;
  }
}

absl::StatusOr<std::vector<ReferenceTensor>> RunNode(const NodeSpec& spec,
                                                     const std::vector<ReferenceTensor>& inputs) {
  return RunOp(spec.op, inputs,
               {.attributes = spec.attributes, .extents = spec.extents, .numbers = spec.numbers});
}

// A draw of `op` in f64 with contents.
struct Drawn {
  NodeSpec spec;
  std::vector<ReferenceTensor> inputs;
};

Drawn Draw(Op op, std::mt19937_64& random) {
  NodeSpec spec = *RandomNodeSpec(op, Dtype::kF64, random, {.allow_empty = false});
  GraphBuilder builder;
  std::vector<ValueId> values;
  for (const TensorType& type : spec.inputs) {
    values.push_back(
        builder.AddInput(InputKind::kValue, static_cast<uint32_t>(values.size()), type));
  }
  EXPECT_TRUE(builder.AddNode(op, values, spec.attributes, spec.extents, spec.numbers).ok());
  return {spec, RandomReferenceBindings(builder.Finish(), random)};
}

TEST(DecomposeForwardTest, NormsScaleAndShift) {
  std::mt19937_64 random(3);
  for (int draw = 0; draw < 20; ++draw) {
    const Drawn drawn = Draw(Op::kLayerNorm, random);
    const auto outputs = *RunNode(drawn.spec, drawn.inputs);
    const int64_t size = drawn.inputs[0].type.shape.back();
    ReferenceTensor expected = drawn.inputs[0];
    for (size_t i = 0; i < expected.floats.size(); ++i) {
      const double normal =
          (expected.floats[i] - outputs[1].floats[i / size]) * outputs[2].floats[i / size];
      expected.floats[i] =
          normal * drawn.inputs[1].floats[i % size] + drawn.inputs[2].floats[i % size];
    }
    ASSERT_NO_FATAL_FAILURE(ExpectNear(outputs[0], expected));
  }
}

TEST(DecomposeForwardTest, SoftmaxRowsAreNormalisedExponentials) {
  std::mt19937_64 random(4);
  for (int draw = 0; draw < 20; ++draw) {
    Drawn drawn = Draw(Op::kSoftmax, random);
    const std::vector<double>& x = drawn.inputs[0].floats;
    const size_t size = static_cast<size_t>(drawn.inputs[0].type.shape.back());
    ReferenceTensor y = drawn.inputs[0], logarithm = drawn.inputs[0];
    for (size_t row = 0; row < x.size(); row += size) {
      double sum = 0;
      for (size_t i = row; i < row + size; ++i) sum += std::exp(x[i]);
      for (size_t i = row; i < row + size; ++i) {
        y.floats[i] = std::exp(x[i]) / sum;
        logarithm.floats[i] = x[i] - std::log(sum);
      }
    }
    ASSERT_NO_FATAL_FAILURE(ExpectNear((*RunNode(drawn.spec, drawn.inputs))[0], y));
    drawn.spec.op = Op::kLogSoftmax;
    ASSERT_NO_FATAL_FAILURE(ExpectNear((*RunNode(drawn.spec, drawn.inputs))[0], logarithm));
  }
}

TEST(DecomposeForwardTest, AdamWFollowsItsFormula) {
  std::mt19937_64 random(6);
  for (int draw = 0; draw < 20; ++draw) {
    const Drawn drawn = Draw(Op::kAdamW, random);
    const auto scalar = [&](size_t i) { return drawn.inputs[i].floats[0]; };
    const auto outputs = *RunNode(drawn.spec, drawn.inputs);
    ReferenceTensor p = drawn.inputs[0], m = drawn.inputs[2], v = drawn.inputs[3];
    for (size_t i = 0; i < p.floats.size(); ++i) {
      const double g = drawn.inputs[1].floats[i] * scalar(11);
      m.floats[i] = scalar(5) * m.floats[i] + (1 - scalar(5)) * g;
      v.floats[i] = scalar(6) * v.floats[i] + (1 - scalar(6)) * g * g;
      const double step =
          m.floats[i] / scalar(9) / (std::sqrt(v.floats[i] / scalar(10)) + scalar(7));
      p.floats[i] -= scalar(4) * (scalar(8) * p.floats[i] + step);
    }
    ASSERT_NO_FATAL_FAILURE(ExpectNear(outputs[0], p));
    ASSERT_NO_FATAL_FAILURE(ExpectNear(outputs[1], m));
    ASSERT_NO_FATAL_FAILURE(ExpectNear(outputs[2], v));
  }
}

TEST(DecomposeForwardTest, TrianglesKeepOneSideOfADiagonal) {
  std::mt19937_64 random(7);
  for (Op op : {Op::kTril, Op::kTriu}) {
    for (int draw = 0; draw < 20; ++draw) {
      SCOPED_TRACE(absl::StrCat(Name(op), " draw ", draw));
      const Drawn drawn = Draw(op, random);
      const Shape& shape = drawn.inputs[0].type.shape;
      const int64_t columns = shape.back(), rows = shape[shape.rank() - 2];
      const int64_t diagonal = drawn.spec.extents[0];
      ReferenceTensor expected = drawn.inputs[0];
      for (int64_t i = 0; i < shape.elements(); ++i) {
        const int64_t column = i % columns, row = i / columns % rows;
        const bool kept = op == Op::kTril ? column <= row + diagonal : column >= row + diagonal;
        if (!kept) expected.floats[i] = 0;
      }
      ASSERT_NO_FATAL_FAILURE(ExpectNear((*RunNode(drawn.spec, drawn.inputs))[0], expected));
    }
  }
}

// What was put in with slice_update comes out with slice, and the rest is as it was.
TEST(DecomposeForwardTest, SliceUpdateReplacesTheSliceAndNothingElse) {
  std::mt19937_64 random(8);
  for (int draw = 0; draw < 40; ++draw) {
    const Drawn drawn = Draw(Op::kSliceUpdate, random);
    const ReferenceTensor &x = drawn.inputs[0], &update = drawn.inputs[1];
    const ReferenceTensor y = (*RunNode(drawn.spec, drawn.inputs))[0];
    ASSERT_EQ(y.type, x.type);
    const Shape &shape = x.type.shape, &small = update.type.shape;
    for (int64_t i = 0; i < shape.elements(); ++i) {
      int64_t rest = i, at = 0, stride = 1;
      bool replaced = true;
      for (int dim = shape.rank() - 1; dim >= 0; --dim) {
        const int64_t start = drawn.spec.extents[2 * dim], step = drawn.spec.extents[2 * dim + 1];
        const int64_t from_start = rest % shape[dim] - start;
        rest /= shape[dim];
        replaced &= from_start >= 0 && from_start % step == 0 && from_start / step < small[dim];
        at += from_start / step * stride;
        stride *= small[dim];
      }
      ASSERT_EQ(y.floats[i], replaced ? update.floats[at] : x.floats[i]) << "element " << i;
    }
  }
}

TEST(DecomposeForwardTest, ActivationsFollowTheirFormulas) {
  const ReferenceTensor x = {.type = {Dtype::kF64, {5}}, .floats = {-30, -1, 0, 0.5, 30}};
  ReferenceTensor silu = x, gelu = x;
  for (size_t i = 0; i < x.floats.size(); ++i) {
    silu.floats[i] = x.floats[i] / (1 + std::exp(-x.floats[i]));
    gelu.floats[i] = x.floats[i] * 0.5 * std::erfc(-x.floats[i] / std::sqrt(2.0));
  }
  ExpectNear((*RunNode({.op = Op::kSilu}, {x}))[0], silu);
  ExpectNear((*RunNode({.op = Op::kGelu}, {x}))[0], gelu);
}

}  // namespace
}  // namespace moai
