#include "scheduler/partition/strategy.h"

#include <algorithm>
#include <utility>

namespace moai {
namespace {

constexpr AxisPlacement kReplicated{};

AxisPlacement PartialOf(ReduceKind reduce) {
  return {.kind = PlacementKind::kPartial, .reduce = reduce};
}

bool IsRandom(Op op) {
  return op == Op::kRandomUniform || op == Op::kRandomNormal || op == Op::kRandomBernoulli;
}

// Lists the strategies of one node.
class Lister {
 public:
  Lister(const Graph& graph, uint32_t node, absl::Span<const TensorType> types,
         const IndexSignature& signature, const Factors& factors,
         std::vector<NodeStrategy>& strategies)
      : node_(graph.nodes[node]),
        types_(types),
        signature_(signature),
        factors_(factors),
        strategies_(strategies) {}

  void Run() {
    strategies_.push_back(AllReplicated(StrategyKind::kWhole));
    if (node_.op == Op::kReshape) {
      SplitReshape();
    } else if (node_.op == Op::kIota || IsRandom(node_.op)) {
      Create();
    } else if (node_.op == Op::kTril || node_.op == Op::kTriu) {
      SplitTriangle();
    } else {
      for (size_t index = 0; index < signature_.indices.size(); ++index) Split(int8_t(index));
    }
    if (node_.op == Op::kReduceMean) SplitMean();
    if (node_.op == Op::kEmbeddingGrad) SplitTableGradient();
    if (node_.op == Op::kCrossEntropy || node_.op == Op::kCrossEntropyGrad) SplitClasses();
    PassPartial();
  }

 private:
  NodeStrategy AllReplicated(StrategyKind kind) const {
    NodeStrategy strategy;
    strategy.kind = kind;
    strategy.inputs.resize(node_.inputs.size(), kReplicated);
    strategy.outputs.resize(node_.output_count, kReplicated);
    return strategy;
  }

  ValueId Output(size_t i) const { return node_.first_output + ValueId(i); }

  // A factor of the dim, by its place in the dim's list.
  const FactorPlace* PlaceAt(ValueId value, int dim, size_t position, FactorId factor) const {
    const absl::Span<const FactorPlace> places = factors_.Of(value, dim);
    if (position >= places.size() || places[position].factor != factor) return nullptr;
    return &places[position];
  }

  // Whether the node has a meaning for a split of this index.
  bool MaySplit(const Index& index) const {
    switch (index.kind) {
      case IndexKind::kParallel:
      case IndexKind::kContract:
        return true;
      case IndexKind::kMasked:
        return node_.op == Op::kEmbedding;
      case IndexKind::kHalo:
      case IndexKind::kWhole:
        return false;
    }
    return false;
  }

  void Split(int8_t index) {
    if (!MaySplit(signature_.indices[index])) return;
    // The operand whose dim has the index and the fewest elements has the factors that all share.
    absl::Span<const FactorPlace> shared;
    int64_t extent = 0;
    const auto visit = [&](ValueId value, absl::Span<const int8_t> dims) {
      for (size_t dim = 0; dim < dims.size(); ++dim) {
        if (dims[dim] != index) continue;
        const int64_t here = types_[value].shape[int(dim)];
        if (extent != 0 && here >= extent) continue;
        extent = here;
        shared = factors_.Of(value, int(dim));
      }
    };
    for (size_t i = 0; i < node_.inputs.size(); ++i) visit(node_.inputs[i], signature_.inputs[i]);
    for (size_t i = 0; i < node_.output_count; ++i) visit(Output(i), signature_.outputs[i]);
    for (size_t position = 0; position < shared.size(); ++position) {
      SplitFactor(index, position, shared[position].factor);
    }
  }

  void SplitFactor(int8_t index, size_t position, FactorId factor) {
    // A window of a table is a range of its rows.
    const bool masked = signature_.indices[index].kind == IndexKind::kMasked;
    if (masked && position != 0) return;
    NodeStrategy strategy = AllReplicated(StrategyKind::kSplit);
    strategy.factor = factor;
    const auto place = [&](ValueId value, absl::Span<const int8_t> dims, AxisPlacement& placement) {
      bool found = false;
      for (size_t dim = 0; dim < dims.size(); ++dim) {
        if (dims[dim] != index) continue;
        const FactorPlace* at = PlaceAt(value, int(dim), position, factor);
        if (at == nullptr || found) return false;  // dims that do not agree, or a diagonal
        placement = ShardAt(int(dim), *at);
        found = true;
      }
      return true;
    };
    for (size_t i = 0; i < node_.inputs.size(); ++i) {
      if (!place(node_.inputs[i], signature_.inputs[i], strategy.inputs[i])) return;
    }
    for (size_t i = 0; i < node_.output_count; ++i) {
      const absl::Span<const int8_t> dims = signature_.outputs[i];
      if (!place(Output(i), dims, strategy.outputs[i])) return;
      const bool has = std::find(dims.begin(), dims.end(), index) != dims.end();
      if (!has && signature_.indices[index].kind != IndexKind::kParallel) {
        // Of parts of which all but one are zero, "or" is the sum of bools.
        const bool bools = types_[Output(i)].dtype == Dtype::kBool && masked;
        strategy.outputs[i] = PartialOf(bools ? ReduceKind::kOr : signature_.indices[index].reduce);
      }
    }
    strategies_.push_back(std::move(strategy));
  }

  // Factors that a reshape leaves inside one dim of either side.
  void SplitReshape() {
    const Shape& from = types_[node_.inputs[0]].shape;
    const Shape& to = types_[Output(0)].shape;
    int64_t before_in = 1;
    for (int i = 0; i < from.rank(); before_in *= from[i++]) {
      for (const FactorPlace& in : factors_.Of(node_.inputs[0], i)) {
        int64_t before_out = 1;
        for (int j = 0; j < to.rank(); before_out *= to[j++]) {
          for (const FactorPlace& out : factors_.Of(Output(0), j)) {
            // The same factor at the same distance from the outermost element.
            if (out.factor != in.factor || before_in * in.outer != before_out * out.outer) continue;
            NodeStrategy strategy = AllReplicated(StrategyKind::kSplit);
            strategy.factor = in.factor;
            strategy.inputs[0] = ShardAt(i, in);
            strategy.outputs[0] = ShardAt(j, out);
            strategies_.push_back(std::move(strategy));
          }
        }
      }
    }
  }

  // A part must be a range along each dim: only the outermost factor of one.
  void Create() {
    for (int dim = 0; dim < types_[Output(0)].shape.rank(); ++dim) {
      const absl::Span<const FactorPlace> places = factors_.Of(Output(0), dim);
      if (places.empty()) continue;
      NodeStrategy strategy = AllReplicated(StrategyKind::kCreate);
      strategy.factor = places[0].factor;
      strategy.outputs[0] = ShardAt(dim, places[0]);
      strategies_.push_back(std::move(strategy));
    }
  }

  // The triangle's dims are whole in the signature, so factors of input and output are apart: a
  // plain range of the dim serves, where both have one.
  void SplitTriangle() {
    const int rank = types_[Output(0)].shape.rank();
    for (size_t index = 0; index < signature_.indices.size(); ++index) Split(int8_t(index));
    for (int dim = rank - 2; dim < rank; ++dim) {
      const absl::Span<const FactorPlace> in = factors_.Of(node_.inputs[0], dim);
      const absl::Span<const FactorPlace> out = factors_.Of(Output(0), dim);
      if (in.empty() || out.empty() || in[0].count != out[0].count) continue;
      NodeStrategy strategy = AllReplicated(StrategyKind::kSplit);
      strategy.factor = in[0].factor;
      strategy.inputs[0] = ShardAt(dim, in[0]);
      strategy.outputs[0] = ShardAt(dim, out[0]);
      strategies_.push_back(std::move(strategy));
    }
  }

  void SplitMean() {
    // In 16 bits the inverse of the count would be rounded.
    if (ByteSize(types_[Output(0)].dtype) < 4) return;
    for (int32_t axis : node_.attributes) {
      for (const FactorPlace& place : factors_.Of(node_.inputs[0], axis)) {
        NodeStrategy strategy = AllReplicated(StrategyKind::kMean);
        strategy.factor = place.factor;
        strategy.inputs[0] = ShardAt(axis, place);
        strategy.outputs[0] = PartialOf(ReduceKind::kSum);
        strategies_.push_back(std::move(strategy));
      }
    }
  }

  void SplitTableGradient() {
    const absl::Span<const FactorPlace> places = factors_.Of(Output(0), 0);
    if (places.empty()) return;
    NodeStrategy strategy = AllReplicated(StrategyKind::kCreate);
    strategy.factor = places[0].factor;
    strategy.outputs[0] = ShardAt(0, places[0]);
    strategies_.push_back(std::move(strategy));
  }

  // A part must be a range of the classes.
  void SplitClasses() {
    const absl::Span<const FactorPlace> places = factors_.Of(node_.inputs[0], 1);
    if (places.empty()) return;
    const bool gradient = node_.op == Op::kCrossEntropyGrad;
    NodeStrategy strategy =
        AllReplicated(gradient ? StrategyKind::kSplit : StrategyKind::kExchange);
    strategy.factor = places[0].factor;
    strategy.inputs[0] = ShardAt(1, places[0]);
    if (gradient) strategy.outputs[0] = strategy.inputs[0];
    strategies_.push_back(std::move(strategy));
  }

  // Which inputs of a linear op take terms: bits.
  uint32_t LinearInputs() const {
    switch (node_.op) {
      case Op::kNeg:
      case Op::kReshape:
      case Op::kTranspose:
      case Op::kBroadcast:
      case Op::kSlice:
      case Op::kFlip:
      case Op::kTril:
      case Op::kTriu:
      case Op::kReduceSum:
      case Op::kReduceMean:
        return 1;
      case Op::kCast:
        // Only where nothing is rounded.
        return ByteSize(types_[Output(0)].dtype) >= ByteSize(types_[node_.inputs[0]].dtype) &&
                       types_[node_.inputs[0]].dtype != types_[Output(0)].dtype
                   ? 1
                   : 0;
      case Op::kAdd:
      case Op::kSub:
        // A rank 0 operand would be added once for each element: it must be a term as well, which
        // it is where both are.
        return 3;
      case Op::kConcat:
        return (uint32_t{1} << std::min<size_t>(node_.inputs.size(), 31)) - 1;
      case Op::kMul:
      case Op::kDiv:
        return types_[node_.inputs[1]].shape.rank() == 0 ? 1 : 0;
      default:
        return 0;
    }
  }

  void PassPartial() {
    const uint32_t linear = LinearInputs();
    if (linear == 0 || node_.inputs.size() > 31 || !IsFloat(types_[Output(0)].dtype) ||
        !IsFloat(types_[node_.inputs[0]].dtype)) {
      return;
    }
    NodeStrategy strategy = AllReplicated(StrategyKind::kPartial);
    for (size_t i = 0; i < node_.inputs.size(); ++i) {
      if (linear >> i & 1) strategy.inputs[i] = PartialOf(ReduceKind::kSum);
    }
    strategy.outputs[0] = PartialOf(ReduceKind::kSum);
    strategies_.push_back(std::move(strategy));
  }

  const Node& node_;
  const absl::Span<const TensorType> types_;
  const IndexSignature& signature_;
  const Factors& factors_;
  std::vector<NodeStrategy>& strategies_;
};

}  // namespace

void ListStrategies(const Graph& graph, uint32_t node, absl::Span<const TensorType> types,
                    const IndexSignature& signature, const Factors& factors,
                    std::vector<NodeStrategy>& strategies) {
  Lister(graph, node, types, signature, factors, strategies).Run();
}

}  // namespace moai
