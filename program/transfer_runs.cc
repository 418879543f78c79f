#include "program/transfer_runs.h"

#include "graph/op.h"

namespace moai {
namespace {

bool IsTransferInstruction(const Instruction& instruction) {
  return instruction.fused < 0 && IsTransfer(instruction.op);
}

const Operand& DataOf(const Instruction& instruction) {
  return instruction.op == Op::kSend ? instruction.inputs[0] : instruction.outputs[0];
}

bool Overlap(const Program& program, const Operand& a, const Operand& b) {
  if (a.buffer == b.buffer) return true;
  const Buffer& x = program.buffers[a.buffer];
  const Buffer& y = program.buffers[b.buffer];
  if (InArena(x) != InArena(y)) return false;
  if (!InArena(x)) return x.kind == y.kind && x.index == y.index;
  return x.offset < y.offset + y.bytes && y.offset < x.offset + x.bytes;
}

// Whether the instruction at `next` may be in the run that begins at `begin`.
bool Continues(const Program& program, uint32_t begin, uint32_t next) {
  const Instruction& instruction = program.instructions[next];
  if (!IsTransferInstruction(instruction) || next == program.commit_point) return false;
  for (uint32_t i = begin; i < next; ++i) {
    const Instruction& other = program.instructions[i];
    if (other.op == Op::kSend && instruction.op == Op::kRecv) return false;
    const bool writes = other.op == Op::kRecv || instruction.op == Op::kRecv;
    if (writes && Overlap(program, DataOf(other), DataOf(instruction))) return false;
  }
  return true;
}

}  // namespace

TransferRun TransferRunOf(const Program& program, uint32_t index) {
  uint32_t first = index;
  while (first > 0 && IsTransferInstruction(program.instructions[first - 1])) --first;
  TransferRun run{first, first};
  while (run.end <= index) {
    run.begin = run.end++;
    while (run.end < program.instructions.size() && Continues(program, run.begin, run.end)) {
      ++run.end;
    }
  }
  return run;
}

}  // namespace moai
