#include "server/object_table.h"

#include "program/allocation.h"

namespace moai {

const SessionObject* ObjectTable::Find(uint64_t id) const {
  auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : &found->second;
}

void ObjectTable::Forget(const SessionObject& object) {
  live_bytes_ -= object.bytes;
  if (object.is_slot) ++slots_version_;
}

void ObjectTable::Put(uint64_t id, const TensorType& type) {
  SessionObject& object = objects_[id];
  if (object.bytes > 0 && object.type == type) return;
  const bool is_slot = object.is_slot;
  Forget(object);
  object = {type, AllocatedBytes(type.bytes()), is_slot, absl::OkStatus()};
  live_bytes_ += object.bytes;
}

void ObjectTable::PutPoisoned(uint64_t id, const absl::Status& why) {
  SessionObject& object = objects_[id];
  Forget(object);
  object = {{}, 0, object.is_slot, why};
}

void ObjectTable::MarkSlot(uint64_t id) {
  if (auto found = objects_.find(id); found != objects_.end()) found->second.is_slot = true;
}

void ObjectTable::Erase(uint64_t id) {
  auto found = objects_.find(id);
  if (found == objects_.end()) return;
  Forget(found->second);
  objects_.erase(found);
}

void ObjectTable::EraseRange(uint64_t first, uint64_t count) {
  if (count <= objects_.size()) {
    for (uint64_t i = 0; i < count; ++i) Erase(first + i);
    return;
  }
  std::vector<uint64_t> ids;
  for (const auto& [id, object] : objects_) {
    if (id - first < count) ids.push_back(id);
  }
  for (uint64_t id : ids) Erase(id);
}

}  // namespace moai
