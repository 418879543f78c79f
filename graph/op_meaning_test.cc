// What primitives mean at the corners: NaN, ties, nothing at all, overflow. The reference
// interpreter is what every kernel is compared with, so its own answers are stated here by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/testing/reference_op.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::NanSensitiveDoubleEq;
using ::testing::Pointwise;

using Tensors = std::vector<ReferenceTensor>;
using Numbers = std::vector<double>;
using Wholes = std::vector<int64_t>;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kI64Min = std::numeric_limits<int64_t>::min();
constexpr int64_t kI64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kI32Min = std::numeric_limits<int32_t>::min();
constexpr int64_t kI32Max = std::numeric_limits<int32_t>::max();

Tensors Compute(Op op, const Tensors& inputs, const OpDetails& details = {}) {
  absl::StatusOr<Tensors> outputs = RunOp(op, inputs, details);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok()) return Tensors(Entry(op).outputs);
  return *std::move(outputs);
}

ReferenceTensor Line(Numbers elements, Dtype dtype = Dtype::kF64) {
  const int64_t count = static_cast<int64_t>(elements.size());
  return Floats({count}, std::move(elements), dtype);
}
ReferenceTensor Line(Wholes elements, Dtype dtype = Dtype::kI64) {
  const int64_t count = static_cast<int64_t>(elements.size());
  return Integers({count}, std::move(elements), dtype);
}

Numbers Unary(Op op, Numbers x) { return Compute(op, {Line(std::move(x))})[0].floats; }
Numbers Binary(Op op, Numbers a, Numbers b) {
  return Compute(op, {Line(std::move(a)), Line(std::move(b))})[0].floats;
}
Wholes Unary(Op op, Wholes x, Dtype dtype) {
  return Compute(op, {Line(std::move(x), dtype)})[0].integers;
}
Wholes Binary(Op op, Wholes a, Wholes b, Dtype dtype) {
  return Compute(op, {Line(std::move(a), dtype), Line(std::move(b), dtype)})[0].integers;
}
auto Same(const Numbers& expected) { return Pointwise(NanSensitiveDoubleEq(), expected); }

TEST(PointwiseTest, FloatCorners) {
  EXPECT_THAT(Unary(Op::kSign, {-2, -0.0, 0, 3, kNan}), Same({-1, 0, 0, 1, kNan}));
  EXPECT_THAT(Unary(Op::kRelu, {-2, 0, 3, kNan}), Same({0, 0, 3, kNan}));
  EXPECT_THAT(Unary(Op::kRound, {0.5, 1.5, 2.5, -0.5, -1.5}), Same({0, 2, 2, 0, -2}));
  EXPECT_THAT(Unary(Op::kSigmoid, {-kInf, -800, 0, 800}), Same({0, 0, 0.5, 1}));
  EXPECT_THAT(Unary(Op::kRsqrt, {0, 4, -1}), Same({kInf, 0.5, kNan}));
  EXPECT_THAT(Unary(Op::kGelu, {0, 40, -40}), Same({0, 40, 0}));
  EXPECT_THAT(Unary(Op::kSilu, {0, 800, -800}), Same({0, 800, 0}));
  EXPECT_NEAR(Unary(Op::kGelu, {1})[0], 0.8413447460685429, 1e-15);
  EXPECT_NEAR(Unary(Op::kSilu, {1})[0], 0.7310585786300049, 1e-15);
}

TEST(PointwiseTest, NanWinsInMaximumAndMinimum) {
  EXPECT_THAT(Binary(Op::kMaximum, {1, kNan, 2, kNan}, {3, 1, kNan, kNan}),
              Same({3, kNan, kNan, kNan}));
  EXPECT_THAT(Binary(Op::kMinimum, {1, kNan, 2, kNan}, {3, 1, kNan, kNan}),
              Same({1, kNan, kNan, kNan}));
}

TEST(PointwiseTest, ModTakesTheSignOfTheDivisor) {
  EXPECT_THAT(Binary(Op::kMod, {7, -7, 7, -7, 6, 1}, {3, 3, -3, -3, 3, 0}),
              Same({1, 2, -2, -1, 0, kNan}));
  EXPECT_THAT(Binary(Op::kMod, {7, -7, 7, -7, 6, 5}, {3, 3, -3, -3, 3, 0}, Dtype::kI32),
              ElementsAre(1, 2, -2, -1, 0, 0));
  EXPECT_THAT(Binary(Op::kMod, {kI64Min}, {-1}, Dtype::kI64), ElementsAre(0));
}

TEST(PointwiseTest, IntegersWrap) {
  EXPECT_THAT(Binary(Op::kAdd, {kI32Max, 1}, {1, 2}, Dtype::kI32), ElementsAre(kI32Min, 3));
  EXPECT_THAT(Binary(Op::kAdd, {kI64Max}, {1}, Dtype::kI64), ElementsAre(kI64Min));
  EXPECT_THAT(Binary(Op::kSub, {3}, {5}, Dtype::kU8), ElementsAre(254));
  EXPECT_THAT(Binary(Op::kMul, {1 << 20}, {1 << 12}, Dtype::kI32), ElementsAre(0));
  EXPECT_THAT(Unary(Op::kNeg, {kI32Min, 5}, Dtype::kI32), ElementsAre(kI32Min, -5));
  EXPECT_THAT(Unary(Op::kAbs, {kI64Min, -5}, Dtype::kI64), ElementsAre(kI64Min, 5));
  EXPECT_THAT(Unary(Op::kNeg, {1}, Dtype::kU8), ElementsAre(255));
}

TEST(PointwiseTest, IntegerDivisionTruncates) {
  EXPECT_THAT(Binary(Op::kDiv, {7, -7, 7, 7}, {2, 2, -2, 0}, Dtype::kI32),
              ElementsAre(3, -3, -3, 0));
  EXPECT_THAT(Binary(Op::kDiv, {kI32Min}, {-1}, Dtype::kI32), ElementsAre(kI32Min));
  EXPECT_THAT(Binary(Op::kDiv, {kI64Min}, {-1}, Dtype::kI64), ElementsAre(kI64Min));
}

TEST(PointwiseTest, LogicIsBitwiseForIntegers) {
  EXPECT_THAT(Unary(Op::kNot, {0, 1}, Dtype::kBool), ElementsAre(1, 0));
  EXPECT_THAT(Unary(Op::kNot, {0, 1}, Dtype::kU8), ElementsAre(255, 254));
  EXPECT_THAT(Unary(Op::kNot, {0, 1}, Dtype::kI32), ElementsAre(-1, -2));
  EXPECT_THAT(Binary(Op::kXor, {6, 5}, {3, 5}, Dtype::kI64), ElementsAre(5, 0));
}

TEST(PointwiseTest, ComparisonsWithNanAreFalseButForNe) {
  const Tensors x = {Line(Numbers{kNan, 1}), Line(Numbers{kNan, 1})};
  EXPECT_THAT(Compute(Op::kEq, x)[0].integers, ElementsAre(0, 1));
  EXPECT_THAT(Compute(Op::kNe, x)[0].integers, ElementsAre(1, 0));
  EXPECT_THAT(Compute(Op::kLe, x)[0].integers, ElementsAre(0, 1));
  EXPECT_THAT(Compute(Op::kIsNan, {x[0]})[0].integers, ElementsAre(1, 0));
}

TEST(PointwiseTest, ClampRaisesFirstAndThenLowers) {
  const auto clamp = [](Numbers x, Numbers low, Numbers high) {
    return Compute(Op::kClamp, {Line(x), Line(low), Line(high)})[0].floats;
  };
  EXPECT_THAT(clamp({-5, 0, 5, kNan, 0}, {-1, -1, -1, -1, 3}, {1, 1, 1, 1, 2}),
              Same({-1, 0, 1, kNan, 2}));
  EXPECT_THAT(clamp({0, 0}, {kNan, 0}, {1, kNan}), Same({kNan, kNan}));
}

TEST(PointwiseTest, CastSaturatesFromFloatAndWrapsFromInteger) {
  const auto cast = [](const ReferenceTensor& x, Dtype to) {
    return Compute(Op::kCast, {x}, {.attributes = {static_cast<int32_t>(to)}})[0];
  };
  const ReferenceTensor floats = Line(Numbers{-1.9, 1.9, 300, kNan, kInf, -kInf, 1e300});
  EXPECT_THAT(cast(floats, Dtype::kU8).integers, ElementsAre(0, 1, 255, 0, 255, 0, 255));
  EXPECT_THAT(cast(floats, Dtype::kI32).integers,
              ElementsAre(-1, 1, 300, 0, kI32Max, kI32Min, kI32Max));
  EXPECT_THAT(cast(floats, Dtype::kI64).integers,
              ElementsAre(-1, 1, 300, 0, kI64Max, kI64Min, kI64Max));
  EXPECT_THAT(cast(Line(Numbers{0, -0.0, 0.1, kNan}), Dtype::kBool).integers,
              ElementsAre(0, 0, 1, 1));
  const ReferenceTensor wholes = Line(Wholes{-1, 257, int64_t{1} << 32});
  EXPECT_THAT(cast(wholes, Dtype::kU8).integers, ElementsAre(255, 1, 0));
  EXPECT_THAT(cast(wholes, Dtype::kI32).integers, ElementsAre(-1, 257, 0));
  EXPECT_THAT(cast(wholes, Dtype::kBool).integers, ElementsAre(1, 1, 1));
}

TEST(PointwiseTest, RankZeroStandsForAnyOperand) {
  EXPECT_THAT(Compute(Op::kSub, {Floats({}, {10}), Line(Numbers{1, 2})})[0].floats,
              ElementsAre(9, 8));
  EXPECT_THAT(Compute(Op::kSelect,
                      {Integers({}, {1}, Dtype::kBool), Line(Numbers{1, 2}), Floats({}, {7})})[0]
                  .floats,
              ElementsAre(1, 2));
}

TEST(MovementTest, EachElementGoesWhereItShould) {
  const ReferenceTensor x = Integers({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(Compute(Op::kTranspose, {x}, {.attributes = {1, 0}})[0].integers,
              ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(Compute(Op::kFlip, {x}, {.attributes = {1}})[0].integers,
              ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_THAT(Compute(Op::kSlice, {x}, {.extents = {1, 2, 1, 0, 3, 2}})[0].integers,
              ElementsAre(4, 6));
  EXPECT_THAT(Compute(Op::kPad, {x, Integers({}, {9})}, {.extents = {0, 0, 1, 2}})[0].integers,
              ElementsAre(9, 1, 2, 3, 9, 9, 9, 4, 5, 6, 9, 9));
  EXPECT_THAT(Compute(Op::kConcat, {x, Integers({2, 1}, {8, 9})}, {.attributes = {1}})[0].integers,
              ElementsAre(1, 2, 3, 8, 4, 5, 6, 9));
  EXPECT_THAT(Compute(Op::kBroadcast, {Integers({2, 1}, {1, 2})},
                      {.attributes = {3, 0, 2}, .extents = {2, 2, 2}})[0]
                  .integers,
              ElementsAre(1, 1, 1, 1, 2, 2, 2, 2));
  EXPECT_THAT(Compute(Op::kSliceUpdate, {x, Integers({1, 2}, {8, 9})}, {.extents = {1, 5, 0, 2}})[0]
                  .integers,
              ElementsAre(1, 2, 3, 8, 5, 9));
}

TEST(MovementTest, TrianglesKeepTheirSideOfTheDiagonal) {
  const ReferenceTensor x = Integers({1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const auto triangle = [&](Op op, int64_t diagonal) {
    return Compute(op, {x}, {.extents = {diagonal}})[0].integers;
  };
  EXPECT_THAT(triangle(Op::kTril, 0), ElementsAre(1, 0, 0, 4, 5, 0));
  EXPECT_THAT(triangle(Op::kTril, -1), ElementsAre(0, 0, 0, 4, 0, 0));
  EXPECT_THAT(triangle(Op::kTriu, 1), ElementsAre(0, 2, 3, 0, 0, 6));
  EXPECT_THAT(triangle(Op::kTriu, -5), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(CreationTest, IotaCountsAlongItsAxisAndWraps) {
  const auto iota = [](Dtype dtype, int axis, std::vector<int64_t> shape) {
    return Compute(
        Op::kIota, {},
        {.attributes = {static_cast<int32_t>(dtype), axis, static_cast<int32_t>(shape.size())},
         .extents = shape})[0];
  };
  EXPECT_THAT(iota(Dtype::kF32, 0, {2, 2}).floats, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(iota(Dtype::kI32, 1, {2, 2}).integers, ElementsAre(0, 1, 0, 1));
  EXPECT_EQ(iota(Dtype::kU8, 0, {300}).integers[299], 43);
}

// An element depends on its index and the key, not on how much there is or where its row ends.
TEST(CreationTest, RandomElementsFollowFromTheirIndex) {
  for (Op op : {Op::kRandomUniform, Op::kRandomNormal, Op::kRandomBernoulli}) {
    const auto draw = [&](std::vector<int64_t> shape, int64_t seed) {
      Tensors inputs = {Integers({}, {seed}), Integers({}, {5})};
      if (op == Op::kRandomBernoulli) inputs.push_back(Floats({}, {0.25}, Dtype::kF32));
      return Compute(op, inputs,
                     {.attributes = {static_cast<int32_t>(Dtype::kF32), 3,
                                     static_cast<int32_t>(shape.size())},
                      .extents = shape})[0]
          .floats;
    };
    const Numbers longer = draw({400}, 7), shorter = draw({3, 33}, 7);
    EXPECT_EQ(Numbers(longer.begin(), longer.begin() + 99), shorter) << Name(op);
    EXPECT_NE(draw({400}, 8), longer) << Name(op);
    double sum = 0;
    for (double x : longer) sum += x;
    const double mean = op == Op::kRandomUniform ? 0.5 : op == Op::kRandomNormal ? 0 : 0.25;
    EXPECT_NEAR(sum / 400, mean, 0.15) << Name(op);
  }
}

// What every op makes of the part [1, 3) x [2, 4) of a [4, 5] is what stands there in the whole.
TEST(CreationTest, PartsAreThoseOfTheWhole) {
  for (Op op : {Op::kIota, Op::kRandomUniform, Op::kRandomNormal, Op::kRandomBernoulli}) {
    const auto make = [&](std::vector<int64_t> extents) {
      Tensors inputs;
      if (op != Op::kIota) inputs = {Integers({}, {7}), Integers({}, {5})};
      if (op == Op::kRandomBernoulli) inputs.push_back(Floats({}, {0.25}, Dtype::kF32));
      return Compute(
                 op, inputs,
                 {.attributes = {static_cast<int32_t>(Dtype::kF32), 1, 2}, .extents = extents})[0]
          .floats;
    };
    const Numbers whole = make({4, 5});
    EXPECT_THAT(make({2, 2, 4, 5, 1, 2}), ElementsAre(whole[7], whole[8], whole[12], whole[13]))
        << Name(op);
    EXPECT_EQ(make({4, 5, 4, 5, 0, 0}), whole) << Name(op);
  }
}

TEST(ReduceTest, NothingGivesTheIdentity) {
  const auto reduce = [](Op op, const ReferenceTensor& x) {
    return Compute(op, {x}, {.attributes = {0}})[0];
  };
  const ReferenceTensor floats = Floats({0, 1}, {}), wholes = Integers({0, 1}, {}, Dtype::kI32);
  EXPECT_THAT(reduce(Op::kReduceSum, floats).floats, ElementsAre(0));
  EXPECT_THAT(reduce(Op::kReduceProd, floats).floats, ElementsAre(1));
  EXPECT_THAT(reduce(Op::kReduceMax, floats).floats, ElementsAre(-kInf));
  EXPECT_THAT(reduce(Op::kReduceMin, floats).floats, ElementsAre(kInf));
  EXPECT_THAT(reduce(Op::kReduceMean, floats).floats, Same({kNan}));
  EXPECT_THAT(reduce(Op::kReduceMax, wholes).integers, ElementsAre(kI32Min));
  EXPECT_THAT(reduce(Op::kReduceMin, wholes).integers, ElementsAre(kI32Max));
  const ReferenceTensor flags = Integers({0, 1}, {}, Dtype::kBool);
  EXPECT_THAT(reduce(Op::kReduceAny, flags).integers, ElementsAre(0));
  EXPECT_THAT(reduce(Op::kReduceAll, flags).integers, ElementsAre(1));
}

TEST(ReduceTest, CombinesOverTheAxes) {
  const ReferenceTensor x = Floats({2, 3}, {1, 2, 3, 4, kNan, 6});
  EXPECT_THAT(Compute(Op::kReduceSum, {x}, {.attributes = {0}})[0].floats, Same({5, kNan, 9}));
  EXPECT_THAT(Compute(Op::kReduceMax, {x}, {.attributes = {1}})[0].floats, Same({3, kNan}));
  EXPECT_THAT(Compute(Op::kReduceMin, {x}, {.attributes = {1}})[0].floats, Same({1, kNan}));
  EXPECT_THAT(Compute(Op::kReduceMean, {x}, {.attributes = {1}})[0].floats, Same({2, kNan}));
  EXPECT_THAT(Compute(Op::kReduceSum, {x}, {.attributes = {1, 0}})[0].floats, Same({kNan}));
  const ReferenceTensor wholes = Integers({2, 2}, {200, 100, 100, 1}, Dtype::kU8);
  EXPECT_THAT(Compute(Op::kReduceSum, {wholes}, {.attributes = {0}})[0].integers,
              ElementsAre(44, 101));
}

TEST(ReduceTest, ArgmaxIsTheFirstAndNanIsTheExtreme) {
  const ReferenceTensor x = Floats({2, 4}, {1, 3, 3, 2, 5, kNan, 9, kNan});
  EXPECT_THAT(Compute(Op::kArgmax, {x}, {.attributes = {1}})[0].integers, ElementsAre(1, 1));
  EXPECT_THAT(Compute(Op::kArgmin, {x}, {.attributes = {1}})[0].integers, ElementsAre(0, 1));
  EXPECT_THAT(Compute(Op::kArgmax, {x}, {.attributes = {0}})[0].integers, ElementsAre(1, 1, 1, 1));
}

TEST(OrderTest, SortIsStableAndNanIsTheLargest) {
  const ReferenceTensor x = Line(Numbers{2, kNan, 1, 2, -kInf, kNan});
  Tensors up = Compute(Op::kSort, {x}, {.attributes = {0, 0}});
  EXPECT_THAT(up[0].floats, Same({-kInf, 1, 2, 2, kNan, kNan}));
  EXPECT_THAT(up[1].integers, ElementsAre(4, 2, 0, 3, 1, 5));
  Tensors down = Compute(Op::kSort, {x}, {.attributes = {0, 1}});
  EXPECT_THAT(down[1].integers, ElementsAre(1, 5, 0, 3, 2, 4));
  Tensors top = Compute(Op::kTopK, {x}, {.attributes = {0}, .extents = {3}});
  EXPECT_THAT(top[0].floats, Same({kNan, kNan, 2}));
  EXPECT_THAT(top[1].integers, ElementsAre(1, 5, 0));
}

TEST(OrderTest, CumsumRunsAlongItsAxisAndWraps) {
  const ReferenceTensor x = Integers({2, 2}, {200, 1, 100, 2}, Dtype::kU8);
  EXPECT_THAT(Compute(Op::kCumsum, {x}, {.attributes = {0}})[0].integers,
              ElementsAre(200, 1, 44, 3));
  EXPECT_THAT(Compute(Op::kCumsum, {x}, {.attributes = {1}})[0].integers,
              ElementsAre(200, 201, 100, 102));
}

TEST(MatmulTest, TransposesItsOperands) {
  const ReferenceTensor a = Floats({1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const ReferenceTensor a_swapped = Floats({1, 3, 2}, {1, 4, 2, 5, 3, 6});
  const ReferenceTensor b = Floats({1, 3, 2}, {1, 0, 0, 1, 1, 1});
  const ReferenceTensor b_swapped = Floats({1, 2, 3}, {1, 0, 1, 0, 1, 1});
  const auto multiply = [](const ReferenceTensor& x, const ReferenceTensor& y, int32_t tx,
                           int32_t ty) {
    return Compute(Op::kMatmul, {x, y}, {.attributes = {tx, ty}})[0].floats;
  };
  EXPECT_THAT(multiply(a, b, 0, 0), ElementsAre(4, 5, 10, 11));
  EXPECT_THAT(multiply(a_swapped, b, 1, 0), ElementsAre(4, 5, 10, 11));
  EXPECT_THAT(multiply(a, b_swapped, 0, 1), ElementsAre(4, 5, 10, 11));
  EXPECT_THAT(multiply(a_swapped, b_swapped, 1, 1), ElementsAre(4, 5, 10, 11));
  EXPECT_THAT(multiply(Floats({1, 2, 0}, {}), Floats({1, 0, 2}, {}), 0, 0),
              ElementsAre(0, 0, 0, 0));
}

// Larger than the blocks in which it is computed.
TEST(MatmulTest, BlocksAddUp) {
  const int64_t m = 3, k = 130, n = 300;
  ReferenceTensor a = Integers({m, k}, Wholes(m * k), Dtype::kI32);
  ReferenceTensor b = Integers({k, n}, Wholes(k * n), Dtype::kI32);
  for (int64_t i = 0; i < m * k; ++i) a.integers[i] = i % 7 - 3;
  for (int64_t i = 0; i < k * n; ++i) b.integers[i] = i % 11 - 5;
  const Wholes c = Compute(Op::kMatmul, {a, b}, {.attributes = {0, 0}})[0].integers;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      int64_t sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += a.integers[i * k + l] * b.integers[l * n + j];
      ASSERT_EQ(c[i * n + j], sum) << i << " " << j;
    }
  }
}

TEST(IndexedTest, ReadsAndWritesWhereIdsSay) {
  const ReferenceTensor x = Integers({2, 3}, {1, 2, 3, 4, 5, 6}, Dtype::kU8);
  const OpDetails axis1 = {.attributes = {1}};
  EXPECT_THAT(Compute(Op::kIndexSelect, {x, Line(Wholes{2, 0, 2})}, axis1)[0].integers,
              ElementsAre(3, 1, 3, 6, 4, 6));
  EXPECT_THAT(
      Compute(Op::kIndexAdd, {x, Line(Wholes{2, 2}), Integers({2, 2}, {1, 1, 250, 1}, Dtype::kU8)},
              axis1)[0]
          .integers,
      ElementsAre(1, 2, 5, 4, 5, 1));
  const ReferenceTensor ids = Integers({2, 2}, {2, 2, 0, 1}, Dtype::kI32);
  EXPECT_THAT(Compute(Op::kGather, {x, ids}, axis1)[0].integers, ElementsAre(3, 3, 4, 5));
  const ReferenceTensor updates = Integers({2, 2}, {7, 8, 9, 255}, Dtype::kU8);
  EXPECT_THAT(Compute(Op::kScatter, {x, ids, updates}, axis1)[0].integers,
              ElementsAre(1, 2, 8, 9, 255, 6));
  EXPECT_THAT(Compute(Op::kScatterAdd, {x, ids, updates}, axis1)[0].integers,
              ElementsAre(1, 2, 18, 13, 4, 6));
}

}  // namespace
}  // namespace moai
