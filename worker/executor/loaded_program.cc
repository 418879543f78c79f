#include "worker/executor/loaded_program.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/half.h"
#include "graph/op.h"

namespace moai {
namespace {

std::string InstructionName(const Program& program, uint32_t index) {
  const Instruction& instruction = program.instructions[index];
  return std::string(instruction.op == Op::kInvalid ? absl::string_view("fused ops")
                                                    : Name(instruction.op));
}

template <typename T>
void Store(std::byte* place, T value) {
  memcpy(place, &value, sizeof(value));
}

}  // namespace

LoadedProgram::LoadedProgram(Program program)
    : program_(std::move(program)), memory_(StepMemoryOf(program_)) {}

absl::StatusOr<std::unique_ptr<LoadedProgram>> LoadedProgram::Make(
    Program program, KernelFactory make_kernel, const DeviceShape& device, DevicePeers* peers,
    absl::Span<const DeviceGroup> groups, BackgroundKernels* background) {
  std::unique_ptr<LoadedProgram> loaded(new LoadedProgram(std::move(program)));
  loaded->background_ = background;
  MOAI_RETURN_IF_ERROR(loaded->Index());
  const Program& p = loaded->program_;
  loaded->kernels_.reserve(p.instructions.size());
  for (uint32_t i = 0; i < p.instructions.size(); ++i) {
    const bool collective = peers != nullptr && p.instructions[i].op != Op::kInvalid &&
                            IsCollective(p.instructions[i].op);
    MOAI_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> kernel,
                          collective ? peers->MakeKernel(p, i, groups) : make_kernel(p, i, device));
    loaded->kernels_.push_back(std::move(kernel));
  }
  loaded->FindEarlyOutputs();
  loaded->profile_ = StepProfile::Make(p);
  return loaded;
}

absl::Status LoadedProgram::Index() {
  addresses_.resize(program_.buffers.size());
  slots_.resize(program_.slot_types.size());
  values_.resize(program_.value_types.size());
  feeds_.resize(program_.feed_types.size());
  outputs_.resize(program_.output_types.size());
  scalars_.resize(program_.scalar_types.size());
  for (BufferId id = 0; id < program_.buffers.size(); ++id) {
    const Buffer& buffer = program_.buffers[id];
    std::vector<std::vector<BufferId>>* table = nullptr;
    switch (buffer.kind) {
      case BufferKind::kArena:
      case BufferKind::kScratch:
        in_arena_.push_back(id);
        continue;
      case BufferKind::kSlot:
        table = &slots_;
        break;
      case BufferKind::kValue:
        table = &values_;
        break;
      case BufferKind::kFeed:
        table = &feeds_;
        break;
      case BufferKind::kScalar:
        table = &scalars_;
        break;
      case BufferKind::kOutput:
        table = &outputs_;
        break;
    }
    if (table == nullptr || buffer.index >= table->size()) {
      return absl::InternalError(
          absl::StrCat("program buffer ", id, " names binding ", buffer.index, " of too few"));
    }
    (*table)[buffer.index].push_back(id);
  }
  scalars_offset_ = AlignBuffer(program_.memory.arena);
  int64_t offset =
      scalars_offset_ + AlignBuffer(int64_t(scalars_.size()) * int64_t{sizeof(Scalar)});
  for (const TensorType& feed : program_.feed_types) {
    const bool inline_feed = feed.bytes() <= kMaxInlineBytes;
    feed_offsets_.push_back(inline_feed ? offset : -1);
    if (inline_feed) offset += AlignBuffer(feed.bytes());
  }
  return absl::OkStatus();
}

void LoadedProgram::FindEarlyOutputs() {
  complete_early_.assign(program_.output_types.size(), true);
  for (uint32_t i = program_.first_write; i < program_.instructions.size(); ++i) {
    for (const Operand& output : program_.instructions[i].outputs) {
      const Buffer& buffer = program_.buffers[output.buffer];
      if (buffer.kind == BufferKind::kOutput) complete_early_[buffer.index] = false;
    }
  }
}

void LoadedProgram::SetArena(std::byte* arena) {
  if (arena == arena_) return;
  arena_ = arena;
  for (BufferId id : in_arena_) addresses_[id] = arena + program_.buffers[id].offset;
  for (size_t scalar = 0; scalar < scalars_.size(); ++scalar) {
    Set(scalars_[scalar], arena + scalars_offset_ + scalar * sizeof(Scalar));
  }
}

void LoadedProgram::WriteScalar(size_t scalar, Scalar value) {
  std::byte* place = arena_ + scalars_offset_ + scalar * sizeof(Scalar);
  switch (program_.scalar_types[scalar]) {
    case Dtype::kF32:
      return Store(place, float(value.f64));
    case Dtype::kF64:
      return Store(place, value.f64);
    case Dtype::kBF16:
      return Store(place, FloatToBfloat16(float(value.f64)));
    case Dtype::kF16:
      return Store(place, FloatToHalf(float(value.f64)));
    case Dtype::kI32:
      return Store(place, int32_t(value.i64));
    case Dtype::kI64:
      return Store(place, value.i64);
    case Dtype::kU8:
      return Store(place, uint8_t(value.i64));
    case Dtype::kBool:
      return Store(place, uint8_t(value.i64 != 0));
  }
}

void LoadedProgram::RunInstruction(uint32_t index, const KernelArguments& arguments) {
  const Instruction& instruction = program_.instructions[index];
  AwaitOverlapped(instruction.overlapped_before);
  if (instruction.overlapped && background_ != nullptr) {
    overlapped_.push_back(index);
    background_->Start(kernels_[index].get(), arguments);
    return;
  }
  kernels_[index]->Run(arguments);
  if (profile_ != nullptr) profile_->Ran(index);
}

void LoadedProgram::AwaitOverlapped(size_t count) {
  if (overlapped_complete_ >= count || background_ == nullptr) return;
  background_->AwaitAllBut(overlapped_.size() - count);
  for (; overlapped_complete_ < count; ++overlapped_complete_) {
    // The first of them gets the wait.
    if (profile_ != nullptr) profile_->Ran(overlapped_[overlapped_complete_]);
  }
}

absl::Status LoadedProgram::RunToCommit(OnError on_error) {
  errors_.Clear();
  overlapped_.clear();
  overlapped_complete_ = 0;
  const KernelArguments arguments{addresses_.data(), &errors_};
  if (profile_ != nullptr) profile_->BeginStep();
  for (uint32_t i = 0; i < program_.commit_point; ++i) {
    RunInstruction(i, arguments);
    if (on_error == OnError::kStop && errors_.raised()) break;
  }
  if (!errors_.raised()) return absl::OkStatus();
  const uint32_t index =
      std::min<uint32_t>(errors_.instruction(), uint32_t(program_.instructions.size()) - 1);
  return absl::InvalidArgumentError(absl::StrCat(
      InstructionName(program_, index), ": index ", errors_.value(), " is outside [0, ",
      errors_.limit(), ") (node ", program_.instructions[index].node, ")"));
}

void LoadedProgram::RunToFirstWrite() {
  const KernelArguments arguments{addresses_.data(), &errors_};
  for (uint32_t i = program_.commit_point; i < program_.first_write; ++i) {
    RunInstruction(i, arguments);
  }
}

void LoadedProgram::RunFromFirstWrite() {
  const KernelArguments arguments{addresses_.data(), &errors_};
  if (profile_ != nullptr) profile_->BeginStep();
  for (uint32_t i = program_.first_write; i < kernels_.size(); ++i) RunInstruction(i, arguments);
  AwaitOverlapped(overlapped_.size());
  if (profile_ != nullptr) profile_->EndStep();
}

}  // namespace moai
