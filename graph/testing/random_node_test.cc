#include "graph/testing/random_node.h"

#include <gtest/gtest.h>

#include <set>

#include "graph/infer.h"
#include "graph/testing/random_bindings.h"

namespace moai {
namespace {

constexpr int kDraws = 150;

TEST(RandomNodeTest, EveryOpAndDtypeGivesValidNodes) {
  std::mt19937_64 random(1);
  for (const OpEntry& entry : ClientOps()) {
    const std::vector<Dtype> dtypes = DtypesOf(entry.op);
    ASSERT_FALSE(dtypes.empty()) << entry.name;
    bool empty = false;
    std::set<std::string> distinct;
    for (int draw = 0; draw < kDraws; ++draw) {
      const Dtype dtype = dtypes[draw % dtypes.size()];
      const absl::StatusOr<CapturedGraph> captured = RandomNodeGraph(entry.op, dtype, random);
      ASSERT_TRUE(captured.ok()) << captured.status();
      const absl::StatusOr<std::vector<TensorType>> types =
          InferGraph(captured->graph, captured->sizes);
      ASSERT_TRUE(types.ok()) << types.status();
      EXPECT_EQ(*types, captured->types);
      std::string text;
      for (const TensorType& type : *types) {
        empty |= type.shape.elements() == 0;
        text += ToString(type);
      }
      distinct.insert(text);
    }
    EXPECT_GE(distinct.size(), 10u) << entry.name;
    EXPECT_TRUE(empty || entry.op == Op::kAdamW) << entry.name << " is never empty";
  }
}

TEST(RandomNodeTest, NothingIsEmptyWhereNotAllowed) {
  std::mt19937_64 random(2);
  for (const OpEntry& entry : ClientOps()) {
    for (int draw = 0; draw < kDraws; ++draw) {
      const absl::StatusOr<CapturedGraph> captured = RandomNodeGraph(
          entry.op, DtypesOf(entry.op)[0], random, {.allow_empty = false, .max_extent = 3});
      ASSERT_TRUE(captured.ok()) << captured.status();
      for (const TensorType& type : captured->types) EXPECT_GT(type.shape.elements(), 0);
    }
  }
}

// Dtypes that DtypesOf leaves out are those that inference refuses.
TEST(RandomNodeTest, DtypesAreAllThatInferenceTakes) {
  std::mt19937_64 random(3);
  for (const OpEntry& entry : ClientOps()) {
    const std::vector<Dtype> dtypes = DtypesOf(entry.op);
    for (Dtype dtype : kAllDtypes) {
      const bool listed = std::find(dtypes.begin(), dtypes.end(), dtype) != dtypes.end();
      EXPECT_EQ(RandomNodeGraph(entry.op, dtype, random).ok(), listed)
          << entry.name << " " << Name(dtype);
    }
  }
}

TEST(RandomNodeTest, SameSeedSameNode) {
  for (const OpEntry& entry : ClientOps()) {
    std::mt19937_64 first(7), second(7);
    const Dtype dtype = DtypesOf(entry.op).back();
    const CapturedGraph a = *RandomNodeGraph(entry.op, dtype, first);
    const CapturedGraph b = *RandomNodeGraph(entry.op, dtype, second);
    EXPECT_EQ(a.fingerprint, b.fingerprint);
    EXPECT_EQ(a.sizes, b.sizes);
    EXPECT_EQ(RandomBindings(a, first), RandomBindings(b, second));
  }
}

TEST(RandomBindingsTest, BytesFitTypesAndIdsAreInRange) {
  std::mt19937_64 random(4);
  for (const OpEntry& entry : ClientOps()) {
    for (int draw = 0; draw < 20; ++draw) {
      const std::vector<Dtype> dtypes = DtypesOf(entry.op);
      const CapturedGraph captured =
          *RandomNodeGraph(entry.op, dtypes[draw % dtypes.size()], random);
      const std::vector<std::vector<std::byte>> bindings = RandomBindings(captured, random);
      ASSERT_EQ(bindings.size(), captured.graph.inputs.size());
      for (size_t i = 0; i < bindings.size(); ++i) {
        EXPECT_EQ(bindings[i].size(), captured.types[captured.graph.inputs[i].value].bytes());
      }
      if (entry.op != Op::kGather) continue;
      const TensorType& ids = captured.types[1];
      const int64_t rows = captured.types[0].shape[captured.graph.nodes[0].attributes[0]];
      for (int64_t i = 0; i < ids.shape.elements(); ++i) {
        const double id = LoadElement(ids.dtype, bindings[1].data() + i * ByteSize(ids.dtype));
        EXPECT_GE(id, 0);
        EXPECT_LT(id, rows);
      }
    }
  }
}

}  // namespace
}  // namespace moai
