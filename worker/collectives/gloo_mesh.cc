#include "worker/collectives/gloo_mesh.h"

#include <gloo/transport/context.h>
#include <gloo/transport/tcp/attr.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "wire/random_id.h"
#include "worker/collectives/host_address.h"

namespace moai {
namespace {

using std::chrono::milliseconds;

// Tags of messages between processes; those of devices (peer_link.h) have another top bit.
constexpr MessageTag kGreetingTag = (MessageTag{1} << 63) | 1;
constexpr MessageTag kGoodbyeTag = (MessageTag{1} << 63) | 2;

// How long a process that ends tries to tell why. Peers that miss it see a closed connection.
constexpr milliseconds kGoodbyeTime(200);
// How long a failed call waits for what the peer had to say about it.
constexpr milliseconds kReasonTime(500);
// Longer than a session. Gloo has waits with an end only.
constexpr milliseconds kForever = std::chrono::hours(24 * 365);

constexpr GlooMesh::Clock::time_point kNever = GlooMesh::Clock::time_point::max();

constexpr absl::string_view kBlobHeader = "moai-gloo-1";

struct Goodbye {
  int32_t code = 0;  // absl::StatusCode
  uint32_t length = 0;
  char text[504] = {};
};

// Calls a function of Gloo. Empty, or why it failed.
template <class Function>
std::string Try(Function function) {
  try {
    function();
    return "";
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an unknown error";
  }
}

}  // namespace

struct GlooMesh::Peer {
  uint32_t process = 0;
  std::string my_secret;      // what the peer must show
  std::string peer_secret;    // what to show to the peer
  std::vector<char> address;  // of the peer's port
  std::unique_ptr<gloo::transport::UnboundBuffer> goodbye_buffer;
  Goodbye goodbye;
  std::thread thread;
  // Guarded by the state's mutex.
  bool connected = false;
  bool left = false;     // it has ended well
  bool settled = false;  // its thread has no more to say about what happened
};

// A message on its way, or an empty place for one.
struct Waiting {
  gloo::transport::UnboundBuffer* buffer = nullptr;
  uint32_t process = 0;
  bool sends = false;
  GlooMesh::Clock::time_point deadline = kNever;
};

struct GlooMesh::Gloo {
  std::shared_ptr<gloo::transport::Device> device;
  std::shared_ptr<gloo::transport::Context> context;
  std::vector<std::unique_ptr<Peer>> peers;  // by process; null for this one
  std::thread clock;
  // The rest is guarded by the state's mutex.
  std::vector<Waiting> waiting;  // what a break wakes
  std::vector<size_t> free_places;
  CondVar changed;
  CondVar sooner;  // a deadline before `clock_wakes` has come
  Clock::time_point clock_wakes = kNever;
  int talking = 0;  // threads of peers that may still send
  bool ending = false;
};

GlooMesh::Message::Message() = default;
GlooMesh::Message::Message(Message&& other) noexcept { *this = std::move(other); }
GlooMesh::Message& GlooMesh::Message::operator=(Message&& other) noexcept {
  if (mesh_ != nullptr) mesh_->Forget(*this);
  buffer_ = std::move(other.buffer_);
  process_ = other.process_;
  sends_ = other.sends_;
  place_ = other.place_;
  mesh_ = std::exchange(other.mesh_, nullptr);
  return *this;
}
GlooMesh::Message::~Message() {
  if (mesh_ != nullptr) mesh_->Forget(*this);
}

GlooMesh::GlooMesh(std::vector<std::string> names, GroupState* state)
    : names_(std::move(names)), state_(state), gloo_(new Gloo) {}

absl::StatusOr<std::unique_ptr<GlooMesh>> GlooMesh::Open(uint32_t process,
                                                         std::vector<std::string> names,
                                                         const std::string& address,
                                                         GroupState* state) {
  // A write to a connection that the peer closed is an error, not the end of this process.
  std::signal(SIGPIPE, SIG_IGN);
  MOAI_ASSIGN_OR_RETURN(const std::string host, ListenAddress(address));
  std::unique_ptr<GlooMesh> mesh(new GlooMesh(std::move(names), state));
  Gloo& gloo = *mesh->gloo_;
  const size_t processes = mesh->names_.size();
  gloo.peers.resize(processes);
  mesh->blobs_.resize(processes);
  const std::string error = Try([&] {
    gloo.device = gloo::transport::tcp::CreateDevice(host.c_str());
    gloo.context =
        gloo.device->createContext(static_cast<int>(process), static_cast<int>(processes));
    gloo.context->setTimeout(milliseconds(0));  // none: Connect has its own
    for (uint32_t i = 0; i < processes; ++i) {
      if (i == process) continue;
      gloo.peers[i] = std::make_unique<Peer>();
      gloo.peers[i]->process = i;
      gloo.peers[i]->my_secret = wire::NewRandomId();
      const std::vector<char> port =
          gloo.context->createPair(static_cast<int>(i))->address().bytes();
      mesh->blobs_[i] = absl::StrCat(kBlobHeader, gloo.peers[i]->my_secret,
                                     absl::string_view(port.data(), port.size()));
    }
  });
  if (!error.empty()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen at ", address, " for other executors: ", error));
  }
  GlooMesh* const self = mesh.get();
  state->OnBreak([self] {
    for (const Waiting& waiting : self->gloo_->waiting) {
      if (waiting.buffer == nullptr) continue;
      waiting.buffer->abortWaitRecv();
      waiting.buffer->abortWaitSend();
    }
    self->gloo_->changed.NotifyAll();
    self->gloo_->sooner.NotifyAll();
  });
  gloo.clock = std::thread([self] { self->KeepDeadlines(); });
  return mesh;
}

GlooMesh::~GlooMesh() {
  {
    MutexLock lock(state_->mutex());
    gloo_->ending = true;
    for (const auto& peer : gloo_->peers) {
      if (peer != nullptr && peer->goodbye_buffer != nullptr) {
        peer->goodbye_buffer->abortWaitRecv();
      }
    }
    gloo_->changed.NotifyAll();
    gloo_->sooner.NotifyAll();
  }
  if (gloo_->clock.joinable()) gloo_->clock.join();
  for (const auto& peer : gloo_->peers) {
    if (peer != nullptr && peer->thread.joinable()) peer->thread.join();
  }
  Try([&] {
    for (const auto& peer : gloo_->peers) {
      if (peer != nullptr) peer->goodbye_buffer.reset();
    }
    gloo_->context.reset();
    gloo_->device.reset();
  });
}

absl::Status GlooMesh::Connect(absl::Span<const std::string> blobs, Clock::time_point deadline) {
  if (blobs.size() != names_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the addresses of ", blobs.size(),
                                                   " processes came, where the session has ",
                                                   names_.size()));
  }
  for (const auto& peer : gloo_->peers) {
    if (peer == nullptr) continue;
    absl::string_view blob = blobs[peer->process];
    if (blob.substr(0, kBlobHeader.size()) != kBlobHeader ||
        blob.size() <= kBlobHeader.size() + wire::kRandomIdBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("what ", names_[peer->process], " says of its address is not understood"));
    }
    blob.remove_prefix(kBlobHeader.size());
    peer->peer_secret = std::string(blob.substr(0, wire::kRandomIdBytes));
    blob.remove_prefix(wire::kRandomIdBytes);
    peer->address.assign(blob.begin(), blob.end());
  }
  {
    MutexLock lock(state_->mutex());
    if (!state_->error().ok()) return state_->error();
    gloo_->talking = static_cast<int>(names_.size()) - 1;
  }
  for (const auto& peer : gloo_->peers) {
    if (peer == nullptr) continue;
    peer->thread = std::thread([this, &peer = *peer, deadline] { Watch(peer, deadline); });
  }

  std::vector<std::string> missing;
  {
    MutexLock lock(state_->mutex());
    bool in_time = true;
    while (state_->error().ok()) {
      missing.clear();
      for (const auto& peer : gloo_->peers) {
        if (peer != nullptr && !peer->connected) missing.push_back(names_[peer->process]);
      }
      if (missing.empty()) return absl::OkStatus();
      if (!in_time) break;
      in_time = gloo_->changed.WaitUntil(state_->mutex(), deadline);
    }
  }
  const absl::Status error = state_->Break(absl::DeadlineExceededError(absl::StrCat(
      "executors of the session did not connect in time: ", absl::StrJoin(missing, ", "))));
  // Ends the threads that still connect; the others have been woken.
  for (const auto& peer : gloo_->peers) {
    if (peer == nullptr) continue;
    {
      MutexLock lock(state_->mutex());
      if (peer->connected) continue;
    }
    Try([&] { gloo_->context->getPair(static_cast<int>(peer->process))->close(); });
  }
  return error;
}

absl::StatusOr<GlooMesh::Message> GlooMesh::Post(uint32_t process, MessageTag tag, std::byte* data,
                                                 int64_t bytes, bool sends) {
  Message message;
  std::string error = Try([&] {
    message.buffer_ = gloo_->context->createUnboundBuffer(data, static_cast<size_t>(bytes));
  });
  if (!error.empty()) return Fail(process, "a message", error);
  message.process_ = process;
  message.sends_ = sends;
  {
    MutexLock lock(state_->mutex());
    if (!state_->error().ok()) return state_->error();
    if (gloo_->free_places.empty()) {
      gloo_->free_places.push_back(gloo_->waiting.size());
      gloo_->waiting.emplace_back();
    }
    message.place_ = gloo_->free_places.back();
    gloo_->free_places.pop_back();
    gloo_->waiting[message.place_] = {message.buffer_.get(), process, sends};
    message.mesh_ = this;
  }
  error = Try([&] {
    const int peer = static_cast<int>(process);
    sends ? message.buffer_->send(peer, tag) : message.buffer_->recv(peer, tag);
  });
  if (!error.empty()) return Fail(process, sends ? "sending to" : "receiving from", error);
  return message;
}

absl::StatusOr<GlooMesh::Message> GlooMesh::Send(uint32_t process, MessageTag tag,
                                                 const std::byte* data, int64_t bytes) {
  // Gloo has one type of buffer for both directions; what it sends it only reads.
  return Post(process, tag, const_cast<std::byte*>(data), bytes, /*sends=*/true);
}

absl::StatusOr<GlooMesh::Message> GlooMesh::Recv(uint32_t process, MessageTag tag, std::byte* data,
                                                 int64_t bytes) {
  return Post(process, tag, data, bytes, /*sends=*/false);
}

absl::Status GlooMesh::Wait(Message& message, Clock::time_point deadline) {
  {
    MutexLock lock(state_->mutex());
    gloo_->waiting[message.place_].deadline = deadline;
    if (deadline < gloo_->clock_wakes) gloo_->sooner.NotifyAll();
  }
  bool done = false;
  const std::string error = Try([&] {
    done = message.sends_ ? message.buffer_->waitSend(nullptr, kForever)
                          : message.buffer_->waitRecv(nullptr, kForever);
  });
  const uint32_t process = message.process_;
  const bool sent = message.sends_;
  message = Message();
  if (done) return absl::OkStatus();
  if (!error.empty()) return Fail(process, sent ? "sending to" : "receiving from", error);
  return state_->status();
}

void GlooMesh::KeepDeadlines() {
  absl::Status late;
  while (late.ok()) {
    MutexLock lock(state_->mutex());
    if (gloo_->ending || !state_->error().ok()) return;
    Clock::time_point next = Clock::now() + kForever;
    const Waiting* first = nullptr;
    for (const Waiting& waiting : gloo_->waiting) {
      if (waiting.buffer == nullptr || waiting.deadline >= next) continue;
      next = waiting.deadline;
      first = &waiting;
    }
    if (first != nullptr && next <= Clock::now()) {
      late = absl::DeadlineExceededError(absl::StrCat(
          "waited too long ", first->sends ? "to send to " : "for ", names_[first->process]));
      continue;
    }
    gloo_->clock_wakes = next;
    gloo_->sooner.WaitUntil(state_->mutex(), next);
  }
  state_->Break(late).IgnoreError();
}

void GlooMesh::Forget(Message& message) {
  MutexLock lock(state_->mutex());
  gloo_->waiting[message.place_] = {};
  gloo_->free_places.push_back(message.place_);
  message.mesh_ = nullptr;
}

absl::Status GlooMesh::Fail(uint32_t process, const char* what, const std::string& why) {
  Peer& peer = *gloo_->peers[process];
  bool left = false;
  {
    // The thread that watches the peer hears of it too, and may have been told the reason.
    MutexLock lock(state_->mutex());
    const Clock::time_point deadline = Clock::now() + kReasonTime;
    while (state_->error().ok() && !peer.settled) {
      if (!gloo_->changed.WaitUntil(state_->mutex(), deadline)) break;
    }
    left = peer.left;
  }
  return state_->Break(absl::UnavailableError(
      left ? absl::StrCat(what, " ", names_[process], " failed: it has ended")
           : absl::StrCat(what, " ", names_[process], " failed: ", why)));
}

void GlooMesh::Watch(Peer& peer, Clock::time_point deadline) {
  const absl::Status met = Meet(peer, deadline);
  if (met.ok()) {
    AwaitGoodbye(peer);
  } else {
    state_->Break(met).IgnoreError();
  }
  SayGoodbye(peer);
}

// Connects, and exchanges the secrets.
absl::Status GlooMesh::Meet(Peer& peer, Clock::time_point deadline) {
  const int process = static_cast<int>(peer.process);
  std::string error = Try([&] { gloo_->context->getPair(process)->connect(peer.address); });
  if (!error.empty()) {
    return absl::UnavailableError(
        absl::StrCat("cannot connect to ", names_[peer.process], ": ", error));
  }
  std::string shown(wire::kRandomIdBytes, '\0');
  MOAI_ASSIGN_OR_RETURN(Message hears,
                        Recv(peer.process, kGreetingTag, reinterpret_cast<std::byte*>(shown.data()),
                             wire::kRandomIdBytes));
  MOAI_ASSIGN_OR_RETURN(
      Message says,
      Send(peer.process, kGreetingTag, reinterpret_cast<const std::byte*>(peer.peer_secret.data()),
           wire::kRandomIdBytes));
  MOAI_RETURN_IF_ERROR(Wait(says, deadline));
  MOAI_RETURN_IF_ERROR(Wait(hears, deadline));
  if (!wire::EqualSecrets(shown, peer.my_secret)) {
    return absl::PermissionDeniedError(
        absl::StrCat("someone else connected in the place of ", names_[peer.process]));
  }
  return absl::OkStatus();
}

void GlooMesh::AwaitGoodbye(Peer& peer) {
  std::string error = Try([&] {
    auto buffer = gloo_->context->createUnboundBuffer(&peer.goodbye, sizeof(peer.goodbye));
    buffer->recv(static_cast<int>(peer.process), kGoodbyeTag);
    MutexLock lock(state_->mutex());
    if (gloo_->ending || !state_->error().ok()) buffer->abortWaitRecv();
    gloo_->waiting.push_back({buffer.get(), peer.process});
    peer.goodbye_buffer = std::move(buffer);
    peer.connected = true;
    gloo_->changed.NotifyAll();
  });
  bool heard = false;
  if (error.empty()) {
    error = Try([&] { heard = peer.goodbye_buffer->waitRecv(nullptr, kForever); });
  }
  absl::Status verdict;
  if (!error.empty()) {
    verdict = absl::UnavailableError(
        absl::StrCat("lost the connection to ", names_[peer.process], ": ", error));
  } else if (heard && peer.goodbye.code != 0) {
    const size_t length = std::min<size_t>(peer.goodbye.length, sizeof(peer.goodbye.text));
    verdict =
        absl::Status(static_cast<absl::StatusCode>(peer.goodbye.code),
                     absl::StrCat(names_[peer.process],
                                  " stopped: ", absl::string_view(peer.goodbye.text, length)));
  }
  bool ending = false;
  {
    MutexLock lock(state_->mutex());
    ending = gloo_->ending;
    peer.left = heard && verdict.ok();
  }
  if (!ending && !verdict.ok()) state_->Break(verdict).IgnoreError();
  if (heard && verdict.ok()) {
    state_->EndProcess(peer.process,
                       absl::UnavailableError(absl::StrCat(names_[peer.process], " has ended")));
  }
  MutexLock lock(state_->mutex());
  peer.settled = true;
  gloo_->changed.NotifyAll();
}

void GlooMesh::SayGoodbye(Peer& peer) {
  absl::Status status;
  bool listens = false;
  {
    MutexLock lock(state_->mutex());
    status = state_->error();
    // A peer that has said goodbye reads no more.
    listens = peer.connected && !peer.left && peer.goodbye.code == 0;
  }
  if (listens) {
    Goodbye goodbye;
    goodbye.code = static_cast<int32_t>(status.code());
    goodbye.length = static_cast<uint32_t>(std::min(status.message().size(), sizeof(goodbye.text)));
    std::copy_n(status.message().begin(), goodbye.length, goodbye.text);
    Try([&] {
      auto buffer = gloo_->context->createUnboundBuffer(&goodbye, sizeof(goodbye));
      buffer->send(static_cast<int>(peer.process), kGoodbyeTag);
      buffer->waitSend(nullptr, kGoodbyeTime);
    });
  }
  bool last = false;
  {
    MutexLock lock(state_->mutex());
    peer.settled = true;
    last = --gloo_->talking == 0;
    gloo_->changed.NotifyAll();
  }
  if (last && !status.ok()) CloseAll();
}

void GlooMesh::CloseAll() {
  // A wait that ends without success closes every connection of the context, and does it while
  // other threads may use them; there is no other call for that.
  Try([&] {
    char nothing = 0;
    gloo_->context->createUnboundBuffer(&nothing, 1)->waitRecv(nullptr, milliseconds(0));
  });
}

}  // namespace moai
