#include "absl/strings/str_cat.h"
#include "program/passes.h"

namespace moai {
namespace {

// How many steps all searches for contradictions may take together; past it, slots are written
// through copies, which is always right. Real programs need a few per slot.
constexpr int64_t kSearchBudget = 50'000'000;

class Placer {
 public:
  explicit Placer(Lowering& lowering)
      : lowering_(lowering),
        graph_(*lowering.graph),
        slot_inputs_(graph_.slot_count, kNone),
        claimed_(lowering.storages.size(), false) {}

  absl::Status Run() {
    for (const Input& input : graph_.inputs) {
      if (input.kind == InputKind::kSlot) slot_inputs_[input.index] = input.value;
    }
    uint32_t value_outputs = 0;
    for (const Output& output : graph_.outputs) {
      if (output.kind == OutputKind::kValue) {
        Storage& storage = lowering_.storages[Claim(output.value)];
        storage.kind = BufferKind::kOutput;
        storage.index = value_outputs++;
      } else if (absl::Status status = PlaceSlot(output); !status.ok()) {
        return status;
      }
    }
    ResolveWrites();
    return absl::OkStatus();
  }

 private:
  struct Write {
    uint32_t slot;
    StorageId storage;
  };

  absl::Status PlaceSlot(const Output& output) {
    const ValueId before = slot_inputs_[output.index];
    if (before == kNone) {
      Storage& storage = lowering_.storages[Claim(output.value)];
      storage.kind = BufferKind::kSlot;
      storage.index = output.index;
      return absl::OkStatus();
    }
    if (graph_.values[before] != graph_.values[output.value]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "slot binding ", output.index, " is ", Name(graph_.values[before].dtype), " of rank ",
          graph_.values[before].rank, ", but the output that replaces it is ",
          Name(graph_.values[output.value].dtype), " of rank ", graph_.values[output.value].rank));
    }
    if (output.value == before) return absl::OkStatus();  // unchanged
    writes_.push_back({output.index, Claim(output.value)});
    return absl::OkStatus();
  }

  // A storage that holds the value, that an operation fills, and that no other output has.
  StorageId Claim(ValueId value) {
    const Reference& reference = lowering_.references[value];
    StorageId storage = reference.storage;
    if (!AlwaysDense(graph_, reference) || lowering_.storages[storage].producer == kNone ||
        claimed_[storage]) {
      storage = AddCopy(reference, {.value = value});
    }
    claimed_[storage] = true;
    return storage;
  }

  StorageId AddCopy(const Reference& from, Storage to) {
    const OperationId id = static_cast<OperationId>(lowering_.operations.size());
    Operation copy;
    const OperationId producer = lowering_.storages[from.storage].producer;
    copy.node = !from.views.empty() ? from.views.back()
                : producer != kNone ? lowering_.operations[producer].node
                                    : 0;
    copy.inputs.push_back(from);
    to.producer = id;
    copy.outputs.push_back(static_cast<StorageId>(lowering_.storages.size()));
    lowering_.storages.push_back(to);
    claimed_.push_back(false);
    lowering_.operations.push_back(std::move(copy));
    return lowering_.operations.back().outputs[0];
  }

  // Decides for each slot that existed before whether its producer may write it in place.
  void ResolveWrites() {
    if (writes_.empty()) return;
    BuildEdges();
    MarkBeforeCommit();
    visited_.assign(lowering_.operations.size(), 0);
    for (const Write& write : writes_) {
      const OperationId producer = lowering_.storages[write.storage].producer;
      const std::vector<OperationId>& readers =
          readers_[lowering_.storage_of[slot_inputs_[write.slot]]];
      if (!before_commit_[producer] && ReadsOldValueInPlace(producer, write.slot) &&
          !ReachesAny(producer, readers)) {
        Storage& storage = lowering_.storages[write.storage];
        storage.kind = BufferKind::kSlot;
        storage.index = write.slot;
        storage.updates_slot = true;
        Commit(producer, readers);
      } else {
        deferred_.push_back(write);
      }
    }
    for (const Write& write : deferred_) {
      const std::vector<OperationId> readers =
          readers_[lowering_.storage_of[slot_inputs_[write.slot]]];
      const ValueId value = lowering_.storages[write.storage].value;
      // The copy has the slot's own shape; the storage may be its reshape.
      const StorageId copy = AddCopy(
          {.storage = write.storage, .value = value},
          {.kind = BufferKind::kSlot, .index = write.slot, .updates_slot = true, .value = value});
      Commit(lowering_.storages[copy].producer, readers);
    }
  }

  // Orders a write after the commit point and after those who read the old value.
  void Commit(OperationId writer, const std::vector<OperationId>& readers) {
    lowering_.committed.push_back(writer);
    for (OperationId reader : readers) {
      if (reader == writer) continue;
      lowering_.order_edges.push_back({reader, writer});
      if (reader < successors_.size()) successors_[reader].push_back(writer);
      if (reader > writer) backward_edges_ = true;
    }
  }

  void BuildEdges() {
    readers_.resize(lowering_.storages.size());
    successors_.resize(lowering_.operations.size());
    for (OperationId id = 0; id < lowering_.operations.size(); ++id) {
      for (const Reference& input : lowering_.operations[id].inputs) {
        std::vector<OperationId>& readers = readers_[input.storage];
        if (!readers.empty() && readers.back() == id) continue;
        readers.push_back(id);
        const OperationId producer = lowering_.storages[input.storage].producer;
        if (producer != kNone) successors_[producer].push_back(id);
      }
    }
    for (const auto& [first, second] : lowering_.order_edges) {
      successors_[first].push_back(second);
    }
  }

  void MarkBeforeCommit() {
    before_commit_.assign(lowering_.operations.size(), false);
    // Nothing but the chain of collectives is ordered yet.
    std::vector<OperationId> previous(lowering_.operations.size(), kNone);
    for (const auto& [first, second] : lowering_.order_edges) previous[second] = first;
    for (OperationId id = static_cast<OperationId>(lowering_.operations.size()); id-- > 0;) {
      const Operation& operation = lowering_.operations[id];
      if (PrecedesCommit(operation)) before_commit_[id] = true;
      if (!before_commit_[id]) continue;
      if (previous[id] != kNone) before_commit_[previous[id]] = true;
      for (const Reference& input : operation.inputs) {
        const OperationId producer = lowering_.storages[input.storage].producer;
        if (producer != kNone) before_commit_[producer] = true;
      }
    }
  }

  // Where the writer itself reads the old value, it must be a pointwise kernel that reads each
  // element before it writes it: the whole slot, element for element.
  bool ReadsOldValueInPlace(OperationId writer, uint32_t slot) const {
    const Operation& operation = lowering_.operations[writer];
    const StorageId old = lowering_.storage_of[slot_inputs_[slot]];
    const uint32_t space = lowering_.shape_class[IterationValue(lowering_, operation)];
    for (const Reference& input : operation.inputs) {
      if (input.storage != old) continue;
      if (!IsTileOp(operation.op) || IsTileReduction(operation.op) || !input.views.empty() ||
          lowering_.shape_class[input.value] != space) {
        return false;
      }
    }
    return true;
  }

  // True where an operation of `targets` other than `from` comes after `from`, or may.
  bool ReachesAny(OperationId from, const std::vector<OperationId>& targets) {
    bool later = false;
    for (OperationId target : targets) later |= target > from;
    if (!later && !backward_edges_) return false;
    ++epoch_;
    std::vector<OperationId> stack = {from};
    visited_[from] = epoch_;
    while (!stack.empty()) {
      const OperationId id = stack.back();
      stack.pop_back();
      for (OperationId next : successors_[id]) {
        if (--budget_ < 0) return true;
        if (visited_[next] == epoch_) continue;
        visited_[next] = epoch_;
        stack.push_back(next);
      }
    }
    for (OperationId target : targets) {
      if (target != from && visited_[target] == epoch_) return true;
    }
    return false;
  }

  Lowering& lowering_;
  const Graph& graph_;
  std::vector<ValueId> slot_inputs_;  // per slot binding: the value that reads it
  std::vector<bool> claimed_;         // per storage: it is an output's
  std::vector<Write> writes_;
  std::vector<Write> deferred_;
  std::vector<std::vector<OperationId>> readers_;     // per storage
  std::vector<std::vector<OperationId>> successors_;  // per operation
  std::vector<bool> before_commit_;                   // per operation: a failure may depend on it
  std::vector<uint32_t> visited_;
  uint32_t epoch_ = 0;
  int64_t budget_ = kSearchBudget;
  bool backward_edges_ = false;
};

}  // namespace

absl::Status PlaceOutputs(Lowering& lowering) { return Placer(lowering).Run(); }

}  // namespace moai
