// Connections between the executor processes of a session, and messages over them, by Gloo.
//
// Gloo reports by exceptions; none leaves this class. Connections carry plain bytes: they belong on
// a network that only the workers reach. A peer proves with a secret that came by way of the
// server that it is who it should be, so that a stray connection is refused; who can change packets
// on that network is not kept out.
#ifndef MOAI_WORKER_COLLECTIVES_GLOO_MESH_H_
#define MOAI_WORKER_COLLECTIVES_GLOO_MESH_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/collectives/group_state.h"

namespace gloo::transport {
class UnboundBuffer;
}  // namespace gloo::transport

namespace moai {

// Messages between two processes meet by their tag; tags of messages on their way are distinct.
using MessageTag = uint64_t;

class GlooMesh {
 public:
  using Clock = std::chrono::steady_clock;

  // Listens at `address` (a host name or number of this machine), one port for each peer. `names`
  // says, for each process, what it is called in errors. `state` outlives the mesh.
  static absl::StatusOr<std::unique_ptr<GlooMesh>> Open(uint32_t process,
                                                        std::vector<std::string> names,
                                                        const std::string& address,
                                                        GroupState* state);
  // Tells the peers that this process has ended, and closes. Nobody waits any more.
  ~GlooMesh();
  GlooMesh(const GlooMesh&) = delete;
  GlooMesh& operator=(const GlooMesh&) = delete;

  // What each peer needs to reach this process, by process; empty for its own. Secret.
  const std::vector<std::string>& blobs() const { return blobs_; }
  // Takes what each peer has for this process. Returns once all are connected, or the state broke.
  absl::Status Connect(absl::Span<const std::string> blobs, Clock::time_point deadline);

  // A message on its way. Its memory is left alone once it is destroyed.
  class Message {
   public:
    Message();
    ~Message();
    Message(Message&& other) noexcept;
    Message& operator=(Message&& other) noexcept;

   private:
    friend class GlooMesh;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer_;
    uint32_t process_ = 0;
    bool sends_ = false;
    size_t place_ = 0;  // among the messages that a break wakes
    GlooMesh* mesh_ = nullptr;
  };

  // Both return at once. Any thread. An error has broken the state, and is its error.
  absl::StatusOr<Message> Send(uint32_t process, MessageTag tag, const std::byte* data,
                               int64_t bytes);
  absl::StatusOr<Message> Recv(uint32_t process, MessageTag tag, std::byte* data, int64_t bytes);
  // Until the bytes are sent, or here. One thread for each message. Errors as above.
  absl::Status Wait(Message& message, Clock::time_point deadline);

 private:
  struct Gloo;
  struct Peer;

  GlooMesh(std::vector<std::string> names, GroupState* state);
  absl::StatusOr<Message> Post(uint32_t process, MessageTag tag, std::byte* data, int64_t bytes,
                               bool sends);
  // What the thread of a peer does.
  void Watch(Peer& peer, Clock::time_point deadline);
  absl::Status Meet(Peer& peer, Clock::time_point deadline);
  void AwaitGoodbye(Peer& peer);
  void SayGoodbye(Peer& peer);
  void CloseAll();
  // What the thread that watches the clock does: a wait of Gloo that ends by itself closes every
  // connection before anybody can be told why.
  void KeepDeadlines();
  // Breaks the state because a call of Gloo failed. Returns its error.
  absl::Status Fail(uint32_t process, const char* what, const std::string& why);
  void Forget(Message& message);

  const std::vector<std::string> names_;
  GroupState* const state_;
  std::vector<std::string> blobs_;
  std::unique_ptr<Gloo> gloo_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_GLOO_MESH_H_
