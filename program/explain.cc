#include "program/explain.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace moai {
namespace {

absl::string_view Name(BufferKind kind) {
  switch (kind) {
    case BufferKind::kArena:
      return "arena";
    case BufferKind::kSlot:
      return "slot";
    case BufferKind::kValue:
      return "value";
    case BufferKind::kFeed:
      return "feed";
    case BufferKind::kScalar:
      return "scalar";
    case BufferKind::kOutput:
      return "output";
    case BufferKind::kScratch:
      return "scratch";
  }
  return "invalid";
}

absl::string_view Name(TileType type) {
  return type == TileType::kF32 ? "f32" : type == TileType::kF64 ? "f64" : "i64";
}

std::string Describe(const Operand& operand) {
  std::string text = absl::StrCat("%", operand.buffer, ":", ToString(operand.type()));
  if (!operand.dense()) absl::StrAppend(&text, " strides ", ToString(operand.strides));
  if (operand.offset != 0) absl::StrAppend(&text, " at ", operand.offset);
  return text;
}

template <class Operands>
std::string DescribeAll(const Operands& operands) {
  return absl::StrJoin(operands, ", ", [](std::string* out, const Operand& operand) {
    absl::StrAppend(out, Describe(operand));
  });
}

std::string Describe(const TileInstruction& code) {
  switch (code.code) {
    case TileCode::kLoad:
      return absl::StrCat("r", code.dst, " = load @", code.a);
    case TileCode::kStore:
      return absl::StrCat("store @", code.a, " = r", code.b);
    case TileCode::kReduce:
      return absl::StrCat("reduce @", code.a, " with ", moai::Name(code.op), " of r", code.b);
    case TileCode::kMultiplyAdd:
      return absl::StrCat("r", code.dst, " = r", code.a, " * r", code.b, " + r", code.c);
    case TileCode::kConvert:
      return absl::StrCat("r", code.dst, " = ", moai::Name(code.dtype), " r", code.a);
    case TileCode::kIndex:
      return absl::StrCat("r", code.dst, " = index @", code.a);
    case TileCode::kConstant:
      return absl::StrCat("r", code.dst, " = ", Name(code.type), " ", code.immediate);
    case TileCode::kOp:
      return absl::StrCat("r", code.dst, " = ", moai::Name(code.op), ".", Name(code.type), " r",
                          code.a, " r", code.b, " r", code.c);
  }
  return "invalid";
}

}  // namespace

std::string Explain(const TileKernel& kernel) {
  std::string text = absl::StrCat("    space ", ToString(kernel.space));
  if (kernel.reduced_dims != 0) absl::StrAppend(&text, " reduced dims ", kernel.reduced_dims);
  absl::StrAppend(&text, ", ", kernel.registers, " registers\n");
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const TileOperand& operand = kernel.operands[i];
    absl::StrAppend(&text, "    @", i, ": ", moai::Name(operand.dtype), " strides ",
                    ToString(operand.strides), " at ", operand.offset, "\n");
  }
  for (size_t i = 0; i < kernel.code.size(); ++i) {
    absl::StrAppend(&text, static_cast<int>(i) < kernel.prologue ? "    once " : "    ",
                    Describe(kernel.code[i]), "\n");
  }
  return text;
}

std::string Explain(const Program& program) {
  std::string text;
  for (size_t i = 0; i <= program.instructions.size(); ++i) {
    if (i == program.commit_point) absl::StrAppend(&text, "-- commit point\n");
    if (i == program.first_write) absl::StrAppend(&text, "-- first write\n");
    if (i == program.instructions.size()) break;
    const Instruction& instruction = program.instructions[i];
    absl::StrAppend(&text, i, ": ",
                    instruction.op == Op::kInvalid ? "fused" : moai::Name(instruction.op), " ",
                    DescribeAll(instruction.inputs), " -> ", DescribeAll(instruction.outputs));
    if (instruction.scratch >= 0) absl::StrAppend(&text, ", scratch %", instruction.scratch);
    if (instruction.overlapped) absl::StrAppend(&text, ", overlapped");
    if (instruction.overlapped_before > 0) {
      absl::StrAppend(&text, ", after ", instruction.overlapped_before, " overlapped");
    }
    absl::StrAppend(&text, "\n");
    if (instruction.fused >= 0) {
      absl::StrAppend(&text, Explain(program.kernels[instruction.fused]));
    }
  }
  for (size_t id = 0; id < program.buffers.size(); ++id) {
    const Buffer& buffer = program.buffers[id];
    absl::StrAppend(&text, "%", id, ": ", Name(buffer.kind), " ", buffer.bytes, " bytes");
    if (InArena(buffer)) {
      absl::StrAppend(&text, " at ", buffer.offset, "\n");
    } else {
      absl::StrAppend(&text, ", binding ", buffer.index, "\n");
    }
  }
  absl::StrAppend(&text, "arena ", program.memory.arena, " bytes, outputs ", program.memory.outputs,
                  ", created slots ", program.memory.created_slots, "\n");
  return text;
}

}  // namespace moai
