#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "graph/parts.h"
#include "program/compile.h"
#include "program/memory_map.h"
#include "program/overlap.h"
#include "program/strided_view.h"
#include "program/template.h"
#include "program/tile_layout.h"
#include "program/workspace.h"

namespace moai {
namespace {

// No device has more memory; keeps sums of bytes inside int64.
constexpr double kMaxProgramBytes = 0x1p60;

int64_t AlignBytes(int64_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

class Instantiation {
 public:
  Instantiation(const ProgramTemplate& source, absl::Span<const int64_t> sizes,
                absl::Span<const TensorType> types, const DeviceShape& device)
      : source_(source), sizes_(sizes), types_(types), device_(device) {}

  absl::StatusOr<Program> Run() {
    if (absl::Status status = DescribeBindings(); !status.ok()) return status;
    storages_.resize(source_.storages.size());
    for (StorageId id = 0; id < storages_.size(); ++id)
      storages_[id].root = storages_[id].home = id;
    program_.instructions.reserve(source_.instructions.size());
    program_.kernels.reserve(source_.tiles.size());
    for (uint32_t i = 0; i < source_.instructions.size(); ++i) {
      SetPoints(i);
      AddInstruction(source_.instructions[i]);
    }
    SetPoints(static_cast<uint32_t>(source_.instructions.size()));
    if (absl::Status status = CheckTotal(); !status.ok()) return status;
    ShareWithDyingInputs();
    AddScratch(OverlapCollectives(Homes(), program_));
    PlaceArena();
    return std::move(program_);
  }

 private:
  struct StorageState {
    StorageId root = 0;  // the storage whose memory this one is a part of, or itself
    int64_t offset = 0;  // elements from the root's first
    // The rest for roots only.
    BufferId buffer = kNone;
    // Instructions that use it, by position in program_.
    uint32_t first = kNone;
    uint32_t last = 0;
    // The root whose memory it was given when that one died, or itself. Of a home, first and last
    // span all that live in it.
    StorageId home = 0;
  };

  const TensorType& TypeOf(StorageId id) const { return types_[source_.storages[id].value]; }

  absl::Status DescribeBindings() {
    const Graph& graph = source_.graph;
    program_.slot_types.resize(graph.slot_count);
    program_.value_types.resize(graph.value_count);
    program_.feed_types.resize(graph.feed_count);
    program_.scalar_types.resize(graph.scalar_count);
    program_.slot_created = source_.slot_created;
    for (const Input& input : graph.inputs) {
      const TensorType& type = types_[input.value];
      switch (input.kind) {
        case InputKind::kSlot:
          program_.slot_types[input.index] = type;
          break;
        case InputKind::kValue:
          program_.value_types[input.index] = type;
          break;
        case InputKind::kFeed:
          program_.feed_types[input.index] = type;
          break;
        case InputKind::kScalar:
          program_.scalar_types[input.index] = type.dtype;
          break;
      }
    }
    for (const Output& output : graph.outputs) {
      const TensorType& type = types_[output.value];
      if (output.kind == OutputKind::kValue) {
        program_.output_types.push_back(type);
      } else if (source_.slot_created[output.index]) {
        program_.slot_types[output.index] = type;
      } else if (type != program_.slot_types[output.index]) {
        return absl::InvalidArgumentError(absl::StrCat(
            "slot binding ", output.index, " is ", ToString(program_.slot_types[output.index]),
            ", but the output that replaces it is ", ToString(type)));
      }
    }
    return absl::OkStatus();
  }

  // Before the template's instruction `at`.
  void SetPoints(uint32_t at) {
    const uint32_t here = static_cast<uint32_t>(program_.instructions.size());
    if (at == source_.commit_point) program_.commit_point = here;
    if (at == source_.first_write) program_.first_write = here;
  }

  // ---- Operands ---------------------------------------------------------------------------------

  Operand ResolveStorage(StorageId id) {
    StorageState& state = storages_[id];
    Operand operand;
    operand.buffer = BufferOf(state.root);
    operand.dtype = TypeOf(id).dtype;
    operand.shape = TypeOf(id).shape;
    operand.strides = DenseStrides(operand.shape);
    operand.offset = state.offset;
    return operand;
  }

  Operand Resolve(const Reference& reference) {
    Operand operand = ResolveStorage(reference.storage);
    for (uint32_t index : reference.views) {
      const Node& node = source_.graph.nodes[index];
      StridedView view = ApplyView(node, Extents(node, sizes_), types_[node.first_output].shape,
                                   {operand.shape, operand.strides, operand.offset});
      operand.shape = view.shape;
      operand.strides = view.strides;
      operand.offset = view.offset;
    }
    return operand;
  }

  BufferId BufferOf(StorageId root) {
    StorageState& state = storages_[root];
    if (state.buffer == kNone) {
      const Storage& storage = source_.storages[root];
      state.buffer = static_cast<BufferId>(program_.buffers.size());
      program_.buffers.push_back(
          {.kind = storage.kind, .index = storage.index, .bytes = TypeOf(root).bytes()});
      buffer_roots_.push_back(root);
    }
    return state.buffer;
  }

  void Touch(StorageId id) {
    StorageState& root = storages_[storages_[id].root];
    const uint32_t now = static_cast<uint32_t>(program_.instructions.size());
    root.first = std::min(root.first, now);
    root.last = now;
  }

  // ---- Instructions -----------------------------------------------------------------------------

  void AddInstruction(const TemplateInstruction& from) {
    Instruction instruction;
    instruction.node = from.node;
    for (const Reference& input : from.inputs) instruction.inputs.push_back(Resolve(input));
    if (from.copy && Vanishes(from, instruction.inputs[0])) return;
    for (const Reference& input : from.inputs) Touch(input.storage);
    for (StorageId output : from.outputs) {
      instruction.outputs.push_back(ResolveStorage(output));
      Touch(output);
    }
    if (from.tile >= 0) {
      instruction.fused = static_cast<int32_t>(program_.kernels.size());
      program_.kernels.push_back(MakeKernel(source_.tiles[from.tile], instruction));
    } else {
      const Node& node = source_.graph.nodes[from.node];
      const absl::Span<const int64_t> extents = Extents(node, sizes_);
      instruction.op = from.op;
      instruction.attributes = from.attributes;
      instruction.numbers = node.numbers;
      instruction.extents.assign(extents.begin(), extents.end());
    }
    program_.instructions.push_back(std::move(instruction));
    origins_.push_back(&from);
  }

  // A copy of what these sizes make dense: the copy becomes a name for a part of the original.
  // Not where the original is a slot that the step overwrites.
  bool Vanishes(const TemplateInstruction& copy, const Operand& input) {
    const StorageId output = copy.outputs[0];
    const StorageId root = storages_[copy.inputs[0].storage].root;
    const Storage& original = source_.storages[root];
    if (!input.dense() || source_.storages[output].kind != BufferKind::kArena) return false;
    if (original.kind == BufferKind::kSlot && original.producer == kNone &&
        source_.slot_updated[original.index]) {
      return false;
    }
    storages_[output].root = root;
    storages_[output].offset = input.offset;
    return true;
  }

  // ---- Fused kernels ----------------------------------------------------------------------------

  TileKernel MakeKernel(const TileTemplate& from, const Instruction& instruction) {
    TileKernel kernel;
    kernel.space = types_[from.space].shape;
    kernel.reduced_dims = from.reduced_axes;
    kernel.registers = from.registers;
    kernel.prologue = from.prologue;
    kernel.code = from.code;
    for (TileInstruction& code : kernel.code) {
      if (code.op == Op::kReduceMean) {
        code.immediate = static_cast<double>(ReducedElements(kernel));
      }
    }
    kernel.operands.reserve(from.operands.size());
    for (const TemplateTileOperand& operand : from.operands) {
      kernel.operands.push_back(MakeTileOperand(operand, instruction, kernel));
    }
    LayOutTile(kernel);
    return kernel;
  }

  static int64_t ReducedElements(const TileKernel& kernel) {
    int64_t elements = 1;
    for (int dim = 0; dim < kernel.space.rank(); ++dim) {
      if (kernel.reduced_dims >> dim & 1) elements *= kernel.space[dim];
    }
    return elements;
  }

  CreatedPart PartMadeBy(uint32_t index) const {
    const Node& node = source_.graph.nodes[index];
    return CreatedPartOf(node, Extents(node, sizes_));
  }

  TileOperand MakeTileOperand(const TemplateTileOperand& from, const Instruction& instruction,
                              const TileKernel& kernel) {
    const int rank = kernel.space.rank();
    TileOperand to;
    to.operand = kNoOperand;
    to.dtype = from.dtype;
    to.strides = Shape::Filled(rank, 0);
    switch (from.kind) {
      case TileOperandKind::kAxisIndex:
        to.strides[from.axis] = 1;
        to.offset = PartMadeBy(from.node).start[from.axis];
        return to;
      case TileOperandKind::kPosition: {
        const CreatedPart part = PartMadeBy(from.node);
        to.strides = DenseStrides(part.whole);
        to.offset = part.first_position();
        return to;
      }
      case TileOperandKind::kDiagonal:
        to.strides[rank - 1] = 1;
        to.strides[rank - 2] = -1;
        to.offset = -Extents(source_.graph.nodes[from.node], sizes_)[0];
        return to;
      case TileOperandKind::kElement:
      case TileOperandKind::kReduced:
        break;
    }
    const Operand& operand =
        from.output ? instruction.outputs[from.position] : instruction.inputs[from.position];
    to.operand =
        from.position + (from.output ? static_cast<uint32_t>(instruction.inputs.size()) : 0);
    to.offset = operand.offset;
    if (from.kind == TileOperandKind::kReduced) {
      int kept = 0;
      for (int dim = 0; dim < rank; ++dim) {
        if (!(kernel.reduced_dims >> dim & 1)) to.strides[dim] = operand.strides[kept++];
      }
    } else if (operand.shape.rank() != 0) {
      to.strides = operand.strides;
    }
    return to;
  }

  // ---- Memory -----------------------------------------------------------------------------------

  absl::Status CheckTotal() const {
    double total = 0;
    for (const Buffer& buffer : program_.buffers) total += static_cast<double>(buffer.bytes);
    if (total <= kMaxProgramBytes) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("the tensors of one step take ", total, " bytes in sum"));
  }

  bool IsTemporary(StorageId root) const {
    return source_.storages[root].kind == BufferKind::kArena;
  }

  // A pointwise kernel, or an all_reduce, may write its output over an input that nobody reads
  // afterwards.
  void ShareWithDyingInputs() {
    absl::flat_hash_map<StorageId, StorageId> result_of_home;
    for (uint32_t i = 0; i < program_.instructions.size(); ++i) {
      const Instruction& instruction = program_.instructions[i];
      if (instruction.fused < 0 && instruction.op != Op::kAllReduce) continue;
      const TemplateInstruction& from = *origins_[i];
      for (size_t k = 0; k < from.outputs.size(); ++k) {
        const StorageId output = from.outputs[k];
        const bool result = source_.storages[output].kind == BufferKind::kOutput &&
                            storages_[output].root == output;
        if ((!IsTemporary(output) && !result) || storages_[output].first != i) continue;
        for (const Reference& input : from.inputs) {
          const StorageId root = storages_[input.storage].root;
          StorageState& home = storages_[storages_[root].home];
          if (!IsTemporary(root) || home.last != i || home.first == i ||
              TypeOf(root).bytes() != TypeOf(output).bytes() ||
              !WritesAfterReads(instruction, storages_[root].buffer, k)) {
            continue;
          }
          if (result) {
            // The other way round: what dies here has lived in the memory of the result, as sums
            // that grow by micro-batches do.
            result_of_home[storages_[root].home] = output;
            home.last = kNone;
            break;
          }
          storages_[output].home = storages_[root].home;
          home.last = storages_[output].last;
          break;
        }
      }
    }
    for (BufferId id = 0; !result_of_home.empty() && id < buffer_roots_.size(); ++id) {
      const auto found = result_of_home.find(storages_[buffer_roots_[id]].home);
      if (found == result_of_home.end()) continue;
      program_.buffers[id].kind = BufferKind::kOutput;
      program_.buffers[id].index = source_.storages[found->second].index;
    }
  }

  // True where every access to `buffer` walks it exactly as output `k` is walked, in elements of
  // the same size, and is over when the output is stored.
  bool WritesAfterReads(const Instruction& instruction, BufferId buffer, size_t k) const {
    if (instruction.op == Op::kAllReduce) return instruction.inputs[0].offset == 0;
    const TileKernel& kernel = program_.kernels[instruction.fused];
    const uint32_t output_operand = static_cast<uint32_t>(instruction.inputs.size() + k);
    size_t store = 0;
    const TileOperand* stored = nullptr;
    for (size_t i = 0; i < kernel.code.size(); ++i) {
      const TileInstruction& code = kernel.code[i];
      if (code.code != TileCode::kStore) continue;
      if (kernel.operands[code.a].operand != output_operand) continue;
      store = i;
      stored = &kernel.operands[code.a];
    }
    if (stored == nullptr) return false;
    for (size_t i = 0; i < kernel.code.size(); ++i) {
      const TileInstruction& code = kernel.code[i];
      if (code.code != TileCode::kLoad) continue;
      const TileOperand& loaded = kernel.operands[code.a];
      if (instruction.inputs[loaded.operand].buffer != buffer) continue;
      if (i > store || loaded.strides != stored->strides || loaded.offset != stored->offset ||
          ByteSize(loaded.dtype) != ByteSize(stored->dtype)) {
        return false;
      }
    }
    return true;
  }

  // By buffer, the one whose memory it lives in.
  std::vector<BufferId> Homes() const {
    std::vector<BufferId> homes;
    homes.reserve(buffer_roots_.size());
    for (StorageId root : buffer_roots_) homes.push_back(storages_[storages_[root].home].buffer);
    return homes;
  }

  // `completion` as of OverlapCollectives.
  void AddScratch(absl::Span<const uint32_t> completion) {
    int32_t shared = -1;  // by all that overlap others: they run one after the other
    for (uint32_t i = 0; i < program_.instructions.size(); ++i) {
      Instruction& instruction = program_.instructions[i];
      const int64_t bytes = instruction.fused >= 0
                                ? TileWorkspaceBytes(program_.kernels[instruction.fused])
                                : CpuWorkspaceBytes(instruction, device_);
      if (bytes == 0) continue;
      if (!instruction.overlapped || shared < 0) {
        instruction.scratch = static_cast<int32_t>(program_.buffers.size());
        program_.buffers.push_back({.kind = BufferKind::kScratch, .bytes = bytes});
        scratch_.push_back({bytes, i, i});
        if (instruction.overlapped) shared = instruction.scratch;
      } else {
        instruction.scratch = shared;
      }
      if (!instruction.overlapped) continue;
      Buffer& buffer = program_.buffers[shared];
      buffer.bytes = std::max(buffer.bytes, bytes);
      Lifetime& lifetime = scratch_[static_cast<size_t>(shared) - buffer_roots_.size()];
      lifetime.bytes = buffer.bytes;
      lifetime.last = completion[i] - 1;
    }
  }

  void PlaceArena() {
    std::vector<Lifetime> lifetimes;
    std::vector<BufferId> placed;
    size_t scratch = 0;
    for (BufferId id = 0; id < program_.buffers.size(); ++id) {
      const Buffer& buffer = program_.buffers[id];
      if (buffer.kind == BufferKind::kScratch) {
        lifetimes.push_back(scratch_[scratch++]);
        placed.push_back(id);
      } else if (buffer.kind == BufferKind::kArena) {
        const StorageState& state = storages_[buffer_roots_[id]];
        if (state.home != buffer_roots_[id]) continue;
        lifetimes.push_back({buffer.bytes, state.first, state.last});
        placed.push_back(id);
      }
    }
    const Placement placement = PlaceLifetimes(lifetimes, kBufferAlignment);
    for (size_t i = 0; i < placed.size(); ++i) {
      program_.buffers[placed[i]].offset = placement.offsets[i];
    }
    for (BufferId id = 0; id < buffer_roots_.size(); ++id) {
      const StorageId home = storages_[buffer_roots_[id]].home;
      program_.buffers[id].offset = program_.buffers[storages_[home].buffer].offset;
    }
    program_.memory.arena = placement.bytes;
    for (const TensorType& type : program_.output_types) {
      program_.memory.outputs += AlignBytes(type.bytes());
    }
    for (size_t slot = 0; slot < program_.slot_types.size(); ++slot) {
      if (!program_.slot_created[slot]) continue;
      program_.memory.created_slots += AlignBytes(program_.slot_types[slot].bytes());
    }
  }

  const ProgramTemplate& source_;
  absl::Span<const int64_t> sizes_;
  absl::Span<const TensorType> types_;
  DeviceShape device_;
  Program program_;
  std::vector<StorageState> storages_;
  std::vector<StorageId> buffer_roots_;              // per buffer but scratch
  std::vector<const TemplateInstruction*> origins_;  // per instruction
  std::vector<Lifetime> scratch_;                    // per buffer of scratch
};

bool Holds(const Assumption& assumption, absl::Span<const int64_t> sizes,
           absl::Span<const TensorType> types) {
  if (assumption.other != kNone) return sizes[assumption.extent] == sizes[assumption.other];
  return sizes[assumption.extent] == types[assumption.value].shape[assumption.dim];
}

}  // namespace

absl::StatusOr<Program> InstantiateProgram(const ProgramTemplate& program,
                                           absl::Span<const int64_t> sizes,
                                           absl::Span<const TensorType> types,
                                           const DeviceShape& device) {
  for (const Assumption& assumption : program.assumptions) {
    if (!Holds(assumption, sizes, types)) {
      return InstantiateProgram(*program.cautious, sizes, types, device);
    }
  }
  return Instantiation(program, sizes, types, device).Run();
}

}  // namespace moai
