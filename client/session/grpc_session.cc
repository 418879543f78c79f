#include "client/session/grpc_session.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/spin_wait.h"
#include "base/status.h"
#include "client/session/step_encoder.h"
#include "graph/serialize.h"
#include "proto/session.pb.h"
#include "wire/control_client.h"
#include "wire/handshake.h"
#include "wire/process_tuning.h"
#include "wire/status_proto.h"
#include "wire/ticket_proto.h"
#include "wire/transfer_client.h"

namespace moai {
namespace {

constexpr char kMethod[] = "/moai.proto.SessionService/Attach";
// Larger feeds and uploads travel on streams of their own.
constexpr size_t kMaxInlineBytes = 64 << 10;
// Releases are sent at the latest when there are so many.
constexpr size_t kMaxReleasesWaiting = 4096;
constexpr std::chrono::seconds kCloseTimeout(5);

absl::string_view AsText(absl::Span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A call that waits for its answer. Spins before it blocks: the answer to a small read is there
// within some tens of microseconds, and waking a thread costs about as much.
class PendingCall {
 public:
  explicit PendingCall(absl::Span<std::byte> d = {}) : destination(d) {}

  void Finish(const absl::Status& status) {
    MutexLock lock(mutex_);
    if (done_.load(std::memory_order_relaxed)) return;
    status_ = status;
    done_.store(true, std::memory_order_release);
    changed_.NotifyAll();
  }

  absl::Status Wait() {
    for (SpinWait spin; !done_.load(std::memory_order_acquire) && spin.Again();) {
    }
    MutexLock lock(mutex_);
    while (!done_.load(std::memory_order_relaxed)) changed_.Wait(mutex_);
    return status_;
  }

  const absl::Span<std::byte> destination;

 private:
  Mutex mutex_;
  CondVar changed_;
  std::atomic<bool> done_ = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// What the threads of the connection and of the transfers share with the session. Locks: a caller
// holds the session's submit_mutex_ before this mutex, these threads never.
class SharedState : public wire::ControlClientHandler {
 public:
  explicit SharedState(const GrpcSessionOptions& options) : options_(options) {}

  // ---- Of the connection's thread

  std::string Hello() override {
    proto::Hello hello;
    hello.set_min_version(wire::kMinVersion);
    hello.set_max_version(wire::kMaxVersion);
    for (const std::string& feature : wire::SupportedFeatures()) hello.add_features(feature);
    hello.set_session_id(session_id_);
    hello.set_token(options_.token);
    if (options_.visible_device.has_value()) hello.set_visible_device(*options_.visible_device);
    hello.set_process_name(options_.process_name);
    hello.set_process_id(static_cast<uint64_t>(getpid()));
    char host[256] = {};
    gethostname(host, sizeof(host) - 1);
    hello.set_host_name(host);
    return hello.SerializeAsString();
  }

  absl::StatusOr<std::chrono::milliseconds> OnWelcome(absl::string_view bytes) override {
    proto::Welcome welcome;
    if (!welcome.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InternalError("The server's welcome is malformed");
    }
    MOAI_RETURN_IF_ERROR(
        wire::NegotiateVersion(welcome.version(), welcome.version(), "server").status());
    if (!session_id_.empty() && !welcome.resumed()) {
      return absl::UnavailableError("The server does not know this session any more");
    }
    session_id_ = welcome.session_id();
    MutexLock lock(mutex_);
    info_ = {.server_version = welcome.server_version(), .job_id = welcome.job_id()};
    accelerator_ = welcome.accelerator();
    memory_bytes_ = welcome.memory_bytes();
    return std::chrono::seconds(welcome.lease_seconds());
  }

  absl::Status OnMessage(absl::string_view bytes) override {
    message_.Clear();
    if (!message_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InternalError("The server sent a malformed message");
    }
    switch (message_.kind_case()) {
      case proto::ServerMessage::kReadResult:
        OnReadResult(message_.read_result());
        break;
      case proto::ServerMessage::kUploadGrant:
        OnUploadGrant(message_.upload_grant());
        break;
      case proto::ServerMessage::kSynchronizeResult:
        device_bytes_in_use_ = message_.synchronize_result().device_bytes_in_use();
        device_bytes_peak_ = message_.synchronize_result().device_bytes_peak();
        if (const auto call = TakeCall(message_.synchronize_result().request())) {
          call->Finish(wire::FromProto(message_.synchronize_result().status()));
        }
        break;
      case proto::ServerMessage::kStepsDone:
        OnStepsDone(message_.steps_done().step());
        break;
      case proto::ServerMessage::kNotice:
        Print(NoticeLine(message_.notice()));
        break;
      case proto::ServerMessage::KIND_NOT_SET:
        break;  // of a later version
    }
    return absl::OkStatus();
  }

  void OnDisconnected(const absl::Status& why) override {
    Print(absl::StrCat("[warning] The connection to the server is lost (", why.message(),
                       "). Reconnecting..."));
  }
  void OnResumed() override { Print("[info] The connection to the server is restored."); }

  void OnEnded(const absl::Status& why) override {
    End(why.ok() ? absl::UnavailableError("The session is closed")
                 : absl::UnavailableError(absl::StrCat("The session on ", options_.address,
                                                       " has ended: ", why.message(),
                                                       ". Restart the program to begin another")));
  }

  // ---- Of any thread

  void Print(absl::string_view line) const {
    if (options_.print) options_.print(line);
  }

  void SetClients(wire::ControlClient* control, wire::TransferClient* transfer) {
    MutexLock lock(mutex_);
    control_ = control;
    transfer_ = transfer;
  }

  absl::Status ended() const {
    MutexLock lock(mutex_);
    return ended_;
  }

  // Registers a call that waits for an answer; null once the session has ended.
  std::shared_ptr<PendingCall> NewCall(absl::Span<std::byte> destination, uint64_t& request) {
    MutexLock lock(mutex_);
    if (!ended_.ok()) return nullptr;
    request = next_request_++;
    auto call = std::make_shared<PendingCall>(destination);
    calls_[request] = call;
    return call;
  }

  // Waits until the session may run one more step with so many bytes of uploaded feeds.
  absl::Status WaitForTurn(uint64_t step, uint64_t feed_bytes) {
    MutexLock lock(mutex_);
    while (ended_.ok() &&
           (step - steps_done_ > options_.max_steps_ahead ||
            (feed_bytes_ > 0 && feed_bytes_ + feed_bytes > options_.max_feed_bytes_ahead))) {
      changed_.Wait(mutex_);
    }
    if (feed_bytes > 0) {
      feed_bytes_ += feed_bytes;
      feeds_.push_back({step, feed_bytes});
    }
    return ended_;
  }

  // Takes bytes to send when the server grants it; waits while too many wait.
  absl::Status AddUpload(ObjectId id, SharedBytes bytes) {
    MutexLock lock(mutex_);
    while (ended_.ok() && upload_bytes_ > 0 &&
           upload_bytes_ + bytes.bytes.size() > options_.max_upload_bytes_waiting) {
      changed_.Wait(mutex_);
    }
    if (!ended_.ok()) return ended_;
    upload_bytes_ += bytes.bytes.size();
    uploads_[id] = std::move(bytes);
    return absl::OkStatus();
  }

  // Before the session goes: waits until the uploads on their way have arrived.
  void WaitForUploads(std::chrono::steady_clock::time_point deadline) {
    MutexLock lock(mutex_);
    while (ended_.ok() && upload_bytes_ > 0) {
      if (!changed_.WaitUntil(mutex_, deadline)) return;
    }
  }

  uint64_t bytes_read() const { return bytes_read_.load(); }
  uint64_t device_bytes_in_use() const { return device_bytes_in_use_.load(); }
  uint64_t device_bytes_peak() const { return device_bytes_peak_.load(); }
  SessionInfo info() const {
    MutexLock lock(mutex_);
    return info_;
  }
  std::string accelerator() const {
    MutexLock lock(mutex_);
    return accelerator_;
  }
  uint64_t memory_bytes() const {
    MutexLock lock(mutex_);
    return memory_bytes_;
  }

  void End(const absl::Status& why) {
    absl::flat_hash_map<uint64_t, std::shared_ptr<PendingCall>> calls;
    {
      MutexLock lock(mutex_);
      if (!ended_.ok()) return;
      ended_ = why;
      calls.swap(calls_);
      uploads_.clear();
      upload_bytes_ = 0;
      changed_.NotifyAll();
    }
    for (const auto& [request, call] : calls) call->Finish(why);
  }

 private:
  struct FeedsOfStep {
    uint64_t step;
    uint64_t bytes;
  };

  static std::string NoticeLine(const proto::Notice& notice) {
    const absl::string_view level = notice.level() == proto::Notice::ERROR     ? "error"
                                    : notice.level() == proto::Notice::WARNING ? "warning"
                                                                               : "info";
    return absl::StrCat("[", level, "] ", notice.text());
  }

  std::shared_ptr<PendingCall> TakeCall(uint64_t request) {
    MutexLock lock(mutex_);
    const auto found = calls_.find(request);
    if (found == calls_.end()) return nullptr;
    std::shared_ptr<PendingCall> call = std::move(found->second);
    calls_.erase(found);
    return call;
  }

  void OnReadResult(const proto::ReadResult& result) {
    const std::shared_ptr<PendingCall> call = TakeCall(result.request());
    if (call == nullptr) return;
    const absl::Status status = wire::FromProto(result.status());
    if (!status.ok()) return call->Finish(status);
    const uint64_t size =
        result.has_ticket() ? result.ticket().bytes() : result.inline_bytes().size();
    if (size != call->destination.size()) {
      return call->Finish(absl::InvalidArgumentError(
          absl::StrCat("Reading a tensor of ", size, " bytes into a buffer of ",
                       call->destination.size(), " bytes")));
    }
    bytes_read_.fetch_add(size);
    if (!result.has_ticket()) {
      if (size > 0) std::memcpy(call->destination.data(), result.inline_bytes().data(), size);
      return call->Finish(absl::OkStatus());
    }
    const wire::Ticket ticket = wire::TicketFromProto(result.ticket());
    wire::TransferClient* const transfer = this->transfer();
    if (transfer == nullptr) return call->Finish(ended());
    transfer->Download(ticket, call->destination,
                       [this, call, id = ticket.id](const absl::Status& downloaded) {
                         call->Finish(downloaded);
                         SendTransferDone(id);
                       });
  }

  void OnUploadGrant(const proto::UploadGrant& grant) {
    SharedBytes bytes;
    {
      MutexLock lock(mutex_);
      const auto found = uploads_.find(grant.id());
      if (found == uploads_.end()) return;
      bytes = std::move(found->second);
      uploads_.erase(found);
    }
    const size_t size = bytes.bytes.size();
    wire::TransferClient* const transfer = this->transfer();
    // A refusal poisons the id at the server: whoever uses it is told.
    if (grant.status().code() != 0 || transfer == nullptr) return UploadEnded(size);
    const wire::Ticket ticket = wire::TicketFromProto(grant.ticket());
    transfer->Upload(ticket, {bytes.bytes, bytes.owner},
                     [this, size, id = ticket.id](const absl::Status& status) {
                       if (!status.ok() && !absl::IsCancelled(status)) {
                         Print(absl::StrCat("[error] ", status.message()));
                       }
                       UploadEnded(size);
                       SendTransferDone(id);
                     });
  }

  void UploadEnded(size_t size) {
    MutexLock lock(mutex_);
    upload_bytes_ -= std::min<uint64_t>(upload_bytes_, size);
    changed_.NotifyAll();
  }

  void OnStepsDone(uint64_t step) {
    MutexLock lock(mutex_);
    steps_done_ = std::max(steps_done_, step);
    while (!feeds_.empty() && feeds_.front().step <= steps_done_) {
      feed_bytes_ -= feeds_.front().bytes;
      feeds_.pop_front();
    }
    changed_.NotifyAll();
  }

  wire::TransferClient* transfer() const {
    MutexLock lock(mutex_);
    return transfer_;
  }

  void SendTransferDone(const std::string& ticket_id) {
    proto::ClientMessage message;
    message.mutable_transfer_done()->set_ticket_id(ticket_id);
    wire::ControlClient* control;
    {
      MutexLock lock(mutex_);
      control = ended_.ok() ? control_ : nullptr;
    }
    // An error means that the session has ended, which is told elsewhere.
    if (control != nullptr) control->Send(message.SerializeAsString()).IgnoreError();
  }

  const GrpcSessionOptions options_;
  std::string session_id_;        // of the connection's thread
  proto::ServerMessage message_;  // likewise; kept for its memory
  std::atomic<uint64_t> bytes_read_ = 0;
  // As the last answer to Synchronize says.
  std::atomic<uint64_t> device_bytes_in_use_ = 0;
  std::atomic<uint64_t> device_bytes_peak_ = 0;

  mutable Mutex mutex_;
  CondVar changed_;
  wire::ControlClient* control_ ABSL_GUARDED_BY(mutex_) = nullptr;
  wire::TransferClient* transfer_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Status ended_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_request_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::shared_ptr<PendingCall>> calls_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<ObjectId, SharedBytes> uploads_ ABSL_GUARDED_BY(mutex_);  // not granted yet
  uint64_t upload_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // waiting or on their way
  uint64_t steps_done_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t feed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // uploaded for steps that are not done
  std::deque<FeedsOfStep> feeds_ ABSL_GUARDED_BY(mutex_);
  SessionInfo info_ ABSL_GUARDED_BY(mutex_);
  std::string accelerator_ ABSL_GUARDED_BY(mutex_);
  uint64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

class GrpcSessionImpl : public GrpcSession {
 public:
  explicit GrpcSessionImpl(const GrpcSessionOptions& options)
      : options_(options),
        state_(std::make_shared<SharedState>(options)),
        transfer_({.shared_memory = options.shared_memory}) {}

  ~GrpcSessionImpl() override {
    if (control_ == nullptr) return;
    state_->WaitForUploads(std::chrono::steady_clock::now() + kCloseTimeout);
    {
      MutexLock lock(submit_mutex_);
      message_.Clear();
      message_.mutable_close();
      Send().IgnoreError();
    }
    state_->End(absl::UnavailableError("The session is closed"));
    state_->SetClients(nullptr, nullptr);
    control_->Close(kCloseTimeout);
  }

  absl::Status Connect() {
    wire::ControlClientOptions options;
    options.address = options_.address;
    options.method = kMethod;
    options.connect_timeout = options_.connect_timeout;
    options.wait_for_server = options_.wait_for_server;
    MOAI_ASSIGN_OR_RETURN(control_, wire::ControlClient::Connect(options, state_));
    state_->SetClients(control_.get(), &transfer_);
    return absl::OkStatus();
  }

  ObjectId NewIds(uint64_t count) override { return next_id_.fetch_add(count); }

  absl::Status Submit(StepRequest step) override {
    uint64_t uploaded = 0;
    for (const SharedBytes& feed : step.feeds) {
      if (feed.bytes.size() > kMaxInlineBytes) uploaded += feed.bytes.size();
    }
    MutexLock lock(submit_mutex_);
    MOAI_RETURN_IF_ERROR(state_->WaitForTurn(last_step_ + 1, uploaded));
    MOAI_RETURN_IF_ERROR(FlushReleases());
    if (encoder_.FirstUse(step.fingerprint)) MOAI_RETURN_IF_ERROR(Register(step));
    std::vector<ObjectId> feed_ids;
    for (const SharedBytes& feed : step.feeds) {
      if (feed.bytes.size() <= kMaxInlineBytes) continue;
      feed_ids.push_back(NewIds(1));
      const TensorType bytes{Dtype::kU8, {static_cast<int64_t>(feed.bytes.size())}};
      MOAI_RETURN_IF_ERROR(SendUpload(feed_ids.back(), bytes, feed));
    }
    message_.Clear();
    proto::Step& message = *message_.mutable_step();
    encoder_.Encode(step, ++last_step_, message);
    size_t next_id = 0;
    for (const SharedBytes& feed : step.feeds) {
      proto::Feed& out = *message.add_feeds();
      if (feed.bytes.size() > kMaxInlineBytes) {
        out.set_uploaded(feed_ids[next_id++]);
      } else {
        out.set_inline_bytes(feed.bytes.data(), feed.bytes.size());
        feed_bytes_sent_ += feed.bytes.size();
        control_bytes_sent_ -= feed.bytes.size();
      }
    }
    return Send();
  }

  absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) override {
    if (bytes.bytes.size() != static_cast<size_t>(type.bytes())) {
      return absl::InvalidArgumentError(absl::StrCat("Uploading ", bytes.bytes.size(), " bytes as ",
                                                     ToString(type), ", which has ", type.bytes()));
    }
    MutexLock lock(submit_mutex_);
    MOAI_RETURN_IF_ERROR(FlushReleases());
    return SendUpload(id, type, std::move(bytes));
  }

  void Release(absl::Span<const ObjectId> ids) override {
    MutexLock lock(submit_mutex_);
    released_.insert(released_.end(), ids.begin(), ids.end());
    if (released_.size() >= kMaxReleasesWaiting) FlushReleases().IgnoreError();
  }

  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override {
    uint64_t request = 0;
    const std::shared_ptr<PendingCall> call = state_->NewCall(destination, request);
    if (call == nullptr) return state_->ended();
    {
      MutexLock lock(submit_mutex_);
      ++blocking_round_trips_;
      MOAI_RETURN_IF_ERROR(FlushReleases());
      message_.Clear();
      message_.mutable_read()->set_request(request);
      message_.mutable_read()->set_id(id);
      MOAI_RETURN_IF_ERROR(Send());
    }
    return call->Wait();
  }

  absl::Status Synchronize() override {
    uint64_t request = 0;
    const std::shared_ptr<PendingCall> call = state_->NewCall({}, request);
    if (call == nullptr) return state_->ended();
    {
      MutexLock lock(submit_mutex_);
      ++blocking_round_trips_;
      MOAI_RETURN_IF_ERROR(FlushReleases());
      message_.Clear();
      message_.mutable_synchronize()->set_request(request);
      MOAI_RETURN_IF_ERROR(Send());
    }
    return call->Wait();
  }

  SessionStats stats() const override {
    const uint64_t reconnects = control_->stats().reconnects;
    MutexLock lock(submit_mutex_);
    return {.steps = last_step_,
            .graphs_registered = graphs_registered_,
            .control_bytes_sent = control_bytes_sent_,
            .feed_bytes_sent = feed_bytes_sent_,
            .bytes_read = state_->bytes_read(),
            .blocking_round_trips = blocking_round_trips_,
            .reconnects = reconnects,
            .device_bytes_in_use = state_->device_bytes_in_use(),
            .device_bytes_peak = state_->device_bytes_peak()};
  }

  std::string accelerator_name() const override { return state_->accelerator(); }
  uint64_t memory_bytes() const override { return state_->memory_bytes(); }
  SessionInfo info() const override { return state_->info(); }

 private:
  // Sends message_.
  absl::Status Send() ABSL_EXCLUSIVE_LOCKS_REQUIRED(submit_mutex_) {
    std::string bytes;
    message_.SerializeToString(&bytes);
    control_bytes_sent_ += bytes.size();
    absl::Status status = control_->Send(std::move(bytes));
    if (status.ok() || absl::IsInvalidArgument(status)) return status;
    const absl::Status ended = state_->ended();
    return ended.ok() ? absl::UnavailableError(status.message()) : ended;
  }

  absl::Status Register(const StepRequest& step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(submit_mutex_) {
    if (step.graph == nullptr) {
      return absl::InvalidArgumentError("The first step of a graph needs the graph");
    }
    message_.Clear();
    proto::RegisterGraph& registration = *message_.mutable_register_graph();
    registration.set_fingerprint_high(step.fingerprint.high);
    registration.set_fingerprint_low(step.fingerprint.low);
    registration.set_graph(SerializeGraph(*step.graph));
    ++graphs_registered_;
    return Send();
  }

  absl::Status SendUpload(ObjectId id, const TensorType& type, SharedBytes bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(submit_mutex_) {
    const size_t size = bytes.bytes.size();
    const bool inline_bytes = size <= kMaxInlineBytes;
    const absl::string_view content = AsText(bytes.bytes);
    message_.Clear();
    proto::Upload& upload = *message_.mutable_upload();
    upload.set_id(id);
    upload.set_dtype(static_cast<uint32_t>(type.dtype));
    upload.mutable_shape()->Assign(type.shape.begin(), type.shape.end());
    if (inline_bytes) {
      upload.set_inline_bytes(content.data(), content.size());
      control_bytes_sent_ -= size;
    } else {
      MOAI_RETURN_IF_ERROR(state_->AddUpload(id, std::move(bytes)));
    }
    feed_bytes_sent_ += size;
    return Send();
  }

  absl::Status FlushReleases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(submit_mutex_) {
    if (released_.empty()) return absl::OkStatus();
    std::sort(released_.begin(), released_.end());
    message_.Clear();
    AppendRanges(released_, message_.mutable_release()->mutable_ids());
    released_.clear();
    return Send();
  }

  const GrpcSessionOptions options_;
  const std::shared_ptr<SharedState> state_;
  std::atomic<ObjectId> next_id_ = 1;
  // Gone before the state, and the transfers before the connection that their ends are told on.
  std::unique_ptr<wire::ControlClient> control_;
  wire::TransferClient transfer_;

  mutable Mutex submit_mutex_;
  StepEncoder encoder_ ABSL_GUARDED_BY(submit_mutex_);
  proto::ClientMessage message_ ABSL_GUARDED_BY(submit_mutex_);  // kept for its memory
  std::vector<ObjectId> released_ ABSL_GUARDED_BY(submit_mutex_);
  uint64_t last_step_ ABSL_GUARDED_BY(submit_mutex_) = 0;
  uint64_t graphs_registered_ ABSL_GUARDED_BY(submit_mutex_) = 0;
  uint64_t control_bytes_sent_ ABSL_GUARDED_BY(submit_mutex_) = 0;
  uint64_t feed_bytes_sent_ ABSL_GUARDED_BY(submit_mutex_) = 0;
  uint64_t blocking_round_trips_ ABSL_GUARDED_BY(submit_mutex_) = 0;
};

}  // namespace

absl::StatusOr<std::shared_ptr<GrpcSession>> GrpcSession::Connect(
    const GrpcSessionOptions& options) {
  static const bool tuned = (wire::TuneProcessForConversations(), true);
  (void)tuned;
  auto session = std::make_shared<GrpcSessionImpl>(options);
  MOAI_RETURN_IF_ERROR(session->Connect());
  return session;
}

}  // namespace moai
