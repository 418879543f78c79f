#include "graph/op_schema.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace moai {
namespace {

std::vector<absl::string_view> Words(absl::string_view text) {
  return absl::StrSplit(text, ' ', absl::SkipWhitespace());
}

uint8_t SymbolOf(absl::string_view name, OpSchema& schema) {
  for (size_t i = 0; i < schema.symbols.size(); ++i) {
    if (schema.symbols[i].name == name) return static_cast<uint8_t>(i);
  }
  schema.symbols.push_back({.name = std::string(name)});
  return static_cast<uint8_t>(schema.symbols.size() - 1);
}

SignatureToken ParseToken(absl::string_view word, OpSchema& schema) {
  TokenKind kind = TokenKind::kSingle;
  if (absl::ConsumeSuffix(&word, "@axes...")) {
    kind = TokenKind::kPermuted;
  } else if (absl::ConsumeSuffix(&word, "...")) {
    kind = TokenKind::kGroup;
  } else if (absl::ConsumeSuffix(&word, "@axis")) {
    kind = TokenKind::kAtAxis;
  } else if (absl::ConsumeSuffix(&word, "@axes")) {
    kind = TokenKind::kAtAxes;
  }
  return {kind, SymbolOf(word, schema)};
}

OperandPattern ParseOperand(absl::string_view text, OpSchema& schema) {
  OperandPattern pattern;
  for (absl::string_view word : Words(text)) {
    const SignatureToken token = ParseToken(word, schema);
    switch (token.kind) {
      case TokenKind::kSingle:
        ++pattern.singles;
        break;
      case TokenKind::kGroup:
        ++pattern.groups;
        break;
      case TokenKind::kAtAxis:
        ++pattern.singles;
        pattern.axis_token = static_cast<int>(pattern.tokens.size());
        break;
      case TokenKind::kAtAxes:
        pattern.axis_token = static_cast<int>(pattern.tokens.size());
        break;
      case TokenKind::kPermuted:
        break;
    }
    pattern.tokens.push_back(token);
  }
  return pattern;
}

std::vector<OperandPattern> ParseSide(absl::string_view text, OpSchema& schema, bool left) {
  std::vector<OperandPattern> side;
  if (Words(text).empty()) return side;
  for (absl::string_view operand : absl::StrSplit(text, ',')) {
    side.push_back(ParseOperand(operand, schema));
    for (const SignatureToken& token : side.back().tokens) {
      Symbol& symbol = schema.symbols[token.symbol];
      (left ? symbol.on_left : symbol.on_right) = true;
    }
  }
  return side;
}

void ApplyRule(absl::string_view rule, Symbol& symbol) {
  constexpr std::pair<absl::string_view, ReduceKind> kReductions[] = {
      {"sum", ReduceKind::kSum},   {"max", ReduceKind::kMax}, {"min", ReduceKind::kMin},
      {"prod", ReduceKind::kProd}, {"and", ReduceKind::kAnd}, {"or", ReduceKind::kOr}};
  for (const auto& [name, reduce] : kReductions) {
    if (rule == name) {
      symbol.kind = IndexKind::kContract;
      symbol.reduce = reduce;
      return;
    }
  }
  if (rule == "masked") {
    symbol.kind = IndexKind::kMasked;
    symbol.reduce = ReduceKind::kSum;
  } else if (rule == "halo") {
    symbol.kind = IndexKind::kHalo;
  } else if (rule == "parallel") {
    symbol.kind = IndexKind::kParallel;
  } else {
    symbol.kind = IndexKind::kWhole;
  }
}

// An index without a rule is parallel where it stands on both sides; on one side only it is not
// split, but for ops that make elements from nothing. h' follows the rule of h.
void ParseRules(absl::string_view text, OpClass op_class, OpSchema& schema) {
  std::vector<std::pair<absl::string_view, absl::string_view>> rules;
  for (absl::string_view word : Words(text)) {
    rules.push_back(absl::StrSplit(word, absl::MaxSplits(':', 1)));
  }
  for (Symbol& symbol : schema.symbols) {
    const bool both = symbol.on_left && symbol.on_right;
    symbol.kind = both || op_class == OpClass::kCreate ? IndexKind::kParallel : IndexKind::kWhole;
    const absl::string_view base = absl::StripSuffix(symbol.name, "'");
    for (const auto& [name, rule] : rules) {
      if (name == base) ApplyRule(rule, symbol);
    }
  }
}

void ParseSignature(const OpEntry& entry, OpSchema& schema) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(entry.signature, absl::MaxSplits(';', 1));
  const std::pair<absl::string_view, absl::string_view> sides =
      absl::StrSplit(parts.first, absl::MaxSplits("->", 1));
  schema.inputs = ParseSide(sides.first, schema, /*left=*/true);
  schema.outputs = ParseSide(sides.second, schema, /*left=*/false);
  ParseRules(parts.second, entry.op_class, schema);
}

AttributeKind KindOfAttribute(absl::string_view name) {
  if (name == "dtype") return AttributeKind::kDtype;
  if (name == "axis" || name == "split_axis") return AttributeKind::kAxis;
  if (name == "axes...") return AttributeKind::kAxes;
  if (name == "rank") return AttributeKind::kRank;
  if (name == "instance" || name == "group") return AttributeKind::kNonNegative;
  if (name == "reduce") return AttributeKind::kReduce;
  if (name == "ignore_index") return AttributeKind::kAny;
  return AttributeKind::kFlag;
}

void ParseAttributes(const OpEntry& entry, OpSchema& schema) {
  for (absl::string_view word : Words(entry.attributes)) {
    const int position = static_cast<int>(schema.attributes.size());
    const AttributeKind kind = KindOfAttribute(word);
    if (word == "axis") schema.axis_attribute = position;
    if (kind == AttributeKind::kAxes) schema.axes_attribute = position;
    if (kind == AttributeKind::kRank) schema.rank_attribute = position;
    if (kind == AttributeKind::kReduce) schema.reduce_attribute = position;
    if (word == "group") schema.group_attribute = position;
    if (kind == AttributeKind::kDtype) schema.dtype_attribute = position;
    schema.attributes.push_back({std::string(absl::StripSuffix(word, "...")), kind});
  }
  schema.number_count = static_cast<int>(Words(entry.numbers).size());
}

void ParseExtents(const OpEntry& entry, OpSchema& schema) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(entry.extents, absl::MaxSplits('[', 1));
  schema.optional_extent_words = static_cast<int>(Words(parts.second).size());
  for (absl::string_view word : Words(parts.first)) {
    if (word == "shape") schema.extent_layout = ExtentLayout::kShape;
    if (word == "start" || word == "low") schema.extent_layout = ExtentLayout::kPerDimension;
    schema.extent_words += word == "conv" ? kConvExtents : word == "pool" ? kPoolExtents : 1;
  }
}

OpSchema Parse(const OpEntry& entry) {
  OpSchema schema;
  ParseSignature(entry, schema);
  ParseAttributes(entry, schema);
  ParseExtents(entry, schema);
  return schema;
}

const OpSchema* ParseAll() {
  OpSchema* schemas = new OpSchema[kOpCount];  // lives as long as the process
  for (const OpEntry& entry : AllOps()) schemas[static_cast<size_t>(entry.op) - 1] = Parse(entry);
  return schemas;
}

}  // namespace

const OpSchema& Schema(Op op) {
  static const OpSchema* const schemas = ParseAll();
  return schemas[static_cast<size_t>(op) - 1];
}

}  // namespace moai
