// The layouts that occur in a session, by small numbers, so that whether an object lies as a step
// wants it is one comparison.
#ifndef MOAI_SERVER_LAYOUT_TABLE_H_
#define MOAI_SERVER_LAYOUT_TABLE_H_

#include <cstdint>
#include <deque>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "scheduler/placement.h"

namespace moai {

using LayoutId = uint32_t;

// Where a client's uploads are put.
inline constexpr LayoutId kOnFirstDevice = 0;
// The whole on every device. For a session of one device the same as kOnFirstDevice.
LayoutId constexpr ReplicatedLayout(size_t devices) { return devices > 1 ? 1 : 0; }

// Not synchronised.
class LayoutTable {
 public:
  // No session has more: they differ by what is split and by its size.
  static constexpr size_t kMaxLayouts = size_t{1} << 16;

  explicit LayoutTable(size_t devices);

  // Layouts that put the same elements on the same devices may have one number; equal ones have.
  // ResourceExhausted at the limit.
  absl::StatusOr<LayoutId> Intern(const Layout& layout);
  const Layout& operator[](LayoutId id) const { return layouts_[id]; }
  size_t devices() const { return devices_; }

 private:
  const size_t devices_;
  std::deque<Layout> layouts_;
  absl::flat_hash_map<std::string, LayoutId> ids_;  // by all that tells layouts apart
};

}  // namespace moai

#endif  // MOAI_SERVER_LAYOUT_TABLE_H_
