// What both ends of a control stream have in common: a reliable stream in each direction over
// whatever connection is attached. Frames go out one at a time; what is sent meanwhile leaves in
// the next one, so that messages are packed under load and flushed at once when idle.
//
// Includes gRPC: for .cc files of wire/ only.
#ifndef MOAI_WIRE_CONTROL_LINK_H_
#define MOAI_WIRE_CONTROL_LINK_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "wire/raw_stream.h"
#include "wire/reliable_stream.h"

namespace moai::wire {

// Calls come one at a time, with the receiving lock held, on the poller's thread.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  virtual absl::Status OnMessage(absl::string_view message) = 0;
  virtual void OnFrameEnd() = 0;
  // A connection has been attached, the first or a later one.
  virtual void OnAttached() = 0;
  // The attached connection broke.
  virtual void OnDetached(const absl::Status& why) = 0;
  // The last call.
  virtual void OnEnded(const absl::Status& why) = 0;
};

class ControlLink : public StreamOwner, public std::enable_shared_from_this<ControlLink> {
 public:
  ControlLink(std::shared_ptr<LinkEvents> events, const ReliableLimits& limits);

  // Takes a message; an error leaves it alone, and is why the link ended, or ResourceExhausted for
  // a full queue.
  absl::Status Queue(std::string&& message) ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for room in the queue, or the end.
  void WaitForRoom() ABSL_LOCKS_EXCLUDED(mutex_);
  // Wait until everything queued has gone out on a connection, or until there is no connection;
  // false when the deadline passed first.
  bool WaitUntilSent(std::chrono::steady_clock::time_point deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  bool WaitUntilDetached(std::chrono::steady_clock::time_point deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Writes a frame if the stream is idle and there is something to say.
  void Flush() ABSL_LOCKS_EXCLUDED(mutex_);

  // Uses a connection whose opening frame has been taken; `peer_acknowledged` came in it. The link
  // becomes the stream's owner, and takes a previous connection's place. `opening` goes out in the
  // first frame. On the stream's poller thread.
  absl::Status Attach(const std::shared_ptr<RawStream>& stream, uint64_t peer_acknowledged,
                      std::string opening);
  // The messages of the opening frame.
  void TakeFrame(RawStream& stream, const FrameView& frame) { Take(stream, frame); }

  // Ends the link for good, telling the peer after what is queued. OnEnded follows on the poller.
  void End(const absl::Status& why) { End(why, /*tell_peer=*/true); }
  // The same, where the peer knows already or cannot be told.
  void EndQuietly(const absl::Status& why) { End(why, /*tell_peer=*/false); }

  // Runs a task on the poller of the last connection (Poller::RunAfter).
  void RunAfter(std::chrono::milliseconds delay, std::function<void(bool)> task)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The last message taken: what an opening frame acknowledges.
  uint64_t taken() const { return taken_.load(std::memory_order_acquire); }
  bool connected() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_);
  size_t queued_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Breaks the connection, if there is one.
  void CancelStream() ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t bytes_sent() const { return bytes_sent_.load(std::memory_order_relaxed); }
  uint64_t frames_sent() const { return frames_sent_.load(std::memory_order_relaxed); }
  uint64_t frames_received() const { return frames_received_.load(std::memory_order_relaxed); }

  void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) override;
  void OnWritten(RawStream& stream) override;
  void OnClosed(RawStream& stream, const absl::Status& why) override;

 private:
  // Acknowledge at the latest after so much, where nothing else is sent.
  static constexpr uint64_t kAcknowledgeMessages = 64;
  static constexpr uint64_t kAcknowledgeBytes = 256 << 10;

  void Take(RawStream& stream, const FrameView& frame) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const absl::Status& why, bool tell_peer) ABSL_LOCKS_EXCLUDED(mutex_);
  void NotifyEnded();
  void WakeWaiters() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (waiting_ > 0) changed_.NotifyAll();
  }
  // The next frame into `frame`; false if there is nothing to say.
  bool NextFrame(std::string& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsCurrent(const RawStream& stream) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Held while the other end's messages are delivered; taken before mutex_.
  Mutex receive_mutex_;
  std::shared_ptr<LinkEvents> events_ ABSL_GUARDED_BY(receive_mutex_);
  ReliableReceiver receiver_ ABSL_GUARDED_BY(receive_mutex_);
  FrameView frame_;  // of the attached stream's poller thread
  std::atomic<uint64_t> taken_ = 0;
  std::atomic<uint64_t> bytes_sent_ = 0;
  std::atomic<uint64_t> frames_sent_ = 0;
  std::atomic<uint64_t> frames_received_ = 0;

  mutable Mutex mutex_;
  ReliableSender sender_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<RawStream> stream_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Poller> poller_ ABSL_GUARDED_BY(mutex_);
  std::string opening_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;  // the last one written
  uint64_t bytes_taken_ ABSL_GUARDED_BY(mutex_) = 0;   // since the last one written
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  CondVar changed_;  // notified only where somebody is waiting
  std::optional<absl::Status> ended_ ABSL_GUARDED_BY(mutex_);
  bool tell_peer_ ABSL_GUARDED_BY(mutex_) = false;  // a closing frame is to be written
  bool closing_sent_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_CONTROL_LINK_H_
