#include "graph/signature.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "graph/op_schema.h"

namespace moai {
namespace {

using Dims = absl::InlinedVector<int8_t, kMaxRank>;

bool TakesOneDim(const SignatureToken& token) {
  return token.kind == TokenKind::kSingle || token.kind == TokenKind::kAtAxis;
}

class Instantiation {
 public:
  Instantiation(const Node& node, absl::Span<const TensorType> inputs,
                absl::Span<const TensorType> outputs)
      : node_(node),
        schema_(Schema(node.op)),
        inputs_(inputs),
        outputs_(outputs),
        bound_(schema_.symbols.size()) {}

  const IndexSignature& signature() const { return signature_; }
  IndexSignature Take() { return std::move(signature_); }

  // Follows the table's text.
  void FromText() {
    for (size_t i = signature_.inputs.size(); i < inputs_.size(); ++i) {
      const OperandPattern* const pattern = PatternOf(i);
      signature_.inputs.push_back(pattern == nullptr ? Dims() : Expand(*pattern, inputs_[i].shape));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      signature_.outputs.push_back(Expand(schema_.outputs[i], outputs_[i].shape));
    }
  }

  // A rank 0 operand has no dims, whatever the text says.
  void Pointwise() {
    const Dims all = NewGroup("i", outputs_[0].shape.rank(), IndexKind::kParallel);
    for (const TensorType& type : inputs_) {
      signature_.inputs.push_back(type.shape.rank() == 0 ? Dims() : all);
    }
    signature_.outputs.push_back(all);
  }

  void Broadcast() {
    const Dims all = NewGroup("i", outputs_[0].shape.rank(), IndexKind::kParallel);
    Dims dims;
    for (int dim = 0; dim < inputs_[0].shape.rank(); ++dim) {
      const int target = node_.attributes[1 + dim];
      const bool repeated = inputs_[0].shape[dim] != outputs_[0].shape[target];
      dims.push_back(repeated ? kNoIndex : all[target]);
    }
    signature_.inputs.push_back(dims);
    signature_.outputs.push_back(all);
  }

  void Reshape() {
    const Shape& from = inputs_[0].shape;
    const Shape& to = outputs_[0].shape;
    const int shorter = std::min(from.rank(), to.rank());
    int leading = 0, trailing = 0;
    while (leading < shorter && from[leading] == to[leading]) ++leading;
    while (trailing < shorter - leading &&
           from[from.rank() - 1 - trailing] == to[to.rank() - 1 - trailing]) {
      ++trailing;
    }
    const Dims front = NewGroup("i", leading, IndexKind::kParallel);
    const Dims back = NewGroup("j", trailing, IndexKind::kParallel);
    const auto join = [&](const char* name, int rank) {
      Dims dims = front;
      const Dims middle = NewGroup(name, rank - leading - trailing, IndexKind::kWhole);
      dims.insert(dims.end(), middle.begin(), middle.end());
      dims.insert(dims.end(), back.begin(), back.end());
      return dims;
    };
    signature_.inputs.push_back(join("f", from.rank()));
    signature_.outputs.push_back(join("t", to.rank()));
  }

  // Dims that `update` replaces in full are split together with it.
  void SliceUpdate() {
    const Dims all = NewGroup("i", outputs_[0].shape.rank(), IndexKind::kParallel);
    for (int dim = 0; dim < outputs_[0].shape.rank(); ++dim) {
      if (inputs_[1].shape[dim] != inputs_[0].shape[dim]) MakeWhole(all[dim]);
    }
    signature_.inputs = {all, all};
    signature_.outputs = {all};
  }

  // Query and key heads are one index; a mask's dims of extent 1 are none.
  void Attention(size_t mask) {
    signature_.inputs.push_back(Expand(schema_.inputs[0], inputs_[0].shape));
    bound_[schema_.inputs[1].tokens[2].symbol] = bound_[schema_.inputs[0].tokens[2].symbol];
    FromText();
    for (int dim : {0, 2}) {
      signature_.indices[signature_.inputs[0][dim]].kind = IndexKind::kParallel;
    }
    // A causal query's place among the keys follows from how many there are of both.
    if (node_.attributes[0] != 0) MakeWhole(signature_.inputs[0][1]);
    if (inputs_.size() <= mask) return;
    for (int dim = 0; dim < 2; ++dim) {
      if (inputs_[mask].shape[dim] == 1) signature_.inputs[mask][dim] = kNoIndex;
    }
  }

  void MakeWholeOutputDim(int dim) { MakeWhole(signature_.outputs[0][dim]); }
  void MakeAllWhole() {
    for (size_t i = 0; i < signature_.indices.size(); ++i) MakeWhole(static_cast<int8_t>(i));
  }
  void MakeWhole(int8_t index) {
    signature_.indices[index].kind = IndexKind::kWhole;
    signature_.indices[index].reduce = ReduceKind::kNone;
  }

 private:
  // The dims that a symbol stood for where it came first.
  struct Bound {
    bool set = false;
    Dims indices;
    absl::InlinedVector<int64_t, kMaxRank> extents;
  };

  const OperandPattern* PatternOf(size_t input) const {
    if (Entry(node_.op).max_inputs < 0) return &schema_.inputs[0];
    return input < schema_.inputs.size() ? &schema_.inputs[input] : nullptr;
  }

  int8_t NewIndex(std::string name, IndexKind kind, ReduceKind reduce = ReduceKind::kNone) {
    signature_.indices.push_back({std::move(name), kind, reduce});
    return static_cast<int8_t>(signature_.indices.size() - 1);
  }

  Dims NewGroup(absl::string_view name, int rank, IndexKind kind) {
    Dims dims;
    for (int i = 0; i < rank; ++i) dims.push_back(NewIndex(absl::StrCat(name, i), kind));
    return dims;
  }

  // The dims of the operand that each token takes, in the operand's order. `@axes` tokens take
  // theirs out of the middle of the group beside them.
  Dims Expand(const OperandPattern& pattern, const Shape& shape) {
    std::vector<SignatureToken> tokens(pattern.tokens.begin(), pattern.tokens.end());
    if (node_.op == Op::kMatmul) SwapTransposed(pattern, tokens);
    Dims dims;
    if (pattern.axis_token >= 0 && pattern.tokens[pattern.axis_token].kind == TokenKind::kAtAxes) {
      return ExpandAxes(tokens, shape);
    }
    const int axis = pattern.axis_token >= 0 ? node_.attributes[schema_.axis_attribute] : -1;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i].kind == TokenKind::kPermuted) {
        for (int32_t dim : node_.attributes) dims.push_back(bound_[tokens[i].symbol].indices[dim]);
        continue;
      }
      const int first = static_cast<int>(dims.size());
      const int count = CountOf(tokens, i, axis, shape.rank());
      for (int k = 0; k < count; ++k) dims.push_back(Bind(tokens[i], k, shape[first + k]));
      bound_[tokens[i].symbol].set = true;
    }
    return dims;
  }

  void SwapTransposed(const OperandPattern& pattern, std::vector<SignatureToken>& tokens) const {
    const size_t operand = static_cast<size_t>(&pattern - schema_.inputs.data());
    if (operand < 2 && node_.attributes[operand] != 0) {
      std::swap(tokens[tokens.size() - 2], tokens[tokens.size() - 1]);
    }
  }

  int CountOf(const std::vector<SignatureToken>& tokens, size_t at, int axis, int rank) const {
    if (TakesOneDim(tokens[at])) return 1;
    const Bound& bound = bound_[tokens[at].symbol];
    if (bound.set) return static_cast<int>(bound.indices.size());
    if (at == 0 && axis >= 0) return axis;
    int rest = rank;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i != at) rest -= CountOf(tokens, i, axis, 0);
    }
    return rest;
  }

  // `i... r@axes`.
  Dims ExpandAxes(const std::vector<SignatureToken>& tokens, const Shape& shape) {
    uint32_t reduced = 0;
    for (int32_t axis : node_.attributes) reduced |= 1u << axis;
    int counts[2] = {0, 0};
    Dims dims;
    for (int dim = 0; dim < shape.rank(); ++dim) {
      const int which = reduced >> dim & 1;
      dims.push_back(Bind(tokens[which], counts[which]++, shape[dim]));
    }
    for (const SignatureToken& token : tokens) bound_[token.symbol].set = true;
    return dims;
  }

  // The index of position `k` of a symbol; a new one where the symbol is met for the first time.
  int8_t Bind(const SignatureToken& token, int k, int64_t extent) {
    const Symbol& symbol = schema_.symbols[token.symbol];
    Bound& bound = bound_[token.symbol];
    if (!bound.set) {
      std::string name = TakesOneDim(token) ? symbol.name : absl::StrCat(symbol.name, k);
      bound.indices.push_back(NewIndex(std::move(name), symbol.kind, symbol.reduce));
      bound.extents.push_back(extent);
    } else if (bound.extents[k] != extent) {
      MakeWhole(bound.indices[k]);
    }
    return bound.indices[k];
  }

  const Node& node_;
  const OpSchema& schema_;
  absl::Span<const TensorType> inputs_;
  absl::Span<const TensorType> outputs_;
  std::vector<Bound> bound_;
  IndexSignature signature_;
};

// Dims of the first output whose elements depend on where they stand.
void KeepPositionsWhole(const Node& node, int rank, Instantiation& instantiation) {
  switch (node.op) {
    case Op::kFlip:
      for (int32_t axis : node.attributes) instantiation.MakeWholeOutputDim(axis);
      return;
    case Op::kIota:
      return instantiation.MakeWholeOutputDim(node.attributes[1]);
    case Op::kEmbedding:
      // A part of a window would be another window.
      if (node.extent_count != 0) instantiation.MakeWhole(instantiation.signature().inputs[0][0]);
      return;
    case Op::kTril:
    case Op::kTriu:
      instantiation.MakeWholeOutputDim(rank - 1);
      return instantiation.MakeWholeOutputDim(rank - 2);
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      for (int dim = 0; dim < rank; ++dim) instantiation.MakeWholeOutputDim(dim);
      return;
    default:
      return;
  }
}

// Channels of x and of the weight differ under groups, and a part of them must hold whole groups.
void KeepGroupsWhole(const Node& node, absl::Span<const TensorType> inputs,
                     absl::Span<const TensorType> outputs, Instantiation& instantiation) {
  const IndexSignature& signature = instantiation.signature();
  const Shape* weight = nullptr;
  const Dims* dims = nullptr;
  int64_t channels = 0;
  switch (node.op) {
    case Op::kConv2d:
      weight = &inputs[1].shape;
      dims = &signature.inputs[1];
      channels = inputs[0].shape[1];
      break;
    case Op::kConv2dGradInput:
      weight = &inputs[1].shape;
      dims = &signature.inputs[1];
      channels = outputs[0].shape[1];
      break;
    case Op::kConv2dGradWeight:
      weight = &outputs[0].shape;
      dims = &signature.outputs[0];
      channels = inputs[1].shape[1];
      break;
    default:
      return;
  }
  // Without channels, types do not tell how many groups there are.
  if ((*weight)[1] == channels && channels != 0) return;
  const int8_t output_channels = (*dims)[0], input_channels = (*dims)[1];
  instantiation.MakeWhole(output_channels);
  instantiation.MakeWhole(input_channels);
}

}  // namespace

absl::StatusOr<IndexSignature> InstantiateSignature(const Node& node,
                                                    absl::Span<const TensorType> inputs,
                                                    absl::Span<const TensorType> outputs) {
  if (!IsValid(node.op) || outputs.size() != static_cast<size_t>(Entry(node.op).outputs)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Name(node.op), ": no signature for ", outputs.size(), " outputs"));
  }
  const OpEntry& entry = Entry(node.op);
  Instantiation instantiation(node, inputs, outputs);
  switch (node.op) {
    case Op::kBroadcast:
      instantiation.Broadcast();
      break;
    case Op::kReshape:
      instantiation.Reshape();
      break;
    case Op::kSliceUpdate:
      instantiation.SliceUpdate();
      break;
    case Op::kAttention:
      instantiation.Attention(3);
      break;
    case Op::kAttentionGrad:
      instantiation.Attention(6);
      break;
    default:
      if (entry.op_class == OpClass::kPointwise && entry.dtype_rule != DtypeRule::kSpecial) {
        instantiation.Pointwise();
      } else {
        instantiation.FromText();
      }
  }
  KeepPositionsWhole(node, outputs[0].shape.rank(), instantiation);
  KeepGroupsWhole(node, inputs, outputs, instantiation);
  // What a collective exchanges is split already; it is not split again.
  if (entry.op_class == OpClass::kCollective) instantiation.MakeAllWhole();
  return instantiation.Take();
}

}  // namespace moai
