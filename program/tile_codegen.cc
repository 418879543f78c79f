#include "program/tile_codegen.h"

#include <algorithm>

#include "program/passes.h"

namespace moai {
namespace {

// Registers that hold what the prologue leaves; more than that and it runs once a tile.
constexpr int kMaxPinnedRegisters = 16;

using Register = int;  // virtual: one per instruction with a result

struct VirtualInstruction {
  TileInstruction instruction;
  Register dst = -1;
  Register inputs[3] = {-1, -1, -1};
  bool uniform = false;  // the same for every element
};

ReduceKind ReduceKindOf(Op op) {
  switch (op) {
    case Op::kReduceMax:
      return ReduceKind::kMax;
    case Op::kReduceMin:
      return ReduceKind::kMin;
    case Op::kReduceProd:
      return ReduceKind::kProd;
    case Op::kReduceAny:
      return ReduceKind::kOr;
    case Op::kReduceAll:
      return ReduceKind::kAnd;
    default:
      return ReduceKind::kSum;
  }
}

bool WrapsInteger(Op op) {
  switch (op) {
    case Op::kNeg:
    case Op::kAbs:
    case Op::kAdd:
    case Op::kSub:
    case Op::kMul:
    case Op::kDiv:
    case Op::kNot:
      return true;
    default:
      return false;
  }
}

class Generator {
 public:
  Generator(const Lowering& lowering, absl::Span<const OperationId> operations,
            absl::Span<const std::vector<OperationId>> consumers)
      : lowering_(lowering),
        graph_(*lowering.graph),
        operations_(operations),
        consumers_(consumers) {}

  std::optional<GeneratedTile> Run() {
    const Operation& first = lowering_.operations[operations_[0]];
    result_.tile.space = IterationValue(lowering_, first);
    for (OperationId id : operations_) {
      const Operation& operation = lowering_.operations[id];
      if (IsTileReduction(operation.op) && !operation.attributes.empty()) {
        result_.tile.reduced_axes = AxesMask(operation);
      }
    }
    for (OperationId id : operations_) {
      AddOperation(lowering_.operations[id]);
      if (result_.tile.operands.size() > kMaxTileOperands || next_ > 500) return std::nullopt;
    }
    code_.insert(code_.end(), last_stores_.begin(), last_stores_.end());
    if (result_.tile.operands.size() > kMaxTileOperands) return std::nullopt;
    if (!AllocateRegisters()) return std::nullopt;
    return std::move(result_);
  }

 private:
  static uint32_t AxesMask(const Operation& operation) {
    uint32_t mask = 0;
    for (int32_t axis : operation.attributes) mask |= 1u << axis;
    return mask;
  }

  Dtype DtypeOf(ValueId value) const { return graph_.values[value].dtype; }

  Register Emit(TileInstruction instruction, Register a = -1, Register b = -1, Register c = -1) {
    VirtualInstruction v;
    v.instruction = instruction;
    v.inputs[0] = a;
    v.inputs[1] = b;
    v.inputs[2] = c;
    v.dst = next_++;
    v.uniform = true;
    for (Register input : v.inputs) v.uniform &= input < 0 || uniform_[input];
    if (instruction.code == TileCode::kLoad || instruction.code == TileCode::kIndex) {
      v.uniform = false;
    }
    uniform_.push_back(v.uniform);
    code_.push_back(v);
    return v.dst;
  }

  Register EmitOp(Op op, Dtype dtype, Register a, Register b = -1, Register c = -1) {
    const TileType type = TileTypeOf(dtype);
    return EmitOp(op, dtype, type, a, b, c);
  }
  Register EmitOp(Op op, Dtype dtype, TileType from, Register a, Register b, Register c) {
    Register result = Emit(
        {.code = TileCode::kOp, .type = TileTypeOf(dtype), .from = from, .dtype = dtype, .op = op},
        a, b, c);
    if (WrapsInteger(op) && (dtype == Dtype::kI32 || dtype == Dtype::kU8)) {
      result = EmitConvert(dtype, TileType::kI64, result);
    }
    return result;
  }

  Register EmitConvert(Dtype to, TileType from, Register a) {
    return Emit({.code = TileCode::kConvert, .type = TileTypeOf(to), .from = from, .dtype = to}, a);
  }

  Register EmitConstant(TileType type, double value) {
    return Emit({.code = TileCode::kConstant, .type = type, .immediate = value});
  }

  uint8_t AddOperand(const TemplateTileOperand& operand) {
    result_.tile.operands.push_back(operand);
    return static_cast<uint8_t>(result_.tile.operands.size() - 1);
  }

  // The register that holds an input of an operation.
  Register Use(const Reference& reference) {
    for (const auto& [storage, reg] : made_) {
      if (storage == reference.storage && reference.views.empty()) return reg;
    }
    for (const auto& [loaded, reg] : loaded_) {
      if (loaded->storage == reference.storage && loaded->views == reference.views) return reg;
    }
    const Dtype dtype = DtypeOf(reference.value);
    const uint8_t operand = AddOperand({.kind = TileOperandKind::kElement,
                                        .position = static_cast<uint32_t>(result_.inputs.size()),
                                        .dtype = dtype});
    result_.inputs.push_back(reference);
    const Register reg =
        Emit({.code = TileCode::kLoad, .type = TileTypeOf(dtype), .dtype = dtype, .a = operand});
    // Seen through whatever broadcasts, a rank 0 storage is one number.
    if (graph_.values[lowering_.storages[reference.storage].value].rank == 0) {
      code_.back().uniform = uniform_[reg] = true;
    }
    loaded_.push_back({&reference, reg});
    return reg;
  }

  // `reduction`: the op that combines `reg` over the reduced axes; kInvalid where it is stored.
  void Define(StorageId storage, Register reg, Op reduction = Op::kInvalid) {
    const Storage& s = lowering_.storages[storage];
    const bool reduces = reduction != Op::kInvalid;
    if (!reduces) {
      made_.push_back({storage, reg});
      if (!ReadOutside(storage) && s.kind == BufferKind::kArena) return;
    }
    const Dtype dtype = DtypeOf(s.value);
    const uint8_t operand =
        AddOperand({.kind = reduces ? TileOperandKind::kReduced : TileOperandKind::kElement,
                    .output = true,
                    .position = static_cast<uint32_t>(result_.outputs.size()),
                    .dtype = dtype});
    result_.outputs.push_back(storage);
    VirtualInstruction v;
    v.instruction = {.code = reduces ? TileCode::kReduce : TileCode::kStore,
                     .type = TileTypeOf(dtype),
                     .dtype = dtype,
                     .reduce = reduces ? ReduceKindOf(reduction) : ReduceKind::kNone,
                     .a = operand,
                     .op = reduction};
    v.inputs[1] = reg;
    // A slot is written over its old value, which other operations of the group may still read.
    (s.updates_slot ? last_stores_ : code_).push_back(v);
  }

  bool ReadOutside(StorageId storage) const {
    for (OperationId reader : consumers_[storage]) {
      if (!std::binary_search(operations_.begin(), operations_.end(), reader)) return true;
    }
    return false;
  }

  void AddOperation(const Operation& operation) {
    switch (operation.op) {
      case Op::kInvalid:
        Define(operation.outputs[0], Use(operation.inputs[0]));
        return;
      case Op::kCast:
        return AddCast(operation);
      case Op::kAdamW:
        return AddAdamW(operation);
      case Op::kIota:
        return AddIota(operation);
      case Op::kTril:
      case Op::kTriu:
        return AddTriangle(operation);
      case Op::kRandomUniform:
      case Op::kRandomNormal:
      case Op::kRandomBernoulli:
        return AddRandom(operation);
      default:
        break;
    }
    if (IsTileReduction(operation.op)) return AddReduction(operation);
    Register inputs[3] = {-1, -1, -1};
    for (size_t i = 0; i < operation.inputs.size(); ++i) inputs[i] = Use(operation.inputs[i]);
    const size_t typed = operation.op == Op::kSelect ? 1 : 0;
    const TileType from = TileTypeOf(DtypeOf(operation.inputs[typed].value));
    const Dtype dtype = DtypeOf(lowering_.storages[operation.outputs[0]].value);
    Define(operation.outputs[0],
           EmitOp(operation.op, dtype, from, inputs[0], inputs[1], inputs[2]));
  }

  void AddCast(const Operation& operation) {
    const Dtype from = DtypeOf(operation.inputs[0].value);
    const Dtype to = DtypeOf(lowering_.storages[operation.outputs[0]].value);
    const Register input = Use(operation.inputs[0]);
    // Widening to f32 changes nothing in a register that holds f32 already.
    const bool same = to == from || (to == Dtype::kF32 && TileTypeOf(from) == TileType::kF32);
    Define(operation.outputs[0], same ? input : EmitConvert(to, TileTypeOf(from), input));
  }

  // See op_table.def for the formula. What depends on scalars only is computed once.
  void AddAdamW(const Operation& operation) {
    const Dtype parameter_dtype = DtypeOf(operation.inputs[0].value);
    const Dtype dtype = parameter_dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
    const TileType type = TileTypeOf(dtype);
    Register in[12];
    for (int i = 0; i < 12; ++i) {
      in[i] = Use(operation.inputs[i]);
      const TileType from = TileTypeOf(DtypeOf(operation.inputs[i].value));
      if (from != type) in[i] = EmitConvert(dtype, from, in[i]);
    }
    const Register parameter = in[0], m = in[2], v = in[3], learning_rate = in[4], beta1 = in[5],
                   beta2 = in[6], epsilon = in[7], weight_decay = in[8];
    const auto op = [&](Op code, Register a, Register b = -1) { return EmitOp(code, dtype, a, b); };
    const auto multiply_add = [&](Register a, Register b, Register c) {
      return Emit({.code = TileCode::kMultiplyAdd, .type = type, .from = type, .dtype = dtype}, a,
                  b, c);
    };
    // p (1 - lr wd) - (lr / c1) m' / (sqrt(v') / sqrt(c2) + eps): one step less for each constant.
    const Register one = EmitConstant(type, 1);
    const Register rest1 = op(Op::kSub, one, beta1);
    const Register rest2 = op(Op::kSub, one, beta2);
    const Register inverse_root = op(Op::kReciprocal, op(Op::kSqrt, in[10]));
    const Register kept = op(Op::kSub, one, op(Op::kMul, learning_rate, weight_decay));
    const Register rate = op(Op::kNeg, op(Op::kDiv, learning_rate, in[9]));

    const Register gradient = op(Op::kMul, in[1], in[11]);
    const Register new_m = multiply_add(gradient, rest1, op(Op::kMul, m, beta1));
    const Register square = op(Op::kMul, gradient, gradient);
    const Register new_v = multiply_add(square, rest2, op(Op::kMul, v, beta2));
    const Register root = multiply_add(op(Op::kSqrt, new_v), inverse_root, epsilon);
    const Register new_parameter =
        multiply_add(op(Op::kDiv, new_m, root), rate, op(Op::kMul, parameter, kept));
    Define(operation.outputs[0], new_parameter);
    Define(operation.outputs[1], new_m);
    Define(operation.outputs[2], new_v);
  }

  Register EmitIndex(TemplateTileOperand operand) {
    operand.dtype = Dtype::kI64;
    const uint8_t position = AddOperand(operand);
    return Emit(
        {.code = TileCode::kIndex, .type = TileType::kI64, .dtype = Dtype::kI64, .a = position});
  }

  void AddIota(const Operation& operation) {
    const Dtype to = DtypeOf(lowering_.storages[operation.outputs[0]].value);
    Register index = EmitIndex({.kind = TileOperandKind::kAxisIndex,
                                .axis = operation.attributes[1],
                                .node = operation.node});
    if (to != Dtype::kI64) index = EmitConvert(to, TileType::kI64, index);
    Define(operation.outputs[0], index);
  }

  void AddTriangle(const Operation& operation) {
    const Dtype dtype = DtypeOf(operation.inputs[0].value);
    const TileType type = TileTypeOf(dtype);
    const Register input = Use(operation.inputs[0]);
    const Register distance =
        EmitIndex({.kind = TileOperandKind::kDiagonal, .node = operation.node});
    const Register zero = EmitConstant(TileType::kI64, 0);
    const Register kept = EmitOp(operation.op == Op::kTril ? Op::kLe : Op::kGe, Dtype::kBool,
                                 TileType::kI64, distance, zero, -1);
    const Register other = type == TileType::kI64 ? zero : EmitConstant(type, 0);
    Define(operation.outputs[0], EmitOp(Op::kSelect, dtype, type, kept, input, other));
  }

  void AddRandom(const Operation& operation) {
    const Dtype to = DtypeOf(lowering_.storages[operation.outputs[0]].value);
    const Register seed = Use(operation.inputs[0]);
    const Register offset = Use(operation.inputs[1]);
    const Register position =
        EmitIndex({.kind = TileOperandKind::kPosition, .node = operation.node});
    const bool bernoulli = operation.op == Op::kRandomBernoulli;
    const Dtype made = bernoulli ? Dtype::kF32 : to == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
    Register number = Emit({.code = TileCode::kOp,
                            .type = TileTypeOf(made),
                            .from = TileType::kI64,
                            .dtype = made,
                            .op = bernoulli ? Op::kRandomUniform : operation.op,
                            .attribute = operation.attributes[1]},
                           position, seed, offset);
    if (bernoulli) {
      const Register chance = Use(operation.inputs[2]);
      number = EmitOp(Op::kLt, Dtype::kBool, TileType::kF32, number, chance, -1);
      if (TileTypeOf(to) != TileType::kI64) number = EmitConvert(to, TileType::kI64, number);
    } else if (TileTypeOf(to) != TileTypeOf(made)) {
      number = EmitConvert(to, TileTypeOf(made), number);
    }
    Define(operation.outputs[0], number);
  }

  void AddReduction(const Operation& operation) {
    const Register input = Use(operation.inputs[0]);
    if (operation.attributes.empty()) {
      Define(operation.outputs[0], input);
      return;
    }
    Define(operation.outputs[0], input, operation.op);
  }

  // Splits off the prologue and maps virtual registers to few.
  bool AllocateRegisters() {
    int pinned_wanted = 0;
    std::vector<bool> leaves(next_, false);
    for (const VirtualInstruction& v : code_) {
      if (v.dst >= 0 && v.uniform) continue;
      for (Register input : v.inputs) {
        if (input >= 0 && uniform_[input] && !leaves[input]) {
          leaves[input] = true;
          ++pinned_wanted;
        }
      }
    }
    const bool hoist = pinned_wanted <= kMaxPinnedRegisters;
    if (hoist) {
      const auto body = std::stable_partition(
          code_.begin(), code_.end(),
          [](const VirtualInstruction& v) { return v.dst >= 0 && v.uniform; });
      result_.tile.prologue = static_cast<int>(body - code_.begin());
    }
    std::vector<int> last_use(next_, -1);
    for (size_t i = 0; i < code_.size(); ++i) {
      if (code_[i].dst >= 0) last_use[code_[i].dst] = static_cast<int>(i);
      for (Register input : code_[i].inputs) {
        if (input >= 0) last_use[input] = static_cast<int>(i);
      }
    }
    std::vector<int> physical(next_, -1);
    std::vector<uint8_t> free;
    int used = 0;
    for (size_t i = 0; i < code_.size(); ++i) {
      VirtualInstruction& v = code_[i];
      TileInstruction out = v.instruction;
      uint8_t* fields[3] = {&out.a, &out.b, &out.c};
      for (int k = 0; k < 3; ++k) {
        if (v.inputs[k] >= 0) *fields[k] = static_cast<uint8_t>(physical[v.inputs[k]]);
      }
      // The result never shares a register with an input: simple for those who run the code.
      if (v.dst >= 0) {
        if (free.empty()) {
          if (used == kMaxTileRegisters) return false;
          physical[v.dst] = used++;
        } else {
          physical[v.dst] = free.back();
          free.pop_back();
        }
        out.dst = static_cast<uint8_t>(physical[v.dst]);
      }
      const auto release = [&](Register r) {
        if (r < 0 || last_use[r] != static_cast<int>(i) || (hoist && leaves[r])) return;
        last_use[r] = -1;
        free.push_back(static_cast<uint8_t>(physical[r]));
      };
      for (Register input : v.inputs) release(input);
      release(v.dst);
      result_.tile.code.push_back(out);
    }
    result_.tile.registers = used;
    return true;
  }

  const Lowering& lowering_;
  const Graph& graph_;
  absl::Span<const OperationId> operations_;
  absl::Span<const std::vector<OperationId>> consumers_;
  GeneratedTile result_;
  std::vector<VirtualInstruction> code_;
  std::vector<VirtualInstruction> last_stores_;
  std::vector<bool> uniform_;  // per register
  std::vector<std::pair<StorageId, Register>> made_;
  std::vector<std::pair<const Reference*, Register>> loaded_;
  Register next_ = 0;
};

}  // namespace

std::optional<GeneratedTile> GenerateTile(const Lowering& lowering,
                                          absl::Span<const OperationId> operations,
                                          absl::Span<const std::vector<OperationId>> consumers) {
  return Generator(lowering, operations, consumers).Run();
}

}  // namespace moai
