#include "program/program_checker.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "program/transfer_runs.h"

namespace moai {
namespace {

// First and last byte that a view touches in its buffer; empty views touch none.
std::pair<int64_t, int64_t> BytesOf(const Operand& operand) {
  if (operand.shape.elements() == 0) return {0, 0};
  int64_t low = operand.offset, high = operand.offset;
  for (int dim = 0; dim < operand.shape.rank(); ++dim) {
    const int64_t reach = (operand.shape[dim] - 1) * operand.strides[dim];
    (reach < 0 ? low : high) += reach;
  }
  return {low * ByteSize(operand.dtype), (high + 1) * ByteSize(operand.dtype)};
}

class Checker {
 public:
  Checker(const Graph& graph, const Program& program) : graph_(graph), program_(program) {}

  absl::Status Run() {
    if (program_.commit_point > program_.first_write ||
        program_.first_write > program_.instructions.size()) {
      return Error("commit point");
    }
    for (at_ = 0; at_ < program_.instructions.size(); ++at_) {
      const Instruction& instruction = program_.instructions[at_];
      MOAI_RETURN_IF_ERROR(CheckOverlap(instruction));
      for (const Operand& input : instruction.inputs) MOAI_RETURN_IF_ERROR(Read(input));
      MOAI_RETURN_IF_ERROR(CheckScratch(instruction));
      for (const Operand& output : instruction.outputs) MOAI_RETURN_IF_ERROR(Write(output));
      MOAI_RETURN_IF_ERROR(CheckFailure(instruction));
    }
    MOAI_RETURN_IF_ERROR(CheckCollectives());
    return CheckOutputs();
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InternalError(absl::StrCat("instruction ", at_, ": ", what));
  }

  bool InArena(BufferId id) const { return moai::InArena(program_.buffers[id]); }

  // Where it is among all memory that the program owns: the arena, then each output.
  int64_t PlaceOf(const Buffer& buffer) const {
    if (buffer.kind != BufferKind::kOutput) return buffer.offset;
    return int64_t(buffer.index + 1) << 40;
  }

  absl::Status CheckBounds(const Operand& operand) const {
    if (operand.buffer >= program_.buffers.size()) return Error("no such buffer");
    const Buffer& buffer = program_.buffers[operand.buffer];
    const auto [begin, end] = BytesOf(operand);
    if (begin < 0 || end > buffer.bytes) return Error("an operand leaves its buffer");
    if (InArena(operand.buffer) && (buffer.offset % kBufferAlignment != 0 || buffer.offset < 0 ||
                                    buffer.offset + buffer.bytes > program_.memory.arena)) {
      return Error("a buffer leaves the arena");
    }
    return absl::OkStatus();
  }

  absl::Status Read(const Operand& operand) {
    MOAI_RETURN_IF_ERROR(CheckBounds(operand));
    const Buffer& buffer = program_.buffers[operand.buffer];
    if (!InArena(operand.buffer) && buffer.kind != BufferKind::kOutput) return absl::OkStatus();
    const auto [begin, end] = BytesOf(operand);
    const int64_t base = PlaceOf(buffer);
    // Every byte was last written through this very buffer.
    int64_t covered = base + begin;
    for (auto range = Covering(covered); range != owners_.end() && covered < base + end; ++range) {
      if (range->first > covered || range->second.buffer != operand.buffer) break;
      covered = range->second.end;
    }
    if (covered < base + end) return Error("reads bytes that its buffer does not hold any more");
    return absl::OkStatus();
  }

  absl::Status Write(const Operand& operand) {
    MOAI_RETURN_IF_ERROR(CheckBounds(operand));
    if (!operand.dense()) return Error("an output is not dense");
    const Buffer& buffer = program_.buffers[operand.buffer];
    switch (buffer.kind) {
      case BufferKind::kOutput:
        // What dies where the result is written may have lived in its memory before.
        if (!written_.insert(operand.buffer).second) return Error("writes an output twice");
        written_outputs_.insert(buffer.index);
        [[fallthrough]];
      case BufferKind::kArena: {
        const auto [begin, end] = BytesOf(operand);
        Own(PlaceOf(buffer) + begin, PlaceOf(buffer) + end, operand.buffer);
        return absl::OkStatus();
      }
      case BufferKind::kSlot:
        if (!program_.slot_created[buffer.index] && at_ < program_.first_write) {
          return Error("writes a slot before the first write");
        }
        if (!written_slots_.insert(buffer.index).second) return Error("writes a slot twice");
        return absl::OkStatus();
      default:
        return Error("writes an input");
    }
  }

  absl::Status CheckScratch(const Instruction& instruction) const {
    if (instruction.scratch < 0) return absl::OkStatus();
    const Buffer& scratch = program_.buffers[instruction.scratch];
    if (scratch.kind != BufferKind::kScratch) return Error("scratch is another buffer");
    if (scratch.offset + scratch.bytes > program_.memory.arena) {
      return Error("scratch leaves the arena");
    }
    const auto overlaps = [&](const Operand& operand) {
      const Buffer& buffer = program_.buffers[operand.buffer];
      return InArena(operand.buffer) && buffer.offset < scratch.offset + scratch.bytes &&
             scratch.offset < buffer.offset + buffer.bytes;
    };
    for (const Operand& input : instruction.inputs) {
      if (overlaps(input)) return Error("scratch lies over an input");
    }
    for (const Operand& output : instruction.outputs) {
      if (overlaps(output)) return Error("scratch lies over an output");
    }
    return absl::OkStatus();
  }

  // What is on its way is in memory that nobody else touches, and other collectives wait for it.
  absl::Status CheckOverlap(const Instruction& instruction) {
    const bool collective = instruction.fused < 0 && IsCollective(instruction.op);
    if (instruction.overlapped_before > overlapped_.size()) return Error("waits for what is later");
    if (instruction.overlapped_before < complete_) return Error("completion is taken back");
    complete_ = instruction.overlapped_before;
    const bool on_its_way = complete_ < overlapped_.size();
    if (on_its_way && collective && !instruction.overlapped) return Error("two use the links");
    for (size_t i = complete_; i < overlapped_.size(); ++i) {
      const Instruction& other = program_.instructions[overlapped_[i]];
      std::vector<BufferId> theirs = {other.inputs[0].buffer, other.outputs[0].buffer};
      if (other.scratch >= 0) theirs.push_back(BufferId(other.scratch));
      for (const Operand& operand : instruction.inputs) {
        if (Touches(operand.buffer, theirs)) return Error("reads what is on its way");
      }
      for (const Operand& operand : instruction.outputs) {
        if (Touches(operand.buffer, theirs)) return Error("writes what is on its way");
      }
      // Overlapped collectives take turns, so that they may share their scratch.
      if (instruction.scratch >= 0 &&
          !(instruction.overlapped && instruction.scratch == other.scratch) &&
          Touches(BufferId(instruction.scratch), theirs)) {
        return Error("scratch lies over what is on its way");
      }
    }
    if (!instruction.overlapped) return absl::OkStatus();
    if (!collective) return Error("what overlaps is not a collective");
    if (!InArena(instruction.inputs[0].buffer) || !InArena(instruction.outputs[0].buffer)) {
      return Error("overlaps in memory that is not the program's own");
    }
    overlapped_.push_back(at_);
    return absl::OkStatus();
  }

  bool Touches(BufferId id, absl::Span<const BufferId> others) const {
    const Buffer& buffer = program_.buffers[id];
    for (BufferId other_id : others) {
      const Buffer& other = program_.buffers[other_id];
      if (InArena(id) && buffer.offset < other.offset + other.bytes &&
          other.offset < buffer.offset + buffer.bytes) {
        return true;
      }
    }
    return false;
  }

  absl::Status CheckFailure(const Instruction& instruction) {
    if (!IsChecked(instruction.op)) return absl::OkStatus();
    if (at_ < program_.commit_point) return absl::OkStatus();
    // The gradient of a lookup or a loss, whose indices the forward op has checked.
    const Op forward = instruction.op == Op::kEmbeddingGrad      ? Op::kEmbedding
                       : instruction.op == Op::kCrossEntropyGrad ? Op::kCrossEntropy
                                                                 : Op::kInvalid;
    const ValueId indices =
        graph_.nodes[instruction.node].inputs[Entry(instruction.op).checked_input];
    for (uint32_t i = 0; i < program_.commit_point; ++i) {
      const Instruction& other = program_.instructions[i];
      if (other.op == forward && forward != Op::kInvalid &&
          Root(graph_.nodes[other.node].inputs[Entry(forward).checked_input]) == Root(indices)) {
        return absl::OkStatus();
      }
    }
    return Error("may fail after the commit point");
  }

  // Each collective of the graph once, in its order.
  absl::Status CheckCollectives() {
    bool transfers = false;
    for (const Node& node : graph_.nodes) {
      transfers |= node.op == Op::kSend || node.op == Op::kRecv;
    }
    size_t next = 0;
    const auto skip = [&] {
      while (next < graph_.nodes.size() && !IsCollective(graph_.nodes[next].op)) ++next;
    };
    skip();
    std::vector<uint32_t> run;  // nodes of the transfers that are executed at once, ascending
    for (at_ = 0; at_ < program_.instructions.size(); ++at_) {
      const Instruction& instruction = program_.instructions[at_];
      if (instruction.fused >= 0 || !IsCollective(instruction.op)) continue;
      uint32_t node = instruction.node;
      if (IsTransfer(instruction.op)) {
        const TransferRun at_once = TransferRunOf(program_, at_);
        if (at_ == at_once.begin) {
          run.clear();
          for (uint32_t i = at_once.begin; i < at_once.end; ++i) {
            run.push_back(program_.instructions[i].node);
          }
          std::sort(run.begin(), run.end());
        }
        node = run[at_ - at_once.begin];
      }
      if (node != next) return Error("a collective is out of order");
      if (transfers && at_ >= program_.commit_point) {
        return Error("a collective beside transfers comes after the commit point");
      }
      ++next;
      skip();
    }
    return next == graph_.nodes.size() ? absl::OkStatus() : Error("a collective is missing");
  }

  // The value that a chain of reshapes starts from.
  ValueId Root(ValueId value) const {
    for (size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      if (node.first_output == value && node.op == Op::kReshape) value = node.inputs[0];
    }
    return value;
  }

  absl::Status CheckOutputs() const {
    std::vector<ValueId> reads(graph_.slot_count, UINT32_MAX);
    for (const Input& input : graph_.inputs) {
      if (input.kind == InputKind::kSlot) reads[input.index] = input.value;
    }
    uint32_t values = 0;
    for (const Output& output : graph_.outputs) {
      if (output.kind == OutputKind::kValue) {
        if (!written_outputs_.contains(values++)) return Error("an output is not written");
      } else if (reads[output.index] != output.value && !written_slots_.contains(output.index)) {
        return Error("a slot is not written");
      }
    }
    return absl::OkStatus();
  }

  // ---- Who wrote what: disjoint ranges of the arena ---------------------------------------------

  struct Owner {
    int64_t end;
    BufferId buffer;
  };
  using Owners = std::map<int64_t, Owner>;

  Owners::const_iterator Covering(int64_t byte) const {
    auto next = owners_.upper_bound(byte);
    if (next == owners_.begin()) return owners_.end();
    --next;
    return next->second.end > byte ? next : owners_.end();
  }

  void Split(int64_t byte) {
    auto next = owners_.upper_bound(byte);
    if (next == owners_.begin()) return;
    --next;
    if (next->first == byte || next->second.end <= byte) return;
    const Owner rest = next->second;
    next->second.end = byte;
    owners_[byte] = rest;
  }

  void Own(int64_t begin, int64_t end, BufferId buffer) {
    if (begin == end) return;
    Split(begin);
    Split(end);
    owners_.erase(owners_.lower_bound(begin), owners_.lower_bound(end));
    owners_[begin] = {end, buffer};
  }

  const Graph& graph_;
  const Program& program_;
  uint32_t at_ = 0;
  Owners owners_;
  std::vector<uint32_t> overlapped_;  // instructions, as they began
  uint32_t complete_ = 0;             // how many of those are over
  std::set<BufferId> written_;        // of outputs
  std::set<uint32_t> written_outputs_;
  std::set<uint32_t> written_slots_;
};

}  // namespace

absl::Status CheckProgram(const Graph& graph, const Program& program) {
  return Checker(graph, program).Run();
}

}  // namespace moai
