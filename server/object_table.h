// What the server knows of a session's values and slots: their types, and how many bytes of the
// device they take once every message so far has been executed. So decisions about memory depend on
// the order of the client's messages only, not on how far the executor has come.
//
// Not synchronised.
#ifndef MOAI_SERVER_OBJECT_TABLE_H_
#define MOAI_SERVER_OBJECT_TABLE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "graph/graph.h"

namespace moai {

struct SessionObject {
  TensorType type;
  int64_t bytes = 0;     // of the device; 0 for a poisoned one
  bool is_slot = false;  // has been bound as a slot
  absl::Status poison;   // a step that the server refused would have made it
};

class ObjectTable {
 public:
  // No session names more ids at once.
  static constexpr size_t kMaxObjects = size_t{1} << 21;

  // Null where the id names nothing. Valid until the table changes.
  const SessionObject* Find(uint64_t id) const;
  bool Contains(uint64_t id) const { return objects_.contains(id); }

  // Makes an object, or replaces the one of that id.
  void Put(uint64_t id, const TensorType& type);
  void PutPoisoned(uint64_t id, const absl::Status& why);
  void MarkSlot(uint64_t id);
  void Erase(uint64_t id);
  // Every object in [first, first + count); count may be anything.
  void EraseRange(uint64_t first, uint64_t count);

  int64_t live_bytes() const { return live_bytes_; }
  size_t size() const { return objects_.size(); }
  bool HasRoomFor(size_t count) const { return count <= kMaxObjects - objects_.size(); }
  // Changes whenever an object that is a slot goes, or changes its type: what was checked of slots
  // before holds as long as this stays.
  uint64_t slots_version() const { return slots_version_; }

 private:
  void Forget(const SessionObject& object);

  absl::flat_hash_map<uint64_t, SessionObject> objects_;
  int64_t live_bytes_ = 0;
  uint64_t slots_version_ = 1;
};

}  // namespace moai

#endif  // MOAI_SERVER_OBJECT_TABLE_H_
