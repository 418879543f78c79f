#include "wire/host_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace moai::wire {
namespace {

absl::Status Errno(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("shared memory: ", what, ": ", strerror(errno)));
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

HostMemory::~HostMemory() {
  if (data_ != nullptr) munmap(data_, size_);
  if (descriptor_ >= 0) close(descriptor_);
}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(name_, other.name_);
  return *this;
}

absl::StatusOr<HostMemory> HostMemory::Map(int descriptor, size_t bytes, Pages pages,
                                           std::string name) {
  HostMemory memory;
  memory.descriptor_ = descriptor;
  const int flags = MAP_SHARED | (pages == Pages::kNow ? MAP_POPULATE : 0);
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (data == MAP_FAILED) return Errno("mmap");
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = bytes;
  memory.name_ = std::move(name);
  return memory;
}

absl::StatusOr<HostMemory> HostMemory::Create(const char* label, size_t bytes, Pages pages) {
  const int fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Errno("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const absl::Status status = Errno("sizing");
    close(fd);
    return status;
  }
  return Map(fd, bytes, pages, absl::StrCat(getpid(), "/", fd));
}

absl::StatusOr<HostMemory> HostMemory::Open(absl::string_view name, size_t bytes, Pages pages) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  uint32_t process = 0;
  uint32_t number = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &process) ||
      !absl::SimpleAtoi(parts[1], &number)) {
    return absl::InvalidArgumentError(
        "a segment of shared memory is named by process/descriptor, not so");
  }
  // Look at what is there before opening it, since opening can have effects, or block.
  const std::string path = absl::StrCat("/proc/", process, "/fd/", number);
  const int handle = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (handle < 0) return Errno("looking at the segment");
  struct stat status {};
  const bool plain = fstat(handle, &status) == 0 && S_ISREG(status.st_mode) &&
                     status.st_size == static_cast<off_t>(bytes);
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
  return Map(fd, bytes, pages, std::string(name));
}

void WaitWhile(std::atomic<uint32_t>& word, uint32_t seen, std::chrono::nanoseconds most) {
  const int64_t nanoseconds = std::max<int64_t>(0, most.count());
  const timespec time = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &time, nullptr, 0);
}

void WakeWaiters(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace moai::wire
