// The table's texts follow their own notation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "graph/op.h"
#include "graph/op_schema.h"

namespace moai {
namespace {

TEST(OpTableTest, NamesAndPositionsAreUnique) {
  std::set<absl::string_view> names;
  int position = 0;
  for (const OpEntry& entry : AllOps()) {
    EXPECT_EQ(static_cast<int>(entry.op), ++position);
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_EQ(OpFromName(entry.name), entry.op);
    EXPECT_EQ(&Entry(entry.op), &entry);
  }
  EXPECT_EQ(position, kOpCount);
  EXPECT_FALSE(IsValid(Op::kInvalid));
  EXPECT_FALSE(IsValid(static_cast<Op>(kOpCount + 1)));
  EXPECT_EQ(Name(static_cast<Op>(kOpCount + 1)), "invalid");
  EXPECT_EQ(OpFromName("no such op"), std::nullopt);
}

// Ops that are not given their indices by data have nothing to check.
TEST(OpTableTest, CheckedInputsAreAmongTheInputsOfIndexedOps) {
  int checked = 0;
  for (const OpEntry& entry : AllOps()) {
    EXPECT_EQ(IsChecked(entry.op), entry.checked_input >= 0) << entry.name;
    if (entry.checked_input < 0) continue;
    ++checked;
    EXPECT_LT(entry.checked_input, entry.min_inputs) << entry.name;
    EXPECT_EQ(entry.op_class, OpClass::kIndexed) << entry.name;
  }
  EXPECT_GT(checked, 0);
  EXPECT_FALSE(IsChecked(Op::kInvalid));
}

// A table with gaps would make inference read what is not there.
TEST(OpTableTest, SchemasAreConsistent) {
  for (const OpEntry& entry : AllOps()) {
    SCOPED_TRACE(std::string(entry.name));
    const OpSchema& schema = Schema(entry.op);
    EXPECT_EQ(schema.outputs.size(), static_cast<size_t>(entry.outputs));
    EXPECT_LE(entry.outputs, 3);
    EXPECT_LE(schema.symbols.size(), static_cast<size_t>(kMaxSymbols));
    if (entry.max_inputs >= 0) {
      EXPECT_LE(schema.inputs.size(), static_cast<size_t>(entry.max_inputs));
      EXPECT_LE(entry.min_inputs, entry.max_inputs);
    } else {
      EXPECT_EQ(schema.inputs.size(), 1u);
      EXPECT_GE(entry.min_inputs, 1);
    }
    for (const std::vector<OperandPattern>* side : {&schema.inputs, &schema.outputs}) {
      for (const OperandPattern& pattern : *side) {
        for (size_t i = 0; i < pattern.tokens.size(); ++i) {
          const TokenKind kind = pattern.tokens[i].kind;
          if (kind == TokenKind::kAtAxis) {
            EXPECT_GE(schema.axis_attribute, 0);
            EXPECT_EQ(i, 1u);
            EXPECT_EQ(pattern.tokens[0].kind, TokenKind::kGroup);
          }
          if (kind == TokenKind::kAtAxes || kind == TokenKind::kPermuted) {
            EXPECT_GE(schema.axes_attribute, 0);
          }
        }
      }
    }
    for (const OperandPattern& pattern : schema.outputs) {
      for (const SignatureToken& token : pattern.tokens) {
        if (token.kind != TokenKind::kGroup || schema.symbols[token.symbol].on_left) continue;
        EXPECT_GE(schema.rank_attribute, 0) << "a group of its own needs a rank";
      }
    }
  }
}

TEST(OpTableTest, ParsesRules) {
  const OpSchema& matmul = Schema(Op::kMatmul);
  ASSERT_EQ(matmul.symbols.size(), 4u);
  EXPECT_EQ(matmul.symbols[2].name, "k");
  EXPECT_EQ(matmul.symbols[2].kind, IndexKind::kContract);
  EXPECT_EQ(matmul.symbols[2].reduce, ReduceKind::kSum);
  EXPECT_EQ(matmul.symbols[0].kind, IndexKind::kParallel);

  const OpSchema& conv = Schema(Op::kConv2d);
  EXPECT_EQ(conv.extent_words, kConvExtents);
  EXPECT_EQ(conv.symbols.back().name, "w'");
  EXPECT_EQ(conv.symbols.back().kind, IndexKind::kHalo);

  EXPECT_EQ(Schema(Op::kEmbedding).symbols[0].kind, IndexKind::kMasked);
  EXPECT_EQ(Schema(Op::kSlice).extent_layout, ExtentLayout::kPerDimension);
  EXPECT_EQ(Schema(Op::kSlice).extent_words, 3);
  EXPECT_EQ(Schema(Op::kReshape).extent_layout, ExtentLayout::kShape);
  EXPECT_EQ(Schema(Op::kAvgPool2dGrad).extent_words, kPoolExtents + 4);
}

}  // namespace
}  // namespace moai
