// Point to point messages of one device to and from any other of its session: to devices of the
// same process by address, to those of other processes through the host's memory or over the
// network.
#ifndef MOAI_WORKER_COLLECTIVES_PEER_LINK_H_
#define MOAI_WORKER_COLLECTIVES_PEER_LINK_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/collectives/communicator.h"
#include "worker/collectives/gloo_mesh.h"
#include "worker/collectives/group_state.h"
#include "worker/collectives/host_inboxes.h"
#include "worker/collectives/host_mail.h"
#include "worker/collectives/link_throttle.h"
#include "worker/collectives/local_mail.h"

namespace moai {

// Where the devices of a session are.
struct DevicePlace {
  uint32_t process = 0;
  size_t position = 0;  // among the devices of its process
};

// Messages of different lanes neither order nor delay each other.
enum class Lane : uint8_t {
  kCollectives,
  kAgreements,  // of the devices about a step: small
};
inline constexpr Lane kAllLanes[] = {Lane::kCollectives, Lane::kAgreements};
inline constexpr size_t kLanes = std::size(kAllLanes);

// One thread: the device's. Messages between two devices arrive in the order in which they were
// sent; both sides know their sizes. A call that fails has broken the state, and returns its error.
class PeerLink {
 public:
  using Clock = std::chrono::steady_clock;

  struct Shared {
    std::vector<DevicePlace> places;       // by rank
    std::chrono::nanoseconds deadline{0};  // of every wait
    Lane lane = Lane::kCollectives;
    LinkThrottle throttle;
    GroupState* state = nullptr;
    LocalMail* mail = nullptr;
    GlooMesh* mesh = nullptr;              // null where there is one process
    const HostInboxes* inboxes = nullptr;  // null where the network is used
  };

  // `shared` outlives the link.
  PeerLink(uint32_t rank, const Shared* shared);

  uint32_t rank() const { return rank_; }
  uint32_t size() const { return static_cast<uint32_t>(shared_->places.size()); }
  bool in_process(uint32_t peer) const {
    return shared_->places[peer].process == shared_->places[rank_].process;
  }
  GroupState& state() const { return *shared_->state; }
  const TransferCounters& counters() const { return counters_; }

  // ---- In process: at most one message to each peer until FinishLocal
  // ----------------------------- Shows `data` to the peer, which reads `bytes` of it, in an order
  // that it knows.
  absl::Status Show(uint32_t peer, const std::byte* data, int64_t bytes);
  // What the peer shows. It may be read until Release.
  absl::StatusOr<const std::byte*> Look(uint32_t peer, int64_t bytes);
  void Release(uint32_t peer);
  // Until the peers have read everything that was shown. Must follow, after errors too.
  absl::Status FinishLocal();

  // ---- Between processes
  // -------------------------------------------------------------------------- Memory is the
  // message's until the matching Finish; those complete in the order of posting. Who waits in one
  // of these moves messages to all other processes; so all sends are finished before any other
  // wait.
  absl::Status PostSend(uint32_t peer, const std::byte* data, int64_t bytes);
  absl::Status PostRecv(uint32_t peer, std::byte* data, int64_t bytes);
  // Moves what can move now, without waiting: small messages are on their way then.
  absl::Status Push();
  absl::Status FinishSend(uint32_t peer);
  absl::Status FinishRecv(uint32_t peer);
  size_t sends_on_their_way(uint32_t peer) const {
    return host_mail_ ? host_mail_->sends_on_their_way(peer) : channels_[peer].sends.size();
  }
  // Forgets messages on their way, after an error: nothing touches their memory any more.
  void Drop();

 private:
  struct Channel {
    uint32_t sent = 0, received = 0;
    std::deque<GlooMesh::Message> sends, recvs;
  };

  Clock::time_point Deadline() const { return Clock::now() + shared_->deadline; }
  absl::Status Break(const absl::Status& error, const char* what, uint32_t peer) const;
  size_t position(uint32_t rank) const { return shared_->places[rank].position; }

  const uint32_t rank_;
  const Shared* const shared_;
  LinkPacer pacer_;
  TransferCounters counters_;
  std::vector<Channel> channels_;  // by peer
  std::optional<HostMail> host_mail_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_PEER_LINK_H_
