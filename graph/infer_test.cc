#include "graph/infer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "graph/testing/random_node.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr Dtype kF32 = Dtype::kF32;

struct Spec {
  Op op;
  std::vector<TensorType> inputs;
  std::vector<int32_t> attributes = {};
  std::vector<int64_t> extents = {};
  std::vector<double> numbers = {};
};

struct Inferred {
  absl::Status status;
  std::vector<TensorType> outputs;
};

Inferred Infer(const Spec& spec) {
  Node node;
  node.op = spec.op;
  node.inputs.resize(spec.inputs.size());
  node.attributes.assign(spec.attributes.begin(), spec.attributes.end());
  node.numbers.assign(spec.numbers.begin(), spec.numbers.end());
  node.extent_count = static_cast<uint32_t>(spec.extents.size());
  node.output_count = static_cast<uint8_t>(Entry(spec.op).outputs);
  Inferred inferred;
  inferred.outputs.resize(node.output_count);
  inferred.status = InferNode(node, spec.inputs, spec.extents, absl::MakeSpan(inferred.outputs));
  return inferred;
}

TensorType T(std::initializer_list<int64_t> extents, Dtype dtype = kF32) {
  return {dtype, Shape(extents)};
}

struct Good {
  Spec spec;
  std::vector<TensorType> outputs;
};

TEST(InferNodeTest, GivesTheTypesThatTheTableStates) {
  const std::vector<int64_t> conv = {2, 1, 1, 0, 2, 2, 1, 2, 2};
  const Good cases[] = {
      {{Op::kAdd, {T({}), T({2, 0})}}, {T({2, 0})}},
      {{Op::kEq, {T({3}, Dtype::kBool), T({3}, Dtype::kBool)}}, {T({3}, Dtype::kBool)}},
      {{Op::kCast, {T({3})}, {6}}, {T({3}, Dtype::kI64)}},
      {{Op::kSelect, {T({}, Dtype::kBool), T({2}), T({})}}, {T({2})}},
      {{Op::kReshape, {T({2, 0, 3})}, {2}, {0, 7}}, {T({0, 7})}},
      {{Op::kTranspose, {T({2, 3, 4})}, {2, 0, 1}}, {T({4, 2, 3})}},
      {{Op::kBroadcast, {T({1, 3})}, {3, 0, 2}, {5, 4, 3}}, {T({5, 4, 3})}},
      {{Op::kSlice, {T({10, 3})}, {}, {1, 10, 4, 3, 3, 1}}, {T({3, 0})}},
      {{Op::kSlice, {T({10})}, {}, {0, 10, kMaxElements}}, {T({1})}},
      {{Op::kSliceUpdate, {T({10}), T({3})}, {}, {3, 3}}, {T({10})}},
      {{Op::kPad, {T({2}), T({})}, {}, {3, 1}}, {T({6})}},
      {{Op::kConcat, {T({2, 3}), T({2, 0}), T({2, 4})}, {1}}, {T({2, 7})}},
      {{Op::kIota, {}, {6, 1, 2}, {2, 5}}, {T({2, 5}, Dtype::kI64)}},
      {{Op::kIota, {}, {6, 1, 2}, {2, 3, 9, 5, 7, 2}}, {T({2, 3}, Dtype::kI64)}},
      {{Op::kFill, {T({}, Dtype::kU8)}, {1}, {4}}, {T({4}, Dtype::kU8)}},
      {{Op::kReduceSum, {T({2, 3, 4})}, {2, 0}}, {T({3})}},
      {{Op::kReduceAny, {T({2}, Dtype::kBool)}, {}}, {T({2}, Dtype::kBool)}},
      {{Op::kArgmax, {T({2, 3, 4})}, {1}}, {T({2, 4}, Dtype::kI64)}},
      {{Op::kTopK, {T({2, 5})}, {1}, {3}}, {T({2, 3}), T({2, 3}, Dtype::kI64)}},
      {{Op::kMatmul, {T({7, 3, 2}), T({7, 5, 3})}, {1, 1}}, {T({7, 2, 5})}},
      {{Op::kConv2d, {T({1, 4, 6, 5}), T({6, 2, 3, 2})}, {}, conv}, {T({1, 6, 3, 7})}},
      {{Op::kLayerNorm, {T({2, 3}, Dtype::kBF16), T({3}), T({3})}, {}, {}, {1e-5}},
       {T({2, 3}, Dtype::kBF16), T({2}), T({2})}},
      {{Op::kGroupNorm, {T({2, 6, 5}), T({6}), T({6})}, {}, {3}, {1e-5}},
       {T({2, 6, 5}), T({2, 3}), T({2, 3})}},
      {{Op::kAttention,
        {T({2, 3, 4, 8}), T({2, 5, 2, 8}), T({2, 5, 2, 6}), T({1, 4, 3, 5})},
        {1},
        {},
        {0.5}},
       {T({2, 3, 4, 6}), T({2, 4, 3})}},
      {{Op::kEmbedding, {T({9, 4}, Dtype::kF16), T({2, 3}, Dtype::kI32)}},
       {T({2, 3, 4}, Dtype::kF16)}},
      {{Op::kEmbedding, {T({9, 4}), T({3}, Dtype::kI32)}, {}, {2, 11}}, {T({3, 4})}},
      {{Op::kEmbeddingGrad, {T({2}, Dtype::kI64), T({2, 4})}, {1}, {9, 1, 10}}, {T({9, 4})}},
      {{Op::kEmbeddingGrad, {T({2}, Dtype::kI64), T({2, 4}, Dtype::kBF16)}, {1}, {9}}, {T({9, 4})}},
      {{Op::kGather, {T({3, 5}), T({3, 2}, Dtype::kI64)}, {1}}, {T({3, 2})}},
      {{Op::kCrossEntropy, {T({4, 9}, Dtype::kF64), T({4}, Dtype::kI32)}, {-100}},
       {T({4}, Dtype::kF64), T({4}, Dtype::kF64)}},
  };
  for (const Good& good : cases) {
    const Inferred inferred = Infer(good.spec);
    EXPECT_TRUE(inferred.status.ok()) << inferred.status;
    EXPECT_EQ(inferred.outputs, good.outputs) << Name(good.spec.op);
  }
}

struct Bad {
  Spec spec;
  const char* expected;
};

TEST(InferNodeTest, SaysWhichRuleIsBroken) {
  const int64_t huge = int64_t{1} << 40;
  const std::vector<int64_t> conv = {1, 1, 0, 0, 0, 0, 1, 1, 1};
  const auto conv_with = [&](int at, int64_t number) {
    std::vector<int64_t> changed = conv;
    changed[at] = number;
    return changed;
  };
  const TensorType image = T({1, 4, 5, 5}), kernel = T({6, 4, 3, 3});
  const TensorType q = T({2, 3, 4, 8}), k = T({2, 5, 2, 8}), v = T({2, 5, 2, 6});
  const Bad cases[] = {
      {{Op::kAdd, {T({2}), T({2}, Dtype::kF16)}}, "add: input 1 must have dtype f32, got f16"},
      {{Op::kAdd, {T({2}, Dtype::kBool), T({2}, Dtype::kBool)}}, "dtype other than bool"},
      {{Op::kAdd, {T({2})}}, "add: takes 2 inputs, got 1"},
      {{Op::kExp, {T({2}, Dtype::kI32)}}, "input 0 must have dtype f32, bf16, f16 or f64, got i32"},
      {{Op::kReduceAny, {T({2}, Dtype::kI32)}, {0}}, "input 0 must have dtype bool, got i32"},
      {{Op::kSelect, {T({2}), T({2}), T({2})}}, "select: input 0 must have dtype bool"},
      {{Op::kCast, {T({2})}, {9}}, "attribute dtype is 9, which is no dtype"},
      {{Op::kCast, {T({2})}, {-1}}, "attribute dtype is -1, which is no dtype"},
      {{Op::kRandomNormal, {T({}, Dtype::kI64), T({}, Dtype::kI64)}, {5, 0, 0}},
       "attribute dtype must be f32"},
      {{Op::kReshape, {T({2, 3})}, {1}, {7}}, "has 6 elements and cannot become [7]"},
      {{Op::kReshape, {T({2, 0})}, {3}, {0, huge, huge}}, "cannot become"},
      {{Op::kReshape, {T({2})}, {9}, {2}}, "attribute rank must be in [0, 8], got 9"},
      {{Op::kReshape, {T({4})}, {2}, {-2, -2}}, "cannot become [-2, -2]"},
      {{Op::kTranspose, {T({2, 3})}, {1, 1}}, "axis 1 is named twice"},
      {{Op::kTranspose, {T({2, 3})}, {1}}, "one axis for each of the 2 dims, got 1"},
      {{Op::kTranspose, {T({2, 3})}, {1, 2}}, "attribute axes must be in [0, 2), got 2"},
      {{Op::kBroadcast, {T({2, 3})}, {3, 2, 0}, {3, 1, 2}}, "axes must ascend"},
      {{Op::kBroadcast, {T({2})}, {1, 0}, {3}}, "dim 0 of input 0 must be 1 or 3, got 2"},
      {{Op::kSlice, {T({5})}, {}, {2, 6, 1}}, "needs 0 <= start <= limit <= 5"},
      {{Op::kSlice, {T({5})}, {}, {3, 2, 1}}, "got start 3 and limit 2"},
      {{Op::kSlice, {T({5})}, {}, {0, 5, 0}}, "step of dim 0 must be 1 or more"},
      {{Op::kSlice, {T({5})}, {}, {0, 5}}, "takes 3 extents (start limit step), got 2"},
      {{Op::kSliceUpdate, {T({5}), T({3})}, {}, {1, 2}}, "only 2 positions of 5 are left"},
      {{Op::kSliceUpdate, {T({5}), T({1, 1})}, {}, {1, 2}}, "input 1 must have rank 1"},
      {{Op::kPad, {T({5}), T({})}, {}, {-1, 0}}, "padding of dim 0 must be 0 or more"},
      {{Op::kPad, {T({5}), T({1})}, {}, {1, 0}}, "input 1 must have rank 0, got rank 1"},
      {{Op::kConcat, {T({2, 3}), T({3, 3})}, {1}}, "dim 0 of input 1 must be 2"},
      {{Op::kConcat, {}, {0}}, "takes at least 1 inputs, got 0"},
      {{Op::kFill, {T({})}, {2}, {huge, huge}}, "would have shape [1099511627776, 1099511627776]"},
      {{Op::kFill, {T({})}, {1}, {-1}}, "extents must be 0 or more"},
      {{Op::kFill, {T({})}, {1}, {std::numeric_limits<int64_t>::max()}}, "extent 0 (of: shape) is"},
      {{Op::kIota, {}, {1, 0, 0}}, "attribute axis must be in [0, 0), got 0"},
      {{Op::kIota, {}, {1, 0, 1}, {3, 5}}, "takes 1 or 3 extents (shape [whole start]), got 2"},
      {{Op::kIota, {}, {1, 0, 1}, {3, 5, 3}}, "dim 0 is a part of 5, but starts at 3 and has 3"},
      {{Op::kIota, {}, {1, 0, 1}, {3, 5, -1}}, "starts at -1"},
      {{Op::kIota, {}, {1, 0, 1}, {-3, 5, 4}}, "extents must be 0 or more"},
      {{Op::kIota, {}, {1, 0, 2}, {0, 0, huge, huge, 0, 0}}, "the whole would have shape"},
      {{Op::kTril, {T({2})}, {}, {0}}, "input 0 must have rank 2 or more"},
      {{Op::kReduceSum, {T({2, 3})}, {1, 1}}, "axis 1 is named twice"},
      {{Op::kArgmax, {T({2, 0})}, {1}}, "axis 1 of [2, 0] must not be empty"},
      {{Op::kTopK, {T({5})}, {0}, {6}}, "k must be in [0, 5], got 6"},
      {{Op::kSort, {T({5})}, {0, 2}}, "attribute descending must be 0 or 1, got 2"},
      {{Op::kMatmul, {T({2, 3}), T({2, 3})}, {0, 0}}, "dim 0 of input 1 must be 3"},
      {{Op::kMatmul, {T({2, 3}), T({1, 3, 2})}, {0, 0}}, "input 1 must have rank 2, got rank 3"},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(0, 0)}, "stride h must be in [1, "},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(4, -1)}, "padding w must be in [0, "},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(6, 3)},
       "a window that reaches over 7 in h does not fit the padded extent 5"},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(6, int64_t{1} << 31)}, "dilation h must be in"},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(8, 4)}, "4 groups do not divide 4 input and 6"},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(8, 0)}, "groups must be 1 or more"},
      {{Op::kConv2d, {image, kernel}, {}, conv_with(8, 2)}, "dim 1 of input 1 must be 2"},
      {{Op::kLayerNorm, {T({2, 3}), T({3}, Dtype::kBF16), T({3})}, {}, {}, {1e-5}},
       "input 1 must have dtype f32, got bf16"},
      {{Op::kLayerNorm, {T({2, 3}), T({3}), T({3})}, {}, {}, {}}, "takes 1 numbers, got 0"},
      {{Op::kLayerNorm,
        {T({2, 3}), T({3}), T({3})},
        {},
        {},
        {std::numeric_limits<double>::infinity()}},
       "numbers must be finite"},
      {{Op::kLayerNorm, {T({2, 3}), T({4}), T({4})}, {}, {}, {1e-5}},
       "dim 0 of input 1 must be 3 (index r of input 0), got 4"},
      {{Op::kGroupNorm, {T({2, 6}), T({6}), T({6})}, {}, {4}, {1e-5}}, "divide the 6 channels"},
      {{Op::kAttention, {q, T({2, 5, 3, 8}), T({2, 5, 3, 6})}, {0}, {}, {1}},
       "the 4 heads of input 0 must be a multiple of the 3 heads of input 1"},
      {{Op::kAttention, {q, k, v, T({2, 2, 3, 5})}, {0}, {}, {1}},
       "dim 1 of input 3 (mask) must be 4 or 1, got 2"},
      {{Op::kAttention, {q, k, v, T({2, 4, 1, 5})}, {0}, {}, {1}},
       "dim 2 of input 3 (mask) must be 3, got 1"},
      {{Op::kRotary, {T({1, 2, 3, 5}), T({2, 2}), T({2, 2})}, {0}}, "head size must be even"},
      {{Op::kEmbedding, {T({9, 4}), T({2})}}, "input 1 must have dtype i32 or i64, got f32"},
      {{Op::kEmbedding, {T({9, 4}), T({2}, Dtype::kI64)}, {}, {2, 10}},
       "the 9 rows from row 2 on must be rows of a table of 10"},
      {{Op::kEmbedding, {T({9, 4}), T({2}, Dtype::kI64)}, {}, {2}},
       "takes 0 or 2 extents ([first whole]), got 1"},
      {{Op::kEmbeddingGrad, {T({2}, Dtype::kI64), T({2, 4})}, {1}, {9, -1, 10}},
       "the 9 rows from row -1 on"},
      {{Op::kGather, {T({3, 5}), T({2, 2}, Dtype::kI64)}, {1}}, "dim 0 of input 1 must be 3"},
      {{Op::kGather, {T({3, 5}), T({3}, Dtype::kI64)}, {1}}, "input 1 must have rank 2 or more"},
      {{Op::kCrossEntropy, {T({4, 9}), T({5}, Dtype::kI32)}, {0}}, "dim 0 of input 1 must be 4"},
  };
  for (const Bad& bad : cases) {
    const Inferred inferred = Infer(bad.spec);
    EXPECT_EQ(inferred.status.code(), absl::StatusCode::kInvalidArgument) << bad.expected;
    EXPECT_THAT(std::string(inferred.status.message()), HasSubstr(bad.expected));
    EXPECT_THAT(std::string(inferred.status.message()),
                ::testing::StartsWith(std::string(Name(bad.spec.op)) + ": "));
  }
}

// Any single number of the size vector may be hostile; nothing overflows (the sanitizers watch),
// and what is accepted is within limits.
TEST(InferNodeTest, ExtremeSizesAreRefusedOrWithinLimits) {
  const int64_t extremes[] = {std::numeric_limits<int64_t>::min(),
                              -kMaxElements - 1,
                              -kMaxElements,
                              -1,
                              0,
                              1,
                              (int64_t{1} << 31) - 1,
                              kMaxElements,
                              kMaxElements + 1,
                              std::numeric_limits<int64_t>::max()};
  std::mt19937_64 random(1);
  int64_t accepted = 0, refused = 0;
  for (const OpEntry& entry : ClientOps()) {
    for (int draw = 0; draw < 8; ++draw) {
      const std::vector<Dtype> dtypes = DtypesOf(entry.op);
      const CapturedGraph captured =
          *RandomNodeGraph(entry.op, dtypes[draw % dtypes.size()], random);
      for (size_t at = 0; at < captured.sizes.size(); ++at) {
        for (int64_t extreme : extremes) {
          Sizes sizes = captured.sizes;
          sizes[at] = extreme;
          const absl::StatusOr<std::vector<TensorType>> types = InferGraph(captured.graph, sizes);
          ++(types.ok() ? accepted : refused);
          if (!types.ok()) continue;
          for (const TensorType& type : *types) EXPECT_TRUE(WithinLimits(type.shape));
        }
      }
    }
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, accepted);
}

}  // namespace
}  // namespace moai
