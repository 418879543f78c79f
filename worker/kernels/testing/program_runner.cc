#include "worker/kernels/testing/program_runner.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/op.h"

namespace moai {
namespace {

constexpr int64_t kMargin = 64;
constexpr std::byte kMarginByte{0xA5};

}  // namespace

Program MakeInstructionProgram(const InstructionSpec& spec, const DeviceShape& device) {
  Program program;
  Instruction instruction;
  instruction.op = spec.op;
  instruction.attributes.assign(spec.attributes.begin(), spec.attributes.end());
  instruction.numbers.assign(spec.numbers.begin(), spec.numbers.end());
  instruction.extents.assign(spec.extents.begin(), spec.extents.end());
  const auto add_operand = [&](const TensorType& type, BufferKind kind, uint32_t index) {
    Operand operand;
    operand.buffer = static_cast<BufferId>(program.buffers.size());
    operand.dtype = type.dtype;
    operand.shape = type.shape;
    operand.strides = DenseStrides(type.shape);
    program.buffers.push_back({.kind = kind, .index = index, .bytes = type.bytes()});
    return operand;
  };
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    instruction.inputs.push_back(add_operand(spec.inputs[i], BufferKind::kValue, i));
  }
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    instruction.outputs.push_back(add_operand(spec.outputs[i], BufferKind::kOutput, i));
  }
  const int64_t scratch = CpuWorkspaceBytes(instruction, device);
  if (scratch > 0) {
    instruction.scratch = static_cast<int32_t>(program.buffers.size());
    program.buffers.push_back({.kind = BufferKind::kScratch, .bytes = scratch});
    program.memory.arena = scratch;
  }
  program.instructions.push_back(std::move(instruction));
  program.commit_point = 1;
  program.value_types = spec.inputs;
  program.output_types = spec.outputs;
  return program;
}

ProgramRunner::Block ProgramRunner::Allocate(int64_t bytes) {
  Block block;
  const int64_t rounded = (bytes + kMargin + 63) / 64 * 64;
  block.memory = {static_cast<std::byte*>(std::aligned_alloc(64, rounded)), std::free};
  block.bytes = bytes;
  // What a kernel does not write, a test should notice.
  std::memset(block.memory.get(), 0x7f, bytes);
  std::memset(block.memory.get() + bytes, static_cast<int>(kMarginByte), rounded - bytes);
  return block;
}

absl::StatusOr<std::unique_ptr<ProgramRunner>> ProgramRunner::Make(Program program,
                                                                   KernelFactory factory,
                                                                   const DeviceShape& device) {
  std::unique_ptr<ProgramRunner> runner(new ProgramRunner());
  runner->program_ = std::move(program);
  const Program& p = runner->program_;
  int64_t arena = 0;
  for (const Buffer& buffer : p.buffers) {
    if (InArena(buffer)) {
      arena = std::max(arena, buffer.offset + buffer.bytes);
      continue;
    }
    Block& block = runner->bindings_[{buffer.kind, buffer.index}];
    if (block.memory == nullptr || block.bytes < buffer.bytes) block = Allocate(buffer.bytes);
  }
  if (arena > p.memory.arena) {
    return absl::InternalError(absl::StrCat("the buffers need an arena of ", arena,
                                            " bytes, the memory map says ", p.memory.arena));
  }
  runner->arena_ = Allocate(p.memory.arena);
  for (const Buffer& buffer : p.buffers) {
    runner->addresses_.push_back(InArena(buffer)
                                     ? runner->arena_.memory.get() + buffer.offset
                                     : runner->bindings_[{buffer.kind, buffer.index}].memory.get());
  }
  for (uint32_t i = 0; i < p.instructions.size(); ++i) {
    MOAI_ASSIGN_OR_RETURN(auto kernel, factory(p, i, device));
    runner->kernels_.push_back(std::move(kernel));
  }
  return runner;
}

absl::Span<std::byte> ProgramRunner::Memory(BufferKind kind, uint32_t index) {
  const auto found = bindings_.find({kind, index});
  if (found == bindings_.end()) return {};
  return {found->second.memory.get(), static_cast<size_t>(found->second.bytes)};
}

bool ProgramRunner::MarginsIntact() const {
  const auto intact = [](const Block& block) {
    const std::byte* end = block.memory.get() + block.bytes;
    return std::all_of(end, end + kMargin, [](std::byte b) { return b == kMarginByte; });
  };
  return intact(arena_) && std::all_of(bindings_.begin(), bindings_.end(),
                                       [&](const auto& entry) { return intact(entry.second); });
}

absl::Status ProgramRunner::Run() {
  errors_.Clear();
  RunUnchecked();
  if (!MarginsIntact()) return absl::InternalError("a kernel wrote past the end of a buffer");
  if (errors_.raised()) {
    const Op op = program_.instructions[errors_.instruction()].op;
    return absl::InvalidArgumentError(absl::StrCat(IsValid(op) ? Name(op) : "instruction",
                                                   ": index ", errors_.value(), " is outside [0, ",
                                                   errors_.limit(), ")"));
  }
  return absl::OkStatus();
}

void ProgramRunner::RunUnchecked() {
  const KernelArguments arguments{addresses_.data(), &errors_};
  for (const std::unique_ptr<Kernel>& kernel : kernels_) kernel->Run(arguments);
}

}  // namespace moai
