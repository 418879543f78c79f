#include "server/object_table.h"

#include "program/allocation.h"

namespace moai {

namespace {

int64_t LocalBytes(const SessionObject& object, const LayoutTable& layouts, size_t device) {
  const Shape local = LocalShape(object.type.shape, layouts[object.layout], int64_t(device));
  return AllocatedBytes(TensorType{object.type.dtype, local}.bytes());
}

}  // namespace

const SessionObject* ObjectTable::Find(uint64_t id) const {
  auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : &found->second;
}

int64_t ObjectTable::BytesOn(size_t device, uint64_t id) const {
  const SessionObject* object = Find(id);
  if (object == nullptr || object->bytes == 0 || device == 0) {
    return object == nullptr ? 0 : object->bytes;
  }
  return LocalBytes(*object, *layouts_, device);
}

void ObjectTable::Count(const SessionObject& object, int64_t times) {
  live_[0] += times * object.bytes;
  if (object.bytes == 0) return;
  for (size_t device = 1; device < live_.size(); ++device) {
    live_[device] += times * LocalBytes(object, *layouts_, device);
  }
}

void ObjectTable::Forget(const SessionObject& object) {
  Count(object, -1);
  if (object.is_slot) ++slots_version_;
}

void ObjectTable::Put(uint64_t id, const TensorType& type, LayoutId layout) {
  SessionObject& object = objects_[id];
  if (object.bytes > 0 && object.type == type && object.layout == layout) return;
  const bool is_slot = object.is_slot;
  Forget(object);
  object = {.type = type, .layout = layout, .is_slot = is_slot};
  object.bytes = LocalBytes(object, *layouts_, 0);
  Count(object, 1);
}

void ObjectTable::Rename(uint64_t from, uint64_t to) {
  const auto found = objects_.find(from);
  if (found == objects_.end()) return;
  const TensorType type = found->second.type;
  const LayoutId layout = found->second.layout;
  Erase(from);
  Put(to, type, layout);
}

void ObjectTable::PutPoisoned(uint64_t id, const absl::Status& why) {
  SessionObject& object = objects_[id];
  Forget(object);
  object = {.is_slot = object.is_slot, .poison = why};
}

void ObjectTable::PutDeferred(uint64_t id, const TensorType& type) {
  SessionObject& object = objects_[id];
  Forget(object);
  object = {.type = type, .is_slot = object.is_slot, .deferred = true};
}

void ObjectTable::CountOther(absl::Span<const int64_t> by_device, int64_t times) {
  for (size_t device = 0; device < live_.size(); ++device)
    live_[device] += times * by_device[device];
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
