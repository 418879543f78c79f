#include "server/use_meter.h"

#include <algorithm>

namespace moai {

void UseMeter::Note(absl::Span<const int64_t> memory_bytes, bool busy, Time now) {
  MutexLock lock(mutex_);
  if (busy_) Add(slices_, since_, now);
  memory_bytes_.assign(memory_bytes.begin(), memory_bytes.end());
  busy_ = busy;
  since_ = now;
}

SessionUse UseMeter::Read(Time now) const {
  MutexLock lock(mutex_);
  std::array<Slice, kSlices + 1> slices = slices_;
  if (busy_) Add(slices, since_, now);
  // The slice that has just begun counts from its beginning, the rest of the second before it.
  const int64_t last = now.time_since_epoch() / kSlice;
  std::chrono::nanoseconds busy{};
  for (const Slice& slice : slices) {
    if (slice.index > last - kSlices && slice.index <= last) busy += slice.busy;
  }
  const std::chrono::nanoseconds seen = kSlice * (kSlices - 1) + now.time_since_epoch() % kSlice;
  return {memory_bytes_, std::min(1.0, double(busy.count()) / double(seen.count()))};
}

void UseMeter::Add(std::array<Slice, kSlices + 1>& slices, Time begin, Time end) {
  begin = std::max(begin, end - kSlice * kSlices);
  while (begin < end) {
    const int64_t index = begin.time_since_epoch() / kSlice;
    const Time next = std::min(end, Time(kSlice * (index + 1)));
    Slice& slice = slices[size_t(index % int64_t(slices.size()))];
    if (slice.index != index) slice = {index, {}};
    slice.busy += next - begin;
    begin = next;
  }
}

}  // namespace moai
