#include "worker/collectives/host_mail.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

// The peer hears of so many bytes at once, and works on them while the next are copied.
constexpr uint64_t kPieceBytes = 32 << 10;

}  // namespace

HostMail::HostMail(uint32_t rank, size_t ranks, const HostInboxes* inboxes, const GroupState* state)
    : rank_(rank),
      inboxes_(inboxes),
      state_(state),
      bell_(inboxes->BellOf(rank)),
      sends_(ranks),
      recvs_(ranks) {}

HostMail::Channel& HostMail::ChannelOf(std::vector<Channel>& channels, bool sends, uint32_t peer) {
  Channel& channel = channels[peer];
  if (channel.bell != nullptr) return channel;
  channel.peer = peer;
  channel.ring = sends ? inboxes_->RingOf(rank_, peer) : inboxes_->RingOf(peer, rank_);
  channel.bell = &inboxes_->BellOf(peer);
  return channel;
}

void HostMail::PostSend(uint32_t peer, const std::byte* data, int64_t bytes,
                        Clock::time_point arrival) {
  // Messages of both directions are one type; what is sent is only read.
  ChannelOf(sends_, /*sends=*/true, peer)
      .messages.push_back({const_cast<std::byte*>(data),
                           bytes,
                           {static_cast<uint64_t>(bytes), arrival.time_since_epoch().count()}});
}

void HostMail::PostRecv(uint32_t peer, std::byte* data, int64_t bytes) {
  ChannelOf(recvs_, /*sends=*/false, peer).messages.push_back({data, bytes});
}

void HostMail::Publish(Channel& channel, bool sends) {
  RingCounters& counters = *channel.ring.counters;
  (sends ? counters.written : counters.read).store(channel.moved, std::memory_order_release);
  channel.bell->Ring();
}

absl::StatusOr<bool> HostMail::Move(Channel& channel, bool sends) {
  const ByteRing& ring = channel.ring;
  uint64_t published = channel.moved;
  const uint64_t before = published;
  while (channel.complete < channel.messages.size()) {
    Message& message = channel.messages[channel.complete];
    const uint64_t other =
        (sends ? ring.counters->read : ring.counters->written).load(std::memory_order_acquire);
    const uint64_t filled = sends ? channel.moved - other : other - channel.moved;
    if (filled > ring.size) {
      return absl::InternalError(absl::StrCat("device ", channel.peer,
                                              " has counters in the shared memory that cannot be"));
    }
    const uint64_t can = sends ? ring.size - filled : filled;
    if (can == 0) break;
    const bool front = message.moved < sizeof(Header);
    std::byte* const here = front ? reinterpret_cast<std::byte*>(&message.header) + message.moved
                                  : message.data + (message.moved - sizeof(Header));
    const uint64_t total = sizeof(Header) + static_cast<uint64_t>(message.bytes);
    const uint64_t left = (front ? sizeof(Header) : total) - message.moved;
    const uint64_t place = channel.moved & (ring.size - 1);
    const uint64_t now = std::min({left, can, ring.size - place, kPieceBytes});
    if (now > 0 && sends) std::memcpy(ring.data + place, here, now);
    if (now > 0 && !sends) std::memcpy(here, ring.data + place, now);
    message.moved += now;
    channel.moved += now;
    if (message.moved == sizeof(Header) &&
        message.header.size != static_cast<uint64_t>(message.bytes)) {
      return absl::InternalError(absl::StrCat(
          "device ", channel.peer, " sent ", message.header.size, " bytes where device ", rank_,
          " expects ", message.bytes, ": their programs do not match"));
    }
    if (message.moved == total) ++channel.complete;
    if (channel.moved - published >= kPieceBytes) {
      Publish(channel, sends);
      published = channel.moved;
    }
  }
  if (channel.moved != published) Publish(channel, sends);
  return channel.moved != before;
}

absl::StatusOr<bool> HostMail::MoveAll() {
  bool any = false;
  for (Channel& channel : sends_) {
    MOAI_ASSIGN_OR_RETURN(const bool moved, Move(channel, /*sends=*/true));
    any = any || moved;
  }
  for (Channel& channel : recvs_) {
    MOAI_ASSIGN_OR_RETURN(const bool moved, Move(channel, /*sends=*/false));
    any = any || moved;
  }
  return any;
}

absl::Status HostMail::Finish(Channel& channel, bool sends, Clock::time_point deadline) {
  while (true) {
    const uint32_t seen = bell_.rings.load();
    const absl::Status end = state_->EndOf(inboxes_->process_of(channel.peer));
    MOAI_ASSIGN_OR_RETURN(const bool moved, MoveAll());
    const bool complete = channel.complete > 0;
    const Clock::time_point arrival =
        complete && !sends ? channel.messages.front().arrival() : Clock::time_point{};
    if (complete && Clock::now() >= arrival) {
      channel.messages.pop_front();
      --channel.complete;
      return absl::OkStatus();
    }
    if (moved) continue;
    MOAI_RETURN_IF_ERROR(state_->status());
    if (!complete && !end.ok()) {
      return absl::Status(end.code(), absl::StrCat("device ", rank_, " waited for device ",
                                                   channel.peer, ": ", end.message()));
    }
    const Clock::time_point now = Clock::now();
    if (now >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "device ", rank_, " waited for device ", channel.peer, ", which ",
          sends ? "read" : "sent", " nothing", complete ? " that arrives in time" : ""));
    }
    bell_.waits.store(1);
    wire::WaitWhile(bell_.rings, seen, (complete ? std::min(arrival, deadline) : deadline) - now);
    bell_.waits.store(0);
  }
}

absl::Status HostMail::FinishSend(uint32_t peer, Clock::time_point deadline) {
  return Finish(sends_[peer], /*sends=*/true, deadline);
}

absl::Status HostMail::FinishRecv(uint32_t peer, Clock::time_point deadline) {
  return Finish(recvs_[peer], /*sends=*/false, deadline);
}

void HostMail::Drop() {
  for (std::vector<Channel>* channels : {&sends_, &recvs_}) {
    for (Channel& channel : *channels) {
      channel.messages.clear();
      channel.complete = 0;
    }
  }
}

}  // namespace moai
