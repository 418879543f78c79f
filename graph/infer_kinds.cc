#include "graph/infer_kinds.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/op_schema.h"

namespace moai {
namespace {

template <typename... Words>
absl::Status Invalid(const Node& node, const Words&... words) {
  return absl::InvalidArgumentError(absl::StrCat(Name(node.op), ": ", words...));
}

absl::Status CheckInputCount(const Node& node, const OpEntry& entry) {
  const int64_t count = static_cast<int64_t>(node.inputs.size());
  if (count >= entry.min_inputs && (entry.max_inputs < 0 || count <= entry.max_inputs)) {
    return absl::OkStatus();
  }
  const std::string expected = entry.max_inputs < 0 ? absl::StrCat("at least ", entry.min_inputs)
                               : entry.max_inputs == entry.min_inputs
                                   ? absl::StrCat(entry.min_inputs)
                                   : absl::StrCat(entry.min_inputs, " to ", entry.max_inputs);
  return Invalid(node, "takes ", expected, " inputs, got ", count);
}

absl::Status CheckAttribute(const Node& node, const AttributeSpec& spec, int32_t value,
                            int axis_rank) {
  switch (spec.kind) {
    case AttributeKind::kDtype:
      if (value >= 0 && value <= 255 && IsValid(static_cast<Dtype>(value))) break;
      return Invalid(node, "attribute ", spec.name, " is ", value, ", which is no dtype");
    case AttributeKind::kAxis:
    case AttributeKind::kAxes:
      if (value >= 0 && value < axis_rank) break;
      return Invalid(node, "attribute ", spec.name, " must be in [0, ", axis_rank, "), got ",
                     value);
    case AttributeKind::kRank:
      if (value >= 0 && value <= kMaxRank) break;
      return Invalid(node, "attribute ", spec.name, " must be in [0, ", kMaxRank, "], got ", value);
    case AttributeKind::kFlag:
      if (value == 0 || value == 1) break;
      return Invalid(node, "attribute ", spec.name, " must be 0 or 1, got ", value);
    case AttributeKind::kNonNegative:
      if (value >= 0) break;
      return Invalid(node, "attribute ", spec.name, " must be 0 or more, got ", value);
    case AttributeKind::kReduce:
      if (value > 0 && value <= static_cast<int32_t>(ReduceKind::kOr)) break;
      return Invalid(node, "attribute ", spec.name, " is ", value, ", which is no reduction");
    case AttributeKind::kAny:
      break;
  }
  return absl::OkStatus();
}

// Axes are distinct; those of a broadcast ascend and stand for each dim of the input, those of a
// transpose are a permutation.
absl::Status CheckAxes(const Node& node, absl::Span<const int32_t> axes, int input_rank) {
  uint32_t seen = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (seen >> axes[i] & 1) return Invalid(node, "axis ", axes[i], " is named twice");
    seen |= 1u << axes[i];
    if (node.op == Op::kBroadcast && i > 0 && axes[i] < axes[i - 1]) {
      return Invalid(node, "axes must ascend, got ", axes[i], " after ", axes[i - 1]);
    }
  }
  const bool one_per_dim = node.op == Op::kBroadcast || node.op == Op::kTranspose;
  if (one_per_dim && static_cast<int>(axes.size()) != input_rank) {
    return Invalid(node, "takes one axis for each of the ", input_rank, " dims, got ", axes.size());
  }
  return absl::OkStatus();
}

absl::Status CheckAttributes(const Node& node, const OpSchema& schema, const Kinds& inputs) {
  const size_t named = schema.attributes.size() - (schema.axes_attribute >= 0 ? 1 : 0);
  const size_t count = node.attributes.size();
  if (count < named || (count > named && schema.axes_attribute < 0)) {
    return Invalid(node, "takes ", schema.axes_attribute < 0 ? "" : "at least ", named,
                   " attributes, got ", count);
  }
  if (count == 0) return absl::OkStatus();
  const int input_rank = inputs.size() > 0 ? inputs.rank(0) : 0;
  for (size_t i = 0; i < named; ++i) {
    // Checked before the axis and axes that it bounds.
    if (schema.attributes[i].kind != AttributeKind::kRank) continue;
    MOAI_RETURN_IF_ERROR(CheckAttribute(node, schema.attributes[i], node.attributes[i], 0));
  }
  const int axis_rank =
      schema.rank_attribute >= 0 ? node.attributes[schema.rank_attribute] : input_rank;
  for (size_t i = 0; i < count; ++i) {
    const AttributeSpec& spec = schema.attributes[std::min(i, schema.attributes.size() - 1)];
    MOAI_RETURN_IF_ERROR(CheckAttribute(node, spec, node.attributes[i], axis_rank));
  }
  if (schema.axes_attribute < 0) return absl::OkStatus();
  return CheckAxes(node, absl::MakeConstSpan(node.attributes).subspan(schema.axes_attribute),
                   input_rank);
}

absl::Status CheckNumbers(const Node& node, const OpSchema& schema) {
  if (node.numbers.size() != static_cast<size_t>(schema.number_count)) {
    return Invalid(node, "takes ", schema.number_count, " numbers, got ", node.numbers.size());
  }
  for (double number : node.numbers) {
    if (!std::isfinite(number)) return Invalid(node, "numbers must be finite, got ", number);
  }
  return absl::OkStatus();
}

// Ranks of the groups of a signature, bound operand by operand.
class GroupRanks {
 public:
  GroupRanks(const Node& node, const OpSchema& schema) : node_(node), schema_(schema) {
    ranks_.fill(-1);
  }

  absl::Status BindInput(size_t input, int rank) {
    const OperandPattern* pattern = PatternOfInput(input);
    if (pattern == nullptr) {
      if (rank == 0) return absl::OkStatus();
      return Invalid(node_, "input ", input, " must have rank 0, got rank ", rank);
    }
    MOAI_RETURN_IF_ERROR(BindAxis(*pattern, input, rank));
    int unbound = -1;
    const int known = KnownRank(*pattern, unbound);
    if (unbound >= 0 && rank >= known) {
      ranks_[unbound] = static_cast<int8_t>(rank - known);
      return absl::OkStatus();
    }
    if (unbound < 0 && rank == known) return absl::OkStatus();
    return Invalid(node_, "input ", input, " must have rank ", known,
                   unbound >= 0 ? " or more" : "", ", got rank ", rank);
  }

  absl::Status OutputRank(size_t output, uint8_t& rank) {
    const OperandPattern& pattern = schema_.outputs[output];
    int unbound = -1;
    int known = KnownRank(pattern, unbound);
    if (unbound >= 0) {
      // Only the first output of an op with a rank attribute has a group of its own.
      const int stated = node_.attributes[schema_.rank_attribute];
      if (stated < known) {
        return Invalid(node_, "attribute rank must be ", known, " or more, got ", stated);
      }
      ranks_[unbound] = static_cast<int8_t>(stated - known);
      known = stated;
    }
    if (known > kMaxRank) {
      return Invalid(node_, "output ", output, " would have rank ", known, "; the limit is ",
                     kMaxRank);
    }
    rank = static_cast<uint8_t>(known);
    return absl::OkStatus();
  }

 private:
  const OperandPattern* PatternOfInput(size_t input) const {
    if (Entry(node_.op).max_inputs < 0) return &schema_.inputs[0];
    return input < schema_.inputs.size() ? &schema_.inputs[input] : nullptr;
  }

  // `i... x@axis j...`: i is as long as the axis says; `r@axes`: r is as long as the list.
  absl::Status BindAxis(const OperandPattern& pattern, size_t input, int rank) {
    if (pattern.axis_token < 0) return absl::OkStatus();
    const SignatureToken& token = pattern.tokens[pattern.axis_token];
    if (token.kind == TokenKind::kAtAxes) {
      ranks_[token.symbol] = static_cast<int8_t>(node_.attributes.size() - schema_.axes_attribute);
      return absl::OkStatus();
    }
    const int axis = node_.attributes[schema_.axis_attribute];
    if (axis >= rank) {
      return Invalid(node_, "input ", input, " must have rank ", axis + 1, " or more, got rank ",
                     rank);
    }
    ranks_[pattern.tokens[0].symbol] = static_cast<int8_t>(axis);
    return absl::OkStatus();
  }

  int KnownRank(const OperandPattern& pattern, int& unbound) const {
    int known = pattern.singles;
    for (const SignatureToken& token : pattern.tokens) {
      if (token.kind == TokenKind::kSingle || token.kind == TokenKind::kAtAxis) continue;
      if (ranks_[token.symbol] < 0) {
        unbound = token.symbol;
      } else {
        known += ranks_[token.symbol];
      }
    }
    return known;
  }

  const Node& node_;
  const OpSchema& schema_;
  std::array<int8_t, kMaxSymbols> ranks_;
};

// A rank 0 operand stands for any operand.
absl::Status InferPointwiseRank(const Node& node, const Kinds& inputs, uint8_t& rank) {
  rank = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int own = inputs.rank(i);
    if (own == 0 || own == rank) continue;
    if (rank != 0) {
      return Invalid(node, "input ", i, " must have rank ", int{rank}, " or 0, got rank ", own);
    }
    rank = static_cast<uint8_t>(own);
  }
  return absl::OkStatus();
}

absl::Status InferRanks(const Node& node, const OpEntry& entry, const OpSchema& schema,
                        const Kinds& inputs, absl::Span<Value> outputs) {
  if (entry.op_class == OpClass::kPointwise && entry.dtype_rule != DtypeRule::kSpecial) {
    return InferPointwiseRank(node, inputs, outputs[0].rank);
  }
  GroupRanks ranks(node, schema);
  for (size_t i = 0; i < inputs.size(); ++i) {
    MOAI_RETURN_IF_ERROR(ranks.BindInput(i, inputs.rank(i)));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    MOAI_RETURN_IF_ERROR(ranks.OutputRank(i, outputs[i].rank));
  }
  if (node.op == Op::kSliceUpdate && inputs.rank(1) != inputs.rank(0)) {
    return Invalid(node, "input 1 must have rank ", inputs.rank(0), ", got rank ", inputs.rank(1));
  }
  if ((node.op == Op::kTril || node.op == Op::kTriu) && inputs.rank(0) < 2) {
    return Invalid(node, "input 0 must have rank 2 or more, got rank ", inputs.rank(0));
  }
  if (node.op == Op::kBroadcastFromFirst && inputs.rank(0) != outputs[0].rank) {
    return Invalid(node, "input 0 must have rank ", int{outputs[0].rank}, ", got rank ",
                   inputs.rank(0));
  }
  if (node.op == Op::kAllToAll && node.attributes[0] == node.attributes[1]) {
    return Invalid(node, "axis and split_axis must differ, got ", node.attributes[0], " for both");
  }
  return absl::OkStatus();
}

absl::Status CheckExtentCount(const Node& node, const OpSchema& schema, const Kinds& inputs,
                              int output_rank) {
  size_t each = 1;
  if (schema.extent_layout == ExtentLayout::kShape) each = output_rank;
  if (schema.extent_layout == ExtentLayout::kPerDimension) each = inputs.rank(0);
  const size_t expected = each * schema.extent_words;
  const size_t optional = each * schema.optional_extent_words;
  if (node.extent_count == expected || node.extent_count == expected + optional) {
    return absl::OkStatus();
  }
  return Invalid(node, "takes ", expected,
                 optional > 0 ? absl::StrCat(" or ", expected + optional) : "", " extents (",
                 Entry(node.op).extents, "), got ", node.extent_count);
}

}  // namespace

absl::Status InferKinds(const Node& node, Kinds inputs, absl::Span<Value> outputs) {
  if (!IsValid(node.op)) {
    return absl::InvalidArgumentError(
        absl::StrCat("op ", static_cast<uint32_t>(node.op), " is not in the op table"));
  }
  const OpEntry& entry = Entry(node.op);
  const OpSchema& schema = Schema(node.op);
  if (node.output_count != entry.outputs || outputs.size() < static_cast<size_t>(entry.outputs)) {
    return Invalid(node, "has ", entry.outputs, " outputs, got ", uint32_t{node.output_count});
  }
  outputs = outputs.subspan(0, entry.outputs);
  MOAI_RETURN_IF_ERROR(CheckInputCount(node, entry));
  if (inputs.size() != node.inputs.size()) {
    return Invalid(node, "needs the types of ", node.inputs.size(), " inputs, got ", inputs.size());
  }
  MOAI_RETURN_IF_ERROR(CheckAttributes(node, schema, inputs));
  MOAI_RETURN_IF_ERROR(CheckNumbers(node, schema));
  MOAI_RETURN_IF_ERROR(InferDtypes(node, inputs, outputs));
  MOAI_RETURN_IF_ERROR(InferRanks(node, entry, schema, inputs, outputs));
  return CheckExtentCount(node, schema, inputs, outputs[0].rank);
}

}  // namespace moai
