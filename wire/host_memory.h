// Memory that processes of one host share, and a way to wait in it.
//
// A segment is a sealed memfd: neither side can shrink it under the other, which would be a crash.
// It is named by process and descriptor, and opened through /proc, which the kernel allows to
// processes of the same user (and to root). Who opens one looks for a secret inside: that is the
// user's to put there and to compare.
#ifndef MOAI_WIRE_HOST_MEMORY_H_
#define MOAI_WIRE_HOST_MEMORY_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai::wire {

// Names this host and its process namespace: peers with the same name can open each other's
// segments.
const std::string& HostId();

class HostMemory {
 public:
  enum class Pages { kNow, kWhenTouched };

  // Of zeros. `label` is for people who look at /proc.
  static absl::StatusOr<HostMemory> Create(const char* label, size_t bytes, Pages pages);
  // What a peer created, with as many bytes. The name is a peer's word: whatever it names, opening
  // it has no effects. InvalidArgument for a name that cannot be or a segment that is not sealed,
  // Unavailable for one that cannot be opened.
  static absl::StatusOr<HostMemory> Open(absl::string_view name, size_t bytes, Pages pages);

  HostMemory() = default;
  ~HostMemory();
  HostMemory(HostMemory&& other) noexcept { *this = std::move(other); }
  HostMemory& operator=(HostMemory&& other) noexcept;

  std::byte* data() const { return data_; }  // on a page's border
  size_t size() const { return size_; }
  // For Open: "process/descriptor".
  const std::string& name() const { return name_; }

 private:
  static absl::StatusOr<HostMemory> Map(int descriptor, size_t bytes, Pages pages,
                                        std::string name);

  int descriptor_ = -1;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string name_;
};

// Blocks until WakeWaiters, for so long at most, or not at all where `word` is not `seen`. May
// return for no reason.
void WaitWhile(std::atomic<uint32_t>& word, uint32_t seen, std::chrono::nanoseconds most);
// Wakes all who wait in this or another process.
void WakeWaiters(std::atomic<uint32_t>& word);

}  // namespace moai::wire

#endif  // MOAI_WIRE_HOST_MEMORY_H_
