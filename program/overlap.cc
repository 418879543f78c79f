#include "program/overlap.h"

#include <algorithm>

#include "graph/op.h"

namespace moai {
namespace {

constexpr uint32_t kNever = UINT32_MAX;

bool IsCollectiveInstruction(const Instruction& instruction) {
  return instruction.fused < 0 && instruction.op != Op::kInvalid && IsCollective(instruction.op);
}

// The instruction before which the in-place all_reduce at `at` must be complete; `at + 1` where it
// cannot overlap. `next_use`: the first later instruction that touches its memory, if any does.
uint32_t CompletionOf(const Program& program, uint32_t at, uint32_t next_use) {
  // One that nobody reads is not kept alive.
  if (next_use == kNever) return at + 1;
  for (uint32_t i = at + 1; i < next_use; ++i) {
    if (!IsCollectiveInstruction(program.instructions[i])) return next_use;
  }
  return at + 1;  // there is nothing to go on beside
}

}  // namespace

std::vector<uint32_t> OverlapCollectives(absl::Span<const BufferId> home_of, Program& program) {
  const auto home = [&](const Operand& operand) { return home_of[operand.buffer]; };
  const auto in_place = [&](const Instruction& instruction) {
    return instruction.fused < 0 && instruction.op == Op::kAllReduce &&
           program.buffers[instruction.outputs[0].buffer].kind == BufferKind::kArena &&
           home(instruction.inputs[0]) == home(instruction.outputs[0]);
  };

  // Backwards: where each one must be complete.
  const uint32_t count = static_cast<uint32_t>(program.instructions.size());
  std::vector<uint32_t> next_use(home_of.size(), kNever);  // by home
  std::vector<uint32_t> completion(count, 0);
  for (uint32_t i = count; i-- > 0;) {
    Instruction& instruction = program.instructions[i];
    if (in_place(instruction)) {
      const uint32_t end = CompletionOf(program, i, next_use[home(instruction.outputs[0])]);
      instruction.overlapped = end > i + 1;
      completion[i] = instruction.overlapped ? end : 0;
    }
    for (const Operand& operand : instruction.inputs) next_use[home(operand)] = i;
    for (const Operand& operand : instruction.outputs) next_use[home(operand)] = i;
  }

  // Forwards: what each instruction waits for. Since they end in order, a number says which.
  std::vector<uint32_t> complete_before(count + 1, 0);
  uint32_t begun = 0, complete = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Instruction& instruction = program.instructions[i];
    complete = std::max(complete, complete_before[i]);
    // One thread at a time uses the links.
    if (IsCollectiveInstruction(instruction) && !instruction.overlapped) complete = begun;
    instruction.overlapped_before = complete;
    if (!instruction.overlapped) continue;
    ++begun;
    complete_before[completion[i]] = std::max(complete_before[completion[i]], begun);
  }
  return completion;
}

}  // namespace moai
