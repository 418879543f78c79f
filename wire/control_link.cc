#include "wire/control_link.h"

#include <chrono>
#include <utility>

#include "wire/status_proto.h"

namespace moai::wire {
namespace {

// How long a peer may take to read what is left when a link has ended.
constexpr std::chrono::seconds kLinger(5);

}  // namespace

ControlLink::ControlLink(std::shared_ptr<LinkEvents> events, const ReliableLimits& limits)
    : events_(std::move(events)), receiver_(limits), sender_(limits) {}

absl::Status ControlLink::Queue(std::string&& message) {
  MutexLock lock(mutex_);
  if (ended_.has_value()) {
    return ended_->ok() ? absl::FailedPreconditionError("The session is closed") : *ended_;
  }
  return sender_.Send(std::move(message));
}

void ControlLink::WaitForRoom() {
  MutexLock lock(mutex_);
  ++waiting_;
  while (!ended_.has_value() && !sender_.HasRoom()) changed_.Wait(mutex_);
  --waiting_;
}

bool ControlLink::WaitUntilSent(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  ++waiting_;
  bool in_time = true;
  while (in_time && !ended_.has_value() &&
         (stream_ == nullptr || writing_ || sender_.unsent() > 0)) {
    in_time = changed_.WaitUntil(mutex_, deadline);
  }
  --waiting_;
  return in_time;
}

bool ControlLink::WaitUntilDetached(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  ++waiting_;
  bool in_time = true;
  while (in_time && stream_ != nullptr) in_time = changed_.WaitUntil(mutex_, deadline);
  --waiting_;
  return in_time;
}

void ControlLink::Flush() {
  std::shared_ptr<RawStream> stream;
  std::string frame;
  {
    MutexLock lock(mutex_);
    if (stream_ == nullptr || writing_ || !NextFrame(frame)) return;
    writing_ = true;
    stream = stream_;
  }
  bytes_sent_.fetch_add(frame.size(), std::memory_order_relaxed);
  frames_sent_.fetch_add(1, std::memory_order_relaxed);
  stream->Write(CopyToBuffer(frame));
}

bool ControlLink::NextFrame(std::string& frame) {
  if (closing_sent_) return false;
  const uint64_t taken = this->taken();
  const bool first = !opening_.empty();
  const bool closing = tell_peer_ && sender_.unsent() == 0;
  const bool due =
      taken - acknowledged_ >= kAcknowledgeMessages || bytes_taken_ >= kAcknowledgeBytes;
  if (!first && !closing && !due && sender_.unsent() == 0) return false;
  if (first) AppendOpening(opening_, frame);
  opening_.clear();
  // The first frame of a connection acknowledges even what it did before.
  if (first || taken != acknowledged_) AppendAcknowledged(taken, frame);
  acknowledged_ = taken;
  bytes_taken_ = 0;
  sender_.Fill(frame);
  if (tell_peer_ && sender_.unsent() == 0) {
    AppendClosed(SerializeStatus(*ended_), frame);
    closing_sent_ = true;
  }
  return true;
}

absl::Status ControlLink::Attach(const std::shared_ptr<RawStream>& stream,
                                 uint64_t peer_acknowledged, std::string opening) {
  std::shared_ptr<RawStream> previous;
  {
    MutexLock receive_lock(receive_mutex_);
    MutexLock lock(mutex_);
    if (ended_.has_value()) {
      return absl::NotFoundError("The session has ended");
    }
    MOAI_RETURN_IF_ERROR(sender_.Reconnect(peer_acknowledged));
    WakeWaiters();
    previous = std::move(stream_);
    stream_ = stream;
    poller_ = stream->poller();
    opening_ = std::move(opening);
    writing_ = stream->writing();
    stream->SetOwner(shared_from_this());
  }
  if (previous != nullptr) previous->Cancel();
  Flush();
  MutexLock receive_lock(receive_mutex_);
  if (events_ != nullptr) events_->OnAttached();
  return absl::OkStatus();
}

bool ControlLink::IsCurrent(const RawStream& stream) const {
  MutexLock lock(mutex_);
  return stream_.get() == &stream;
}

void ControlLink::OnMessage(RawStream& stream, const grpc::ByteBuffer& message) {
  WithContiguousBytes(message, [&](absl::string_view bytes) {
    const absl::Status parsed = ParseFrame(bytes, frame_);
    if (!parsed.ok()) {
      if (IsCurrent(stream)) End(parsed);
      return;
    }
    {
      MutexLock lock(mutex_);
      bytes_taken_ += bytes.size();
    }
    Take(stream, frame_);
  });
}

void ControlLink::Take(RawStream& stream, const FrameView& frame) {
  frames_received_.fetch_add(1, std::memory_order_relaxed);
  stream.poller()->NoteMessages(frame.messages.size());
  absl::Status status;
  {
    MutexLock receive_lock(receive_mutex_);
    {
      MutexLock lock(mutex_);
      if (stream_.get() != &stream) return;  // a later connection has taken over
      status = sender_.Acknowledge(frame.acknowledged);
      WakeWaiters();
      if (ended_.has_value()) {
        // Both ends closed at once.
        if (frame.has_closed) stream.Finish(absl::OkStatus());
        return;
      }
    }
    if (status.ok() && events_ != nullptr) {
      LinkEvents* const events = events_.get();
      status = receiver_.OnFrame(
          frame, [events](absl::string_view message) { return events->OnMessage(message); });
      taken_.store(receiver_.taken(), std::memory_order_release);
      if (!frame.messages.empty()) events_->OnFrameEnd();
    }
  }
  if (!status.ok()) {
    End(status);
  } else if (frame.has_closed) {
    EndQuietly(ParseStatus(frame.closed));
  } else {
    Flush();
  }
}

void ControlLink::OnWritten(RawStream& stream) {
  {
    MutexLock lock(mutex_);
    if (stream_.get() != &stream) return;
    writing_ = false;
    WakeWaiters();
  }
  Flush();
}

void ControlLink::OnClosed(RawStream& stream, const absl::Status& why) {
  {
    MutexLock lock(mutex_);
    if (stream_.get() != &stream) return;
    stream_ = nullptr;
    writing_ = false;
    WakeWaiters();
    if (ended_.has_value()) return;
  }
  MutexLock receive_lock(receive_mutex_);
  if (events_ != nullptr) events_->OnDetached(why);
}

void ControlLink::End(const absl::Status& why, bool tell_peer) {
  std::shared_ptr<RawStream> stream;
  std::shared_ptr<Poller> poller;
  {
    MutexLock lock(mutex_);
    if (ended_.has_value()) return;
    ended_ = why;
    tell_peer_ = tell_peer;
    stream = stream_;
    poller = poller_;
    WakeWaiters();
  }
  if (stream != nullptr) {
    if (tell_peer) {
      Flush();
      // The peer hangs up when it has read the closing frame; one that does not is cut off.
      poller->RunAfter(kLinger, [weak = std::weak_ptr<RawStream>(stream)](bool) {
        if (const std::shared_ptr<RawStream> late = weak.lock()) late->Cancel();
      });
    } else {
      stream->Finish(absl::OkStatus());
    }
  }
  if (poller == nullptr) {
    NotifyEnded();
  } else {
    poller->RunSoon([self = shared_from_this()](bool) { self->NotifyEnded(); });
  }
}

void ControlLink::NotifyEnded() {
  absl::Status why;
  {
    MutexLock lock(mutex_);
    why = *ended_;
  }
  std::shared_ptr<LinkEvents> events;
  MutexLock lock(receive_mutex_);
  events = std::move(events_);
  events_ = nullptr;
  if (events != nullptr) events->OnEnded(why);
}

void ControlLink::RunAfter(std::chrono::milliseconds delay, std::function<void(bool)> task) {
  std::shared_ptr<Poller> poller;
  {
    MutexLock lock(mutex_);
    poller = poller_;
  }
  if (poller != nullptr) poller->RunAfter(delay, std::move(task));
}

bool ControlLink::connected() const {
  MutexLock lock(mutex_);
  return stream_ != nullptr;
}

bool ControlLink::ended() const {
  MutexLock lock(mutex_);
  return ended_.has_value();
}

size_t ControlLink::queued_bytes() const {
  MutexLock lock(mutex_);
  return sender_.queued_bytes();
}

void ControlLink::CancelStream() {
  std::shared_ptr<RawStream> stream;
  {
    MutexLock lock(mutex_);
    stream = stream_;
  }
  if (stream != nullptr) stream->Cancel();
}

}  // namespace moai::wire
