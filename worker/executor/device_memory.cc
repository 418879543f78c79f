#include "worker/executor/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "program/allocation.h"

namespace moai {
namespace {

constexpr int64_t kSlabBytes = 64 << 10;
// Regions from this size on ask for huge pages: fewer faults, fewer translations. A smaller region
// would round its resident size up noticeably.
constexpr int64_t kHugePagesFrom = 8 << 20;

std::byte* MapPages(int64_t bytes) {
  void* address =
      mmap(nullptr, size_t(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  if (bytes >= kHugePagesFrom) madvise(address, size_t(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(address);
}

}  // namespace

DeviceMemory::~DeviceMemory() {
  MutexLock lock(mutex_);
  ShrinkKept(0);
  for (std::byte* slab : slabs_) munmap(slab, kSlabBytes);
}

int DeviceMemory::SmallClass(int64_t bytes) {
  return std::countr_zero(uint64_t(bytes)) - std::countr_zero(uint64_t(kSmallestAllocation));
}

std::byte* DeviceMemory::TakeSmall(int64_t bytes) {
  std::vector<std::byte*>& free = small_[SmallClass(bytes)];
  if (free.empty()) {
    std::byte* slab = MapPages(kSlabBytes);
    if (slab == nullptr) return nullptr;
    slabs_.push_back(slab);
    // Last first, so that addresses are given out in order and untouched pages stay untouched.
    for (int64_t offset = kSlabBytes - bytes; offset >= 0; offset -= bytes) {
      free.push_back(slab + offset);
    }
  }
  std::byte* address = free.back();
  free.pop_back();
  return address;
}

std::byte* DeviceMemory::TakePages(int64_t bytes) {
  if (auto kept = kept_pages_.find(bytes); kept != kept_pages_.end()) {
    std::byte* address = kept->second.back();
    kept->second.pop_back();
    if (kept->second.empty()) kept_pages_.erase(kept);
    kept_ -= bytes;
    return address;
  }
  return MapPages(bytes);
}

void DeviceMemory::ShrinkKept(int64_t bytes) {
  while (kept_ > bytes) {
    auto kept = kept_pages_.begin();
    munmap(kept->second.back(), size_t(kept->first));
    kept_ -= kept->first;
    kept->second.pop_back();
    if (kept->second.empty()) kept_pages_.erase(kept);
  }
}

absl::StatusOr<std::byte*> DeviceMemory::Allocate(int64_t bytes) {
  const int64_t allocated = AllocatedBytes(bytes);
  MutexLock lock(mutex_);
  if (allocated > limit_ - in_use_) {
    return absl::ResourceExhaustedError(absl::StrCat("the device has ", limit_ - in_use_, " of ",
                                                     limit_, " bytes free; ", allocated,
                                                     " are needed"));
  }
  std::byte* address =
      allocated <= kLargestSmallAllocation ? TakeSmall(allocated) : TakePages(allocated);
  if (address == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the machine has no memory for ", allocated, " bytes: ", strerror(errno)));
  }
  in_use_ += allocated;
  peak_ = std::max(peak_, in_use_);
  ShrinkKept(peak_ - in_use_);  // before anybody touches the new region
  return address;
}

void DeviceMemory::Free(std::byte* address, int64_t bytes) {
  const int64_t allocated = AllocatedBytes(bytes);
  MutexLock lock(mutex_);
  in_use_ -= allocated;
  if (allocated <= kLargestSmallAllocation) {
    small_[SmallClass(allocated)].push_back(address);
  } else {
    kept_pages_[allocated].push_back(address);
    kept_ += allocated;
  }
}

int64_t DeviceMemory::in_use() const {
  MutexLock lock(mutex_);
  return in_use_;
}

int64_t DeviceMemory::kept() const {
  MutexLock lock(mutex_);
  return kept_;
}

int64_t DeviceMemory::peak() const {
  MutexLock lock(mutex_);
  return peak_;
}

}  // namespace moai
