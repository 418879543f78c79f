#include "wire/shared_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "wire/random_id.h"

namespace moai::wire {

// First page of a segment. Counters only grow, and wrap.
struct SharedSegment::Ring {
  alignas(64) std::atomic<uint32_t> produced;  // slots filled
  alignas(64) std::atomic<uint32_t> consumed;  // slots emptied
  alignas(64) char secret[kRandomIdBytes];
};

namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kSegmentBytes = kHeaderBytes + SharedSegment::kSlots * SharedSegment::kSlotBytes;
constexpr int kSpins = 100;
constexpr std::chrono::seconds kPatience(10);
// How soon a waiting side notices `stop`.
constexpr timespec kNap{0, 20'000'000};

absl::Status Errno(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("shared memory: ", what, ": ", strerror(errno)));
}

void Wake(std::atomic<uint32_t>& counter) {
  syscall(SYS_futex, &counter, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Waits until `counter` is no longer `seen`.
absl::Status WaitForChange(std::atomic<uint32_t>& counter, uint32_t seen,
                           const std::atomic<bool>& stop) {
  for (int i = 0; i < kSpins; ++i) {
    if (counter.load(std::memory_order_acquire) != seen) return absl::OkStatus();
    sched_yield();
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (counter.load(std::memory_order_acquire) == seen) {
    if (stop.load()) return absl::CancelledError("shared memory: the stream has ended");
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError("shared memory: the peer does nothing");
    }
    syscall(SYS_futex, &counter, FUTEX_WAIT, seen, &kNap, nullptr, 0);
  }
  return absl::OkStatus();
}

}  // namespace

const std::string& HostId() {
  static const std::string* const id = [] {
    std::string boot;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
    struct stat space {};
    stat("/proc/self/ns/pid", &space);
    return new std::string(absl::StrCat(boot, "/", space.st_ino));
  }();
  return *id;
}

SharedSegment::SharedSegment(int descriptor, void* memory, std::string name)
    : descriptor_(descriptor),
      ring_(static_cast<Ring*>(memory)),
      slots_(static_cast<std::byte*>(memory) + kHeaderBytes),
      name_(std::move(name)) {}

SharedSegment::~SharedSegment() {
  munmap(ring_, kSegmentBytes);
  close(descriptor_);
}

absl::StatusOr<std::unique_ptr<SharedSegment>> SharedSegment::Create() {
  const int fd = memfd_create("moai-transfer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Errno("memfd_create");
  if (ftruncate(fd, kSegmentBytes) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const absl::Status status = Errno("sizing");
    close(fd);
    return status;
  }
  void* const memory =
      mmap(nullptr, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) {
    const absl::Status status = Errno("mmap");
    close(fd);
    return status;
  }
  new (memory) Ring{};
  return std::unique_ptr<SharedSegment>(
      new SharedSegment(fd, memory, absl::StrCat(getpid(), "/", fd)));
}

absl::StatusOr<std::unique_ptr<SharedSegment>> SharedSegment::Open(absl::string_view name,
                                                                   absl::string_view secret) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  uint32_t process = 0;
  uint32_t number = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &process) ||
      !absl::SimpleAtoi(parts[1], &number) || secret.size() != kRandomIdBytes) {
    return absl::InvalidArgumentError(
        "Malformed transfer header, field shared_memory: expected process/descriptor");
  }
  // The name is a peer's word: look at what is there before opening it, since opening can have
  // effects, or block.
  const std::string path = absl::StrCat("/proc/", process, "/fd/", number);
  const int handle = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (handle < 0) return Errno("looking at the segment");
  struct stat status {};
  const bool plain = fstat(handle, &status) == 0 && S_ISREG(status.st_mode) &&
                     status.st_size == static_cast<off_t>(kSegmentBytes);
  const int fd =
      plain ? open(absl::StrCat("/proc/self/fd/", handle).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)
            : -1;
  close(handle);
  if (fd < 0) return absl::UnavailableError("shared memory: not a segment that can be opened");
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    close(fd);
    return absl::InvalidArgumentError("shared memory: the segment is not sealed");
  }
  void* const memory =
      mmap(nullptr, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) {
    const absl::Status failed = Errno("mmap");
    close(fd);
    return failed;
  }
  std::unique_ptr<SharedSegment> segment(new SharedSegment(fd, memory, std::string(name)));
  if (!EqualSecrets({segment->ring_->secret, kRandomIdBytes}, secret)) {
    return absl::PermissionDeniedError("shared memory: not the segment of this transfer");
  }
  return segment;
}

void SharedSegment::Prepare(absl::string_view secret) {
  ring_->produced.store(0);
  ring_->consumed.store(0);
  std::memcpy(ring_->secret, secret.data(), kRandomIdBytes);
}

absl::Status SharedSegment::Send(absl::Span<const std::byte> bytes, const std::atomic<bool>& stop) {
  uint32_t produced = 0;
  while (true) {
    const uint32_t consumed = ring_->consumed.load(std::memory_order_acquire);
    const uint32_t filled = produced - consumed;
    if (filled > kSlots) return absl::InternalError("shared memory: impossible counters");
    if (bytes.empty() && filled == 0) return absl::OkStatus();
    if (bytes.empty() || filled == kSlots) {
      MOAI_RETURN_IF_ERROR(WaitForChange(ring_->consumed, consumed, stop));
      continue;
    }
    const size_t size = std::min(bytes.size(), kSlotBytes);
    std::memcpy(slots_ + (produced % kSlots) * kSlotBytes, bytes.data(), size);
    bytes.remove_prefix(size);
    ring_->produced.store(++produced, std::memory_order_release);
    Wake(ring_->produced);
  }
}

absl::Status SharedSegment::Receive(absl::Span<std::byte> bytes, const std::atomic<bool>& stop,
                                    const std::function<void(size_t)>& taken) {
  uint32_t consumed = 0;
  size_t done = 0;
  while (done < bytes.size()) {
    const uint32_t produced = ring_->produced.load(std::memory_order_acquire);
    const uint32_t filled = produced - consumed;
    if (filled > kSlots) return absl::InternalError("shared memory: impossible counters");
    if (filled == 0) {
      MOAI_RETURN_IF_ERROR(WaitForChange(ring_->produced, produced, stop));
      continue;
    }
    const size_t size = std::min(bytes.size() - done, kSlotBytes);
    std::memcpy(bytes.data() + done, slots_ + (consumed % kSlots) * kSlotBytes, size);
    done += size;
    if (taken) taken(done);
    ring_->consumed.store(++consumed, std::memory_order_release);
    Wake(ring_->consumed);
  }
  return absl::OkStatus();
}

}  // namespace moai::wire
