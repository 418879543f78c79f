#include "program/early_sums.h"

namespace moai {
namespace {

class EarlySums {
 public:
  explicit EarlySums(const Lowering& lowering)
      : lowering_(lowering),
        group_of_(GroupOfOperations(lowering)),
        outside_(lowering.storages.size(), false),
        early_(lowering.groups.size(), Known::kNothing) {
    for (OperationId id = 0; id < lowering.operations.size(); ++id) {
      for (const Reference& input : lowering.operations[id].inputs) {
        const OperationId producer = lowering.storages[input.storage].producer;
        if (producer != kNone && group_of_[producer] != group_of_[id]) {
          outside_[input.storage] = true;
        }
      }
    }
  }

  std::vector<bool> Run() {
    std::vector<bool> lead(lowering_.groups.size(), false);
    for (uint32_t group = 0; group < lowering_.groups.size(); ++group) {
      const Operation& first = lowering_.operations[lowering_.groups[group].front()];
      if (first.op == Op::kAllReduce && MakesEarly(group)) Mark(group, lead);
    }
    return lead;
  }

 private:
  enum class Known : uint8_t { kNothing, kTrue, kFalse };

  template <typename Visit>
  void ForEachProducer(uint32_t group, Visit visit) const {
    for (OperationId id : lowering_.groups[group]) {
      for (const Reference& input : lowering_.operations[id].inputs) {
        const OperationId producer = lowering_.storages[input.storage].producer;
        if (producer != kNone && group_of_[producer] != group) visit(group_of_[producer]);
      }
    }
  }

  bool IsPartOfFeed(uint32_t group) const {
    const Operation& copy = lowering_.operations[lowering_.groups[group].front()];
    return IsCopy(lowering_, lowering_.groups[group]) &&
           lowering_.storages[copy.inputs[0].storage].kind == BufferKind::kFeed;
  }

  bool MakesOnlyNumbers(uint32_t group) const {
    for (OperationId id : lowering_.groups[group]) {
      for (StorageId output : lowering_.operations[id].outputs) {
        const Storage& storage = lowering_.storages[output];
        const bool kept = outside_[output] || storage.kind != BufferKind::kArena;
        if (kept && lowering_.graph->values[storage.value].rank > 0) return false;
      }
    }
    return true;
  }

  // Whether the group, and all that leads to it, makes nothing but numbers and parts of feeds.
  bool MakesEarly(uint32_t group) {
    if (early_[group] != Known::kNothing) return early_[group] == Known::kTrue;
    bool early = IsPartOfFeed(group) || MakesOnlyNumbers(group);
    if (early) {
      ForEachProducer(group, [&](uint32_t other) { early = early && MakesEarly(other); });
    }
    early_[group] = early ? Known::kTrue : Known::kFalse;
    return early;
  }

  void Mark(uint32_t group, std::vector<bool>& lead) const {
    if (lead[group]) return;
    lead[group] = true;
    ForEachProducer(group, [&](uint32_t other) { Mark(other, lead); });
  }

  const Lowering& lowering_;
  const std::vector<uint32_t> group_of_;  // by operation
  std::vector<bool> outside_;             // by storage: another group reads it
  std::vector<Known> early_;              // by group
};

}  // namespace

std::vector<bool> LeadToEarlySums(const Lowering& lowering) { return EarlySums(lowering).Run(); }

}  // namespace moai
