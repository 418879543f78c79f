// The structures that a session's executors hold, by content: parts of plans share them, whichever
// graph and sizes they are of.
#ifndef MOAI_SERVER_STRUCTURE_TABLE_H_
#define MOAI_SERVER_STRUCTURE_TABLE_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "graph/fingerprint.h"

namespace moai {

// Not synchronised.
class StructureTable {
 public:
  struct Use {
    uint32_t structure = 0;  // its name in commands
    bool first = false;      // the executors have to be told
  };

  // Takes a use of a structure.
  Use Take(const Fingerprint& fingerprint) {
    auto [entry, inserted] = entries_.try_emplace(fingerprint);
    if (inserted) {
      entry->second.structure = next_++;
      fingerprints_[entry->second.structure] = fingerprint;
    }
    ++entry->second.uses;
    return {entry->second.structure, inserted};
  }

  // Gives a use back; true where it was the last, and the executors are to forget the structure.
  bool Return(uint32_t structure) {
    const auto fingerprint = fingerprints_.find(structure);
    if (fingerprint == fingerprints_.end()) return false;
    const auto entry = entries_.find(fingerprint->second);
    if (--entry->second.uses > 0) return false;
    entries_.erase(entry);
    fingerprints_.erase(fingerprint);
    return true;
  }

 private:
  struct Entry {
    uint32_t structure = 0;
    uint64_t uses = 0;
  };
  absl::flat_hash_map<Fingerprint, Entry> entries_;
  absl::flat_hash_map<uint32_t, Fingerprint> fingerprints_;
  uint32_t next_ = 1;
};

}  // namespace moai

#endif  // MOAI_SERVER_STRUCTURE_TABLE_H_
