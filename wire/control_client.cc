#include "wire/control_client.h"

#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "wire/channel.h"
#include "wire/control_link.h"
#include "wire/poller.h"
#include "wire/raw_stream.h"
#include "wire/status_proto.h"

namespace moai::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kHandshakeTimeout(10);
constexpr std::chrono::milliseconds kFirstRetry(10);
constexpr std::chrono::milliseconds kLastRetry(1000);

// Whether a later attempt may succeed where this one failed.
bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kOk:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Threads: Begin and the stream's events are of the poller's thread, which also owns all fields
// that no mutex guards.
class ControlClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const ControlClientOptions& options, std::shared_ptr<ControlClientHandler> handler)
      : options_(options),
        handler_(std::move(handler)),
        poller_(std::make_shared<Poller>(std::make_unique<grpc::CompletionQueue>())) {}

  absl::Status Connect();
  void Stop();

  ControlLink& link() { return *link_; }
  bool OnHandlerThread() const { return poller_->OnThisThread(); }
  ControlClientStats stats() const {
    return {.bytes_sent = link_->bytes_sent(),
            .frames_sent = link_->frames_sent(),
            .frames_received = link_->frames_received(),
            .reconnects = reconnects_.load()};
  }

 private:
  class Events;
  class Handshake;

  void Begin();
  // The welcome has come on `stream`.
  void Welcomed(RawStream& stream, const FrameView& frame);
  // An attempt failed, or the connection broke.
  void Failed(const absl::Status& why, bool for_good);
  void Detached(const absl::Status& why);
  void Report(const absl::Status& first_result);

  const ControlClientOptions options_;
  const std::shared_ptr<ControlClientHandler> handler_;
  const std::shared_ptr<Poller> poller_;
  std::shared_ptr<ControlLink> link_;
  std::atomic<uint64_t> reconnects_ = 0;

  // Of the poller's thread.
  bool attached_once_ = false;
  Clock::time_point give_up_;
  std::chrono::milliseconds retry_ = kFirstRetry;
  std::chrono::milliseconds lease_{0};
  std::minstd_rand random_{std::random_device()()};

  Mutex mutex_;
  CondVar reported_;
  std::optional<absl::Status> result_ ABSL_GUARDED_BY(mutex_);  // of the first connection
  std::weak_ptr<RawStream> connecting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

// From the link to the client. Weak: the client owns the link.
class ControlClient::Impl::Events : public LinkEvents {
 public:
  explicit Events(const std::shared_ptr<Impl>& impl) : handler_(impl->handler_), impl_(impl) {}

  absl::Status OnMessage(absl::string_view message) override {
    return handler_->OnMessage(message);
  }
  void OnFrameEnd() override { handler_->OnFrameEnd(); }
  void OnAttached() override {
    if (attached_) handler_->OnResumed();
    attached_ = true;
  }
  void OnDetached(const absl::Status& why) override {
    handler_->OnDisconnected(why);
    if (const std::shared_ptr<Impl> impl = impl_.lock()) impl->Detached(why);
  }
  void OnEnded(const absl::Status& why) override { handler_->OnEnded(why); }

 private:
  const std::shared_ptr<ControlClientHandler> handler_;
  const std::weak_ptr<Impl> impl_;
  bool attached_ = false;
};

// Owns a stream until the welcome has come.
class ControlClient::Impl::Handshake : public StreamOwner {
 public:
  explicit Handshake(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) override {
    WithContiguousBytes(message, [&](absl::string_view bytes) {
      FrameView frame;
      absl::Status status = ParseFrame(bytes, frame);
      if (status.ok() && frame.has_closed && !frame.has_opening) {
        status = ParseStatus(frame.closed);
        if (status.ok()) status = absl::UnavailableError("The server closed the session");
      } else if (status.ok() && !frame.has_opening) {
        status = absl::InternalError(
            "The server's first frame has no welcome: is this address that of a moai server?");
      }
      if (!status.ok()) {
        refusal_ = status;
        stream.Cancel();
        return;
      }
      impl_->Welcomed(stream, frame);
    });
  }
  void OnWritten(RawStream& /*stream*/) override {}
  void OnClosed(RawStream& /*stream*/, const absl::Status& why) override {
    if (refusal_.has_value()) {
      impl_->Failed(*refusal_, /*for_good=*/true);
    } else {
      impl_->Failed(why, /*for_good=*/!IsTransient(why));
    }
  }

 private:
  const std::shared_ptr<Impl> impl_;
  std::optional<absl::Status> refusal_;
};

absl::Status ControlClient::Impl::Connect() {
  link_ =
      std::make_shared<ControlLink>(std::make_shared<Events>(shared_from_this()), options_.limits);
  give_up_ = Clock::now() + options_.connect_timeout;
  poller_->RunSoon([self = shared_from_this()](bool running) {
    if (running) self->Begin();
  });
  MutexLock lock(mutex_);
  while (!result_.has_value()) {
    if (!reported_.WaitUntil(mutex_, Clock::now() + options_.connect_timeout + kHandshakeTimeout)) {
      return absl::DeadlineExceededError(
          absl::StrCat("No answer from the server at ", options_.address));
    }
  }
  return *result_;
}

void ControlClient::Impl::Begin() {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
  }
  if (link_->ended()) return;
  std::string frame;
  AppendOpening(handler_->Hello(), frame);
  AppendAcknowledged(link_->taken(), frame);
  const std::shared_ptr<RawStream> stream =
      RawStream::Open(OpenChannel(options_.address), options_.method, poller_,
                      std::make_shared<Handshake>(shared_from_this()), CopyToBuffer(frame));
  {
    MutexLock lock(mutex_);
    connecting_ = stream;
  }
  const auto patience = std::min<Clock::duration>(kHandshakeTimeout, give_up_ - Clock::now());
  poller_->RunAfter(std::chrono::duration_cast<std::chrono::milliseconds>(patience),
                    [self = shared_from_this(), weak = std::weak_ptr<RawStream>(stream)](bool) {
                      // Still the attempt in progress: nobody has answered.
                      const std::shared_ptr<RawStream> late = weak.lock();
                      MutexLock lock(self->mutex_);
                      if (late != nullptr && self->connecting_.lock() == late) late->Cancel();
                    });
}

void ControlClient::Impl::Welcomed(RawStream& stream, const FrameView& frame) {
  {
    MutexLock lock(mutex_);
    connecting_.reset();
  }
  absl::StatusOr<std::chrono::milliseconds> lease = handler_->OnWelcome(frame.opening);
  absl::Status status = lease.status();
  if (status.ok()) {
    lease_ = *lease;
    retry_ = kFirstRetry;
    if (attached_once_) reconnects_.fetch_add(1);
    attached_once_ = true;
    status = link_->Attach(stream.shared_from_this(), frame.acknowledged, /*opening=*/{});
  }
  if (!status.ok()) {
    stream.Cancel();
    link_->EndQuietly(status);
  } else if (!frame.messages.empty() || frame.has_closed) {
    link_->TakeFrame(stream, frame);
  }
  Report(status);
}

void ControlClient::Impl::Detached(const absl::Status& /*why*/) {
  give_up_ = Clock::now() + lease_;
  retry_ = kFirstRetry;
  poller_->RunSoon([self = shared_from_this()](bool running) {
    if (running) self->Begin();
  });
}

void ControlClient::Impl::Failed(const absl::Status& why, bool for_good) {
  const bool first = !attached_once_;
  const bool patient = !first || options_.wait_for_server;
  if (for_good || !patient || Clock::now() + retry_ >= give_up_) {
    const absl::string_view what = first      ? "Cannot connect to the server at "
                                   : for_good ? "The session cannot be resumed at "
                                              : "The connection was lost for longer than the "
                                                "session's lease; no answer from ";
    const bool silent = why.ok() || absl::IsCancelled(why);  // the timer has given up
    const absl::Status status(
        for_good ? why.code() : absl::StatusCode::kUnavailable,
        absl::StrCat(what, options_.address, ": ", silent ? "it does not answer" : why.message()));
    link_->EndQuietly(status);
    Report(status);
    return;
  }
  // Up to a quarter more, so that many clients of a restarted server do not come at once.
  const auto delay = retry_ + retry_ * (random_() % 256) / 1024;
  retry_ = std::min(2 * retry_, kLastRetry);
  poller_->RunAfter(std::chrono::duration_cast<std::chrono::milliseconds>(delay),
                    [self = shared_from_this()](bool running) {
                      if (running) self->Begin();
                    });
}

void ControlClient::Impl::Report(const absl::Status& first_result) {
  MutexLock lock(mutex_);
  if (!result_.has_value()) result_ = first_result;
  reported_.NotifyAll();
}

void ControlClient::Impl::Stop() {
  link_->EndQuietly(absl::OkStatus());
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (const std::shared_ptr<RawStream> stream = connecting_.lock()) stream->Cancel();
  }
  link_->CancelStream();
  poller_->Shutdown();
}

ControlClient::ControlClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlClient::~ControlClient() {
  if (!impl_->link().ended()) {
    Close(std::chrono::seconds(1));
  }
  impl_->Stop();
}

absl::StatusOr<std::unique_ptr<ControlClient>> ControlClient::Connect(
    const ControlClientOptions& options, std::shared_ptr<ControlClientHandler> handler) {
  MOAI_RETURN_IF_ERROR(CheckAddress(options.address));
  auto impl = std::make_shared<Impl>(options, std::move(handler));
  const absl::Status status = impl->Connect();
  if (!status.ok()) {
    impl->Stop();
    return status;
  }
  return std::unique_ptr<ControlClient>(new ControlClient(std::move(impl)));
}

absl::Status ControlClient::Queue(std::string message) {
  if (impl_->OnHandlerThread()) return impl_->link().Queue(std::move(message));
  while (true) {
    // Leaves the message alone if there is no room.
    absl::Status status = impl_->link().Queue(std::move(message));
    if (!absl::IsResourceExhausted(status)) return status;
    impl_->link().Flush();
    impl_->link().WaitForRoom();
  }
}

absl::Status ControlClient::Send(std::string message) {
  MOAI_RETURN_IF_ERROR(Queue(std::move(message)));
  impl_->link().Flush();
  return absl::OkStatus();
}

void ControlClient::Flush() { impl_->link().Flush(); }

void ControlClient::Close(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  impl_->link().Flush();
  if (impl_->link().WaitUntilSent(deadline)) {
    impl_->link().End(absl::OkStatus());
    impl_->link().WaitUntilDetached(deadline);
  }
  impl_->Stop();
}

bool ControlClient::connected() const { return impl_->link().connected(); }

ControlClientStats ControlClient::stats() const { return impl_->stats(); }

}  // namespace moai::wire
