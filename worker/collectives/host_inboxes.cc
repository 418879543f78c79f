#include "worker/collectives/host_inboxes.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "wire/random_id.h"

namespace moai {
namespace {

static_assert(std::atomic<uint64_t>::is_always_lock_free, "processes share the counters");

// Pages are taken when they are first used: this bounds a session of very many devices.
constexpr uint64_t kMostInboxBytes = uint64_t{1} << 30;
constexpr size_t kPageBytes = 4096;

constexpr uint32_t kYes = 1, kNo = 2;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

void Bell::Ring() {
  rings.fetch_add(1);
  if (waits.load() != 0) wire::WakeWaiters(rings);
}

HostInboxes::HostInboxes(uint32_t process, absl::Span<const uint32_t> process_of_rank,
                         uint64_t ring_bytes)
    : process_(process),
      most_ring_bytes_(ring_bytes),
      process_of_rank_(process_of_rank.begin(), process_of_rank.end()) {
  devices_.resize(*std::max_element(process_of_rank.begin(), process_of_rank.end()) + 1);
  for (const uint32_t holder : process_of_rank) position_of_rank_.push_back(devices_[holder]++);
  inboxes_.resize(devices_.size());
}

// The secret is at the front. Every device of the session has a ring for each of the process, its
// own neighbours too: those are never touched.
HostInboxes::Layout HostInboxes::LayoutOf(uint32_t process) const {
  const size_t rings = devices_[process] * process_of_rank_.size();
  Layout layout;
  layout.ring_bytes = std::clamp<uint64_t>(std::bit_floor(kMostInboxBytes / rings), kLeastRingBytes,
                                           most_ring_bytes_);
  layout.accepted = wire::kRandomIdBytes;
  layout.bells = 64;
  layout.counters = layout.bells + devices_[process] * sizeof(Bell);
  layout.rings = RoundUp(layout.counters + rings * sizeof(RingCounters), kPageBytes);
  layout.bytes = layout.rings + rings * layout.ring_bytes;
  return layout;
}

absl::StatusOr<std::unique_ptr<HostInboxes>> HostInboxes::Open(
    uint32_t process, absl::Span<const uint32_t> process_of_rank, uint64_t ring_bytes) {
  std::unique_ptr<HostInboxes> inboxes(new HostInboxes(process, process_of_rank, ring_bytes));
  wire::HostMemory& inbox = inboxes->inboxes_[process];
  MOAI_ASSIGN_OR_RETURN(inbox,
                        wire::HostMemory::Create("moai-inbox", inboxes->LayoutOf(process).bytes,
                                                 wire::HostMemory::Pages::kWhenTouched));
  const std::string secret = wire::NewRandomId();
  std::memcpy(inbox.data(), secret.data(), secret.size());
  inboxes->offer_ = absl::StrCat(secret, inbox.name(), "@", wire::HostId());
  return inboxes;
}

bool HostInboxes::AcceptOne(uint32_t process, absl::string_view offer) {
  if (offer.size() < wire::kRandomIdBytes) return false;
  const absl::string_view secret = offer.substr(0, wire::kRandomIdBytes);
  offer.remove_prefix(secret.size());
  const size_t at = offer.find('@');
  if (at == absl::string_view::npos || offer.substr(at + 1) != wire::HostId()) return false;
  auto inbox = wire::HostMemory::Open(offer.substr(0, at), LayoutOf(process).bytes,
                                      wire::HostMemory::Pages::kWhenTouched);
  if (!inbox.ok()) return false;
  const absl::string_view found(reinterpret_cast<const char*>(inbox->data()), secret.size());
  if (!wire::EqualSecrets(found, secret)) return false;
  inboxes_[process] = *std::move(inbox);
  return true;
}

void HostInboxes::Accept(absl::Span<const std::string> offers) {
  bool all = offers.size() == devices_.size();
  for (uint32_t process = 0; all && process < devices_.size(); ++process) {
    if (process != process_) all = AcceptOne(process, offers[process]);
  }
  Accepted(process_).store(all ? kYes : kNo);
}

std::atomic<uint32_t>& HostInboxes::Accepted(uint32_t process) const {
  return *reinterpret_cast<std::atomic<uint32_t>*>(inboxes_[process].data() +
                                                   LayoutOf(process).accepted);
}

bool HostInboxes::AllAccepted() const {
  for (uint32_t process = 0; process < devices_.size(); ++process) {
    if (inboxes_[process].data() == nullptr || Accepted(process).load() != kYes) return false;
  }
  return true;
}

ByteRing HostInboxes::RingOf(uint32_t from, uint32_t to) const {
  const uint32_t process = process_of_rank_[to];
  const Layout layout = LayoutOf(process);
  const size_t index = position_of_rank_[to] * process_of_rank_.size() + from;
  std::byte* const inbox = inboxes_[process].data();
  return {reinterpret_cast<RingCounters*>(inbox + layout.counters) + index,
          inbox + layout.rings + index * layout.ring_bytes, layout.ring_bytes};
}

Bell& HostInboxes::BellOf(uint32_t rank) const {
  const uint32_t process = process_of_rank_[rank];
  return reinterpret_cast<Bell*>(inboxes_[process].data() +
                                 LayoutOf(process).bells)[position_of_rank_[rank]];
}

void HostInboxes::RingOwnBells() const {
  Bell* const bells = reinterpret_cast<Bell*>(inboxes_[process_].data() + LayoutOf(process_).bells);
  for (uint32_t i = 0; i < devices_[process_]; ++i) bells[i].Ring();
}

}  // namespace moai
