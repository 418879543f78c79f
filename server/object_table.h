// What the server knows of a session's values and slots: their types, how they lie on the session's
// devices, and how many bytes of each they take once every message so far has been executed. So
// decisions about memory depend on the order of the client's messages only, not on how far the
// executors have come.
//
// Not synchronised.
#ifndef MOAI_SERVER_OBJECT_TABLE_H_
#define MOAI_SERVER_OBJECT_TABLE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "server/layout_table.h"

namespace moai {

struct SessionObject {
  TensorType type;  // of the whole, as the client sees it
  LayoutId layout = kOnFirstDevice;
  int64_t bytes = 0;      // of the first device; 0 for a poisoned one
  bool is_slot = false;   // has been bound as a slot
  absl::Status poison;    // a step that the server refused would have made it
  bool deferred = false;  // no device has it yet (session_region.cc)
};

class ObjectTable {
 public:
  // No session names more ids at once.
  static constexpr size_t kMaxObjects = size_t{1} << 21;

  // `layouts` outlives this; it says how many devices there are.
  explicit ObjectTable(const LayoutTable* layouts) : layouts_(layouts), live_(layouts->devices()) {}

  // Null where the id names nothing. Valid until the table changes.
  const SessionObject* Find(uint64_t id) const;
  bool Contains(uint64_t id) const { return objects_.contains(id); }

  // Makes an object, or replaces the one of that id.
  void Put(uint64_t id, const TensorType& type, LayoutId layout = kOnFirstDevice);
  void PutPoisoned(uint64_t id, const absl::Status& why);
  // Makes one that takes nothing until it is Put.
  void PutDeferred(uint64_t id, const TensorType& type);
  // Counts bytes that no object has: `times` over those of each device.
  void CountOther(absl::Span<const int64_t> by_device, int64_t times);
  void MarkSlot(uint64_t id);
  void Erase(uint64_t id);
  // Makes what `from` is the content of `to`, as the command Rename does.
  void Rename(uint64_t from, uint64_t to);
  // Every object in [first, first + count); count may be anything.
  void EraseRange(uint64_t first, uint64_t count);

  int64_t live_bytes(size_t device) const { return live_[device]; }
  // Of those, what an object takes; 0 where there is none.
  int64_t BytesOn(size_t device, uint64_t id) const;
  size_t size() const { return objects_.size(); }
  bool HasRoomFor(size_t count) const { return count <= kMaxObjects - objects_.size(); }
  // Changes whenever an object that is a slot goes, or changes its type or layout: what was checked
  // of slots before holds as long as this stays.
  uint64_t slots_version() const { return slots_version_; }

 private:
  // Adds what the object takes, `times` over, to the devices.
  void Count(const SessionObject& object, int64_t times);
  void Forget(const SessionObject& object);

  const LayoutTable* const layouts_;
  absl::flat_hash_map<uint64_t, SessionObject> objects_;
  std::vector<int64_t> live_;  // by device
  uint64_t slots_version_ = 1;
};

}  // namespace moai

#endif  // MOAI_SERVER_OBJECT_TABLE_H_
