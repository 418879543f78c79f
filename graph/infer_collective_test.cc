// Types of the ops that exchange elements with other devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "graph/infer.h"
#include "graph/signature.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kSum = static_cast<int32_t>(ReduceKind::kSum);
constexpr int32_t kOr = static_cast<int32_t>(ReduceKind::kOr);

struct Spec {
  Op op;
  std::vector<TensorType> inputs;
  std::vector<int32_t> attributes;
  std::vector<int64_t> extents = {};
};

absl::StatusOr<TensorType> Infer(const Spec& spec) {
  Node node;
  node.op = spec.op;
  node.inputs.resize(spec.inputs.size());
  node.attributes.assign(spec.attributes.begin(), spec.attributes.end());
  node.extent_count = static_cast<uint32_t>(spec.extents.size());
  TensorType output;
  const absl::Status status =
      InferNode(node, spec.inputs, spec.extents, absl::MakeSpan(&output, 1));
  if (!status.ok()) return status;
  const absl::StatusOr<IndexSignature> signature =
      InstantiateSignature(node, spec.inputs, {output});
  if (!signature.ok()) return signature.status();
  for (const Index& index : signature->indices) EXPECT_EQ(index.kind, IndexKind::kWhole);
  return output;
}

TensorType T(std::initializer_list<int64_t> extents, Dtype dtype = Dtype::kF32) {
  return {dtype, Shape(extents)};
}

TEST(InferCollectiveTest, GivesTheTypesThatTheTableStates) {
  const std::vector<std::pair<Spec, TensorType>> cases = {
      {{Op::kAllReduce, {T({2, 3})}, {0, kSum}}, T({2, 3})},
      {{Op::kAllReduce, {T({}, Dtype::kBool)}, {7, kOr}}, T({}, Dtype::kBool)},
      {{Op::kAllGather, {T({2, 4})}, {1, 0}, {10, 2}}, T({2, 10})},
      {{Op::kAllGather, {T({0, 4})}, {0, 0}, {3, 1}}, T({3, 4})},
      {{Op::kReduceScatter, {T({2, 10})}, {1, 0, kSum}, {4, 2}}, T({2, 4})},
      {{Op::kReduceScatter, {T({2, 10})}, {1, 0, kSum}, {0, 5}}, T({2, 0})},
      // Joins dim 1, splits dim 0.
      {{Op::kAllToAll, {T({8, 3})}, {1, 0, 0}, {6, 3, 2, 2}}, T({2, 6})},
      {{Op::kBroadcastFromFirst, {T({0, 0})}, {0, 2}, {4, 5}}, T({4, 5})},
      {{Op::kSend, {T({2, 3})}, {0}}, T({0}, Dtype::kU8)},
      {{Op::kRecv, {}, {static_cast<int32_t>(Dtype::kBF16), 0, 2}, {4, 5}},
       T({4, 5}, Dtype::kBF16)},
  };
  for (const auto& [spec, expected] : cases) {
    const absl::StatusOr<TensorType> type = Infer(spec);
    ASSERT_TRUE(type.ok()) << type.status();
    EXPECT_EQ(*type, expected) << Name(spec.op);
  }
}

TEST(InferCollectiveTest, SaysWhichRuleIsBroken) {
  const std::vector<std::pair<Spec, const char*>> cases = {
      {{Op::kAllReduce, {T({2})}, {-1, kSum}}, "attribute group must be 0 or more, got -1"},
      {{Op::kAllReduce, {T({2})}, {0, 0}}, "attribute reduce is 0, which is no reduction"},
      {{Op::kAllReduce, {T({2})}, {0, 7}}, "attribute reduce is 7, which is no reduction"},
      {{Op::kAllReduce, {T({2})}, {0, kOr}}, "input 0 must have dtype bool, got f32"},
      {{Op::kAllReduce, {T({2}, Dtype::kBool)}, {0, kSum}}, "dtype other than bool"},
      {{Op::kAllGather, {T({2})}, {1, 0}, {4, 1}}, "attribute axis must be in [0, 1), got 1"},
      {{Op::kAllGather, {T({2})}, {0, 0}, {4, 0}}, "the unit of dim 0 must be 1 or more, got 0"},
      {{Op::kAllGather, {T({5})}, {0, 0}, {4, 1}}, "the part of dim 0 must be in [0, 4], got 5"},
      {{Op::kAllGather, {T({2})}, {0, 0}, {5, 2}}, "units of 2, which do not divide 5"},
      {{Op::kAllGather, {T({3})}, {0, 0}, {6, 2}}, "units of 2, which do not divide 3"},
      {{Op::kAllGather, {T({0, 2})}, {0, 0}, {int64_t{1} << 44, 1}}, "a tensor has at most"},
      {{Op::kReduceScatter, {T({4})}, {0, 0, kSum}, {5, 1}}, "must be in [0, 4], got 5"},
      {{Op::kReduceScatter, {T({4})}, {0, 0, kSum}, {-1, 1}}, "must be in [0, 4], got -1"},
      {{Op::kReduceScatter, {T({4})}, {0, 0, kOr}, {2, 1}}, "must have dtype bool"},
      {{Op::kAllToAll, {T({4, 4})}, {1, 1, 0}, {8, 1, 2, 1}}, "axis and split_axis must differ"},
      {{Op::kAllToAll, {T({4, 4})}, {1, 2, 0}, {8, 1, 2, 1}},
       "attribute split_axis must be in [0, 2), got 2"},
      {{Op::kAllToAll, {T({4, 4})}, {1, 0, 0}, {8, 1, 3, 2}}, "units of 2, which do not divide 3"},
      {{Op::kAllToAll, {T({4, 4})}, {1, 0, 0}, {3, 1, 2, 1}}, "must be in [0, 3], got 4"},
      {{Op::kBroadcastFromFirst, {T({2})}, {0, 2}, {4, 5}}, "input 0 must have rank 2, got rank 1"},
      {{Op::kBroadcastFromFirst, {T({2})}, {0, 1}, {-4}}, "extents must be 0 or more"},
      {{Op::kRecv, {}, {99, 0, 1}, {4}}, "attribute dtype is 99, which is no dtype"},
      {{Op::kRecv, {}, {1, 0, 1}, {4, 4}}, "takes 1 extents (shape), got 2"},
  };
  for (const auto& [spec, expected] : cases) {
    const absl::Status status = Infer(spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << expected;
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
  }
}

TEST(InferCollectiveTest, ExtremeExtentsAreRefusedOrWithinLimits) {
  const int64_t extremes[] = {
      std::numeric_limits<int64_t>::min(), -kMaxElements, -1, 0, 1, kMaxElements,
      std::numeric_limits<int64_t>::max()};
  const Spec specs[] = {
      {Op::kAllGather, {T({2, 4})}, {1, 0}, {10, 2}},
      {Op::kReduceScatter, {T({2, 10})}, {1, 0, kSum}, {4, 2}},
      {Op::kAllToAll, {T({8, 3})}, {1, 0, 0}, {6, 3, 2, 2}},
      {Op::kBroadcastFromFirst, {T({0, 0})}, {0, 2}, {4, 5}},
      {Op::kRecv, {}, {1, 0, 2}, {4, 5}},
  };
  int refused = 0;
  for (Spec spec : specs) {
    for (int64_t& extent : spec.extents) {
      const int64_t good = extent;
      for (int64_t extreme : extremes) {
        extent = extreme;
        const absl::StatusOr<TensorType> type = Infer(spec);
        refused += !type.ok();
        if (type.ok()) {
          EXPECT_TRUE(WithinLimits(type->shape));
        }
      }
      extent = good;
    }
  }
  EXPECT_GT(refused, 30);
}

}  // namespace
}  // namespace moai
