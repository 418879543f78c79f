#include "graph/signature.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

struct Instance {
  CapturedGraph captured;
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;
  IndexSignature signature;
};

Instance Instantiate(CapturedGraph captured) {
  Instance instance;
  const Node& node = captured.graph.nodes[0];
  for (ValueId input : node.inputs) instance.inputs.push_back(captured.types[input]);
  for (int i = 0; i < node.output_count; ++i) {
    instance.outputs.push_back(captured.types[node.first_output + i]);
  }
  instance.signature = *InstantiateSignature(node, instance.inputs, instance.outputs);
  instance.captured = std::move(captured);
  return instance;
}

bool IsAttention(Op op) { return op == Op::kAttention || op == Op::kAttentionGrad; }

TEST(SignatureTest, EveryDimHasAnIndexOfItsExtent) {
  std::mt19937_64 random(1);
  for (const OpEntry& entry : ClientOps()) {
    SCOPED_TRACE(std::string(entry.name));
    for (int draw = 0; draw < 30; ++draw) {
      const std::vector<Dtype> dtypes = DtypesOf(entry.op);
      const Instance instance =
          Instantiate(*RandomNodeGraph(entry.op, dtypes[draw % dtypes.size()], random));
      const IndexSignature& signature = instance.signature;
      ASSERT_EQ(signature.inputs.size(), instance.inputs.size());
      ASSERT_EQ(signature.outputs.size(), instance.outputs.size());
      std::map<int, std::set<int64_t>> extents;
      std::set<std::string> names;
      for (const Index& index : signature.indices) EXPECT_TRUE(names.insert(index.name).second);
      const auto visit = [&](const auto& dims, const TensorType& type) {
        ASSERT_EQ(dims.size(), static_cast<size_t>(type.shape.rank()));
        for (size_t dim = 0; dim < dims.size(); ++dim) {
          if (dims[dim] == kNoIndex) continue;
          ASSERT_LT(static_cast<size_t>(dims[dim]), signature.indices.size());
          extents[dims[dim]].insert(type.shape[static_cast<int>(dim)]);
        }
      };
      for (size_t i = 0; i < signature.inputs.size(); ++i) {
        visit(signature.inputs[i], instance.inputs[i]);
      }
      for (size_t i = 0; i < signature.outputs.size(); ++i) {
        visit(signature.outputs[i], instance.outputs[i]);
      }
      for (const auto& [index, seen] : extents) {
        const Index& named = signature.indices[index];
        if (named.kind == IndexKind::kWhole || named.kind == IndexKind::kHalo) continue;
        if (IsAttention(entry.op) && named.name == "h") continue;
        EXPECT_EQ(seen.size(), 1u) << named.name;
      }
    }
  }
}

// A parallel index is in every output; one that is contracted names its reduction.
TEST(SignatureTest, KindsFitTheirPlaces) {
  std::mt19937_64 random(2);
  for (const OpEntry& entry : ClientOps()) {
    SCOPED_TRACE(std::string(entry.name));
    for (int draw = 0; draw < 10; ++draw) {
      const Instance instance =
          Instantiate(*RandomNodeGraph(entry.op, DtypesOf(entry.op)[0], random));
      const IndexSignature& signature = instance.signature;
      for (size_t i = 0; i < signature.indices.size(); ++i) {
        const Index& index = signature.indices[i];
        const auto has = [&](const auto& dims) {
          return std::find(dims.begin(), dims.end(), static_cast<int8_t>(i)) != dims.end();
        };
        const auto in_outputs =
            std::count_if(signature.outputs.begin(), signature.outputs.end(), has);
        const bool reduces = index.kind == IndexKind::kContract || index.kind == IndexKind::kMasked;
        EXPECT_EQ(index.reduce != ReduceKind::kNone, reduces) << index.name;
        if (reduces) {
          EXPECT_LT(in_outputs, entry.outputs) << index.name;
        }
        // The logsumexp of attention does not depend on the values.
        const bool same_for_all_parts = entry.op == Op::kAttention && index.name == "e";
        if (index.kind == IndexKind::kParallel && !same_for_all_parts) {
          EXPECT_EQ(in_outputs, entry.outputs) << index.name << " of " << entry.signature;
        }
      }
    }
  }
}

std::string Describe(const IndexSignature& signature) {
  std::string text;
  const auto add = [&](const auto& operands) {
    for (const auto& dims : operands) {
      for (int8_t dim : dims) {
        absl::StrAppend(&text, dim == kNoIndex ? "-" : signature.indices[dim].name, " ");
      }
      absl::StrAppend(&text, ", ");
    }
  };
  add(signature.inputs);
  absl::StrAppend(&text, "-> ");
  add(signature.outputs);
  for (const Index& index : signature.indices) {
    if (index.kind == IndexKind::kWhole) absl::StrAppend(&text, index.name, ":whole ");
    if (index.kind == IndexKind::kContract) absl::StrAppend(&text, index.name, ":contract ");
  }
  return text;
}

std::string Describe(Op op, std::vector<Shape> shapes, std::vector<int32_t> attributes = {},
                     std::vector<int64_t> extents = {}, std::vector<double> numbers = {}) {
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  for (const Shape& shape : shapes) {
    inputs.push_back(builder.AddInput(InputKind::kValue, static_cast<uint32_t>(inputs.size()),
                                      {Dtype::kF32, shape}));
  }
  const absl::StatusOr<ValueId> added = builder.AddNode(op, inputs, attributes, extents, numbers);
  EXPECT_TRUE(added.ok()) << added.status();
  return Describe(Instantiate(builder.Finish()).signature);
}

TEST(SignatureTest, InstantiatesTheTable) {
  EXPECT_EQ(Describe(Op::kAdd, {{2, 3}, {}}), "i0 i1 , , -> i0 i1 , ");
  EXPECT_EQ(Describe(Op::kMatmul, {{5, 3, 2}, {5, 4, 3}}, {1, 1}),
            "b0 k m , b0 n k , -> b0 m n , k:contract ");
  EXPECT_EQ(Describe(Op::kReduceSum, {{2, 3, 4}}, {2, 0}),
            "r0 i0 r1 , -> i0 , r0:contract r1:contract ");
  EXPECT_EQ(Describe(Op::kTranspose, {{2, 3, 4}}, {2, 0, 1}), "i0 i1 i2 , -> i2 i0 i1 , ");
  EXPECT_EQ(Describe(Op::kBroadcast, {{1, 3}}, {3, 0, 2}, {5, 4, 3}), "- i2 , -> i0 i1 i2 , ");
  EXPECT_EQ(Describe(Op::kReshape, {{7, 2, 3, 5}}, {3}, {7, 6, 5}),
            "i0 f0 f1 j0 , -> i0 t0 j0 , f0:whole f1:whole t0:whole ");
  EXPECT_EQ(Describe(Op::kSlice, {{4, 5}}, {}, {0, 4, 1, 1, 3, 1}), "i0 i1 , -> i0 i1 , i1:whole ");
  EXPECT_EQ(Describe(Op::kConcat, {{2, 3}, {2, 4}}, {1}), "i0 c , i0 c , -> i0 c , c:whole ");
  EXPECT_EQ(Describe(Op::kSliceUpdate, {{4, 5}, {4, 2}}, {}, {0, 1, 1, 1}),
            "i0 i1 , i0 i1 , -> i0 i1 , i1:whole ");
  EXPECT_EQ(Describe(Op::kFlip, {{4, 5}}, {0}), "i0 i1 , -> i0 i1 , i0:whole ");
  EXPECT_EQ(
      Describe(Op::kAttention, {{2, 3, 4, 8}, {2, 5, 2, 8}, {2, 5, 2, 6}, {1, 4, 3, 5}}, {1}, {},
               {1.0}),
      "b s h d , b t h d , b t h e , - h s t , -> b s h e , b h s , s:whole d:whole t:whole ");
  EXPECT_EQ(Describe(Op::kLayerNormGrad, {{4, 3}, {3}, {4}, {4}, {4, 3}}),
            "i0 r , r , i0 , i0 , i0 r , -> i0 r , r , r , i0:contract r:whole ");
  EXPECT_EQ(Describe(Op::kConv2d, {{1, 4, 5, 5}, {6, 2, 3, 3}}, {}, {1, 1, 0, 0, 0, 0, 1, 1, 2}),
            "n c h w , o c p q , -> n o h' w' , c:whole o:whole p:whole q:whole ");
}

}  // namespace
}  // namespace moai
