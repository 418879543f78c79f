// Messages of one device to and from the devices of the other processes of its host, by
// HostInboxes. A message is copied twice: into the ring by the sender, out of it by the receiver.
// Nobody but these two does anything, and only while they wait: messages of any length move, since
// who waits for one moves all of its own.
#ifndef MOAI_WORKER_COLLECTIVES_HOST_MAIL_H_
#define MOAI_WORKER_COLLECTIVES_HOST_MAIL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/collectives/group_state.h"
#include "worker/collectives/host_inboxes.h"

namespace moai {

// One thread at a time. Messages between two devices arrive in the order in which they were posted;
// both sides know their sizes.
class HostMail {
 public:
  using Clock = std::chrono::steady_clock;

  // Both outlive it. The inboxes' own bells ring when the state breaks or a process ends.
  HostMail(uint32_t rank, size_t ranks, const HostInboxes* inboxes, const GroupState* state);

  // Memory is the message's until the matching Finish, or Drop. The peer has it no earlier than
  // `arrival`: who sends does not wait for that.
  void PostSend(uint32_t peer, const std::byte* data, int64_t bytes,
                Clock::time_point arrival = {});
  void PostRecv(uint32_t peer, std::byte* data, int64_t bytes);
  // Moves what can move now, without waiting.
  absl::Status Push() { return MoveAll().status(); }
  // Until the oldest message to, or from, the peer is complete. DeadlineExceeded where the peer
  // does nothing, Unavailable where its process has ended, Internal where it does what it should
  // not; else the state's error.
  absl::Status FinishSend(uint32_t peer, Clock::time_point deadline);
  absl::Status FinishRecv(uint32_t peer, Clock::time_point deadline);
  size_t sends_on_their_way(uint32_t peer) const { return sends_[peer].messages.size(); }
  void Drop();

 private:
  // In front of each message; as it is sent, or has come.
  struct Header {
    uint64_t size = 0;
    Clock::rep arrival = 0;  // in ticks of the clock, which is one for all processes of a host
  };
  struct Message {
    std::byte* data = nullptr;
    int64_t bytes = 0;
    Header header;
    uint64_t moved = 0;  // of the header and the data

    Clock::time_point arrival() const { return Clock::time_point(Clock::duration(header.arrival)); }
  };
  // Messages to a peer, or from it, oldest first.
  struct Channel {
    uint32_t peer = 0;
    ByteRing ring;
    Bell* bell = nullptr;  // of the peer
    uint64_t moved = 0;    // bytes that this side has put in or taken out
    std::deque<Message> messages;
    size_t complete = 0;  // of these
  };

  Channel& ChannelOf(std::vector<Channel>& channels, bool sends, uint32_t peer);
  absl::Status Finish(Channel& channel, bool sends, Clock::time_point deadline);
  // Copies what can be copied now. Whether there was anything.
  absl::StatusOr<bool> MoveAll();
  absl::StatusOr<bool> Move(Channel& channel, bool sends);
  // Tells the peer of the bytes that this side has moved.
  void Publish(Channel& channel, bool sends);

  const uint32_t rank_;
  const HostInboxes* const inboxes_;
  const GroupState* const state_;
  Bell& bell_;
  std::vector<Channel> sends_, recvs_;  // by peer; without a ring until the first message
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_HOST_MAIL_H_
