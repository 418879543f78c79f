#include "program/passes.h"

namespace moai {
namespace {

// Longer chains of views are cut by a copy, so that references stay small.
constexpr size_t kMaxViews = 6;

bool IsView(Op op) {
  switch (op) {
    case Op::kReshape:
    case Op::kTranspose:
    case Op::kBroadcast:
    case Op::kSlice:
    case Op::kFlip:
    case Op::kFill:
      return true;
    default:
      return false;
  }
}

bool SwapsLastTwoDims(const Node& node) {
  const int rank = static_cast<int>(node.attributes.size());
  if (node.op != Op::kTranspose || rank < 2) return false;
  for (int i = 0; i + 2 < rank; ++i) {
    if (node.attributes[i] != i) return false;
  }
  return node.attributes[rank - 2] == rank - 1 && node.attributes[rank - 1] == rank - 2;
}

class Resolver {
 public:
  explicit Resolver(Lowering& lowering)
      : lowering_(lowering),
        graph_(*lowering.graph),
        references_(graph_.values.size()),
        copies_(graph_.values.size(), kNone) {
    lowering_.storage_of.assign(graph_.values.size(), kNone);
  }

  void Run() {
    for (const Input& input : graph_.inputs) {
      AddValue(input.value, {.kind = KindOf(input.kind), .index = input.index});
    }
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!lowering_.live[i]) continue;
      if (IsView(graph_.nodes[i].op)) {
        AddView(i);
      } else {
        AddOperation(i);
      }
    }
    lowering_.references = std::move(references_);
  }

 private:
  static BufferKind KindOf(InputKind kind) {
    switch (kind) {
      case InputKind::kSlot:
        return BufferKind::kSlot;
      case InputKind::kFeed:
        return BufferKind::kFeed;
      case InputKind::kScalar:
        return BufferKind::kScalar;
      case InputKind::kValue:
        break;
    }
    return BufferKind::kValue;
  }

  StorageId AddStorage(ValueId value, Storage storage) {
    storage.value = value;
    lowering_.storages.push_back(storage);
    return static_cast<StorageId>(lowering_.storages.size() - 1);
  }

  void AddValue(ValueId value, Storage storage) {
    const StorageId id = AddStorage(value, storage);
    lowering_.storage_of[value] = id;
    references_[value] = {.storage = id, .value = value};
  }

  void AddView(uint32_t index) {
    const Node& node = graph_.nodes[index];
    Reference reference = references_[node.inputs[0]];
    if (node.op == Op::kReshape) {
      if (!AlwaysDense(graph_, reference)) reference = Dense(node.inputs[0]);
      reference.views.clear();  // a reshape of reshapes is one reshape
    } else if (reference.views.size() >= kMaxViews) {
      reference = Dense(node.inputs[0]);
    }
    reference.views.push_back(index);
    reference.value = node.first_output;
    references_[node.first_output] = std::move(reference);
  }

  // The value in dense memory; copies it where it is a view that is not.
  Reference Dense(ValueId value) {
    if (AlwaysDense(graph_, references_[value])) return references_[value];
    if (copies_[value] == kNone) {
      const OperationId id = static_cast<OperationId>(lowering_.operations.size());
      copies_[value] = AddStorage(value, {.producer = id});
      Operation copy;
      copy.node = references_[value].views.back();
      copy.inputs.push_back(references_[value]);
      copy.outputs.push_back(copies_[value]);
      lowering_.operations.push_back(std::move(copy));
    }
    return {.storage = copies_[value], .value = value};
  }

  // A matmul operand: a swap of the last two dims of something dense becomes a flag.
  Reference MatmulOperand(ValueId value, int32_t& transpose) {
    const Reference& reference = references_[value];
    if (AlwaysDense(graph_, reference) || !SwapsLastTwoDims(graph_.nodes[reference.views.back()])) {
      return Dense(value);
    }
    const ValueId swapped = graph_.nodes[reference.views.back()].inputs[0];
    if (!AlwaysDense(graph_, references_[swapped])) return Dense(value);
    transpose ^= 1;
    return references_[swapped];
  }

  void AddOperation(uint32_t index) {
    const Node& node = graph_.nodes[index];
    Operation operation;
    operation.op = node.op;
    operation.node = index;
    operation.attributes = node.attributes;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (IsTileOp(node.op)) {
        operation.inputs.push_back(references_[node.inputs[i]]);
      } else if (node.op == Op::kMatmul) {
        operation.inputs.push_back(MatmulOperand(node.inputs[i], operation.attributes[i]));
      } else {
        operation.inputs.push_back(Dense(node.inputs[i]));
      }
    }
    const OperationId id = static_cast<OperationId>(lowering_.operations.size());
    for (uint32_t k = 0; k < node.output_count; ++k) {
      AddValue(node.first_output + k, {.producer = id});
      operation.outputs.push_back(lowering_.storage_of[node.first_output + k]);
    }
    lowering_.operations.push_back(std::move(operation));
  }

  Lowering& lowering_;
  const Graph& graph_;
  std::vector<Reference> references_;  // per value
  std::vector<StorageId> copies_;      // per value: its dense copy
};

}  // namespace

bool IsTileReduction(Op op) {
  switch (op) {
    case Op::kReduceSum:
    case Op::kReduceMean:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kReduceProd:
    case Op::kReduceAny:
    case Op::kReduceAll:
      return true;
    default:
      return false;
  }
}

bool IsTileOp(Op op) {
  switch (op) {
    case Op::kInvalid:  // copy
    case Op::kIota:
    case Op::kTril:
    case Op::kTriu:
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      return true;
    default:
      return Entry(op).op_class == OpClass::kPointwise || IsTileReduction(op);
  }
}

ValueId IterationValue(const Lowering& lowering, const Operation& operation) {
  if (IsTileReduction(operation.op)) return operation.inputs[0].value;
  return lowering.storages[operation.outputs[0]].value;
}

void ResolveViews(Lowering& lowering) { Resolver(lowering).Run(); }

}  // namespace moai
