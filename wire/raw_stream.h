// A bidirectional gRPC stream of byte buffers, at either end: what control streams and transfers
// are made of. No message is parsed here, so that bulk bytes are never copied.
//
// Includes gRPC: for .cc files of wire/ only.
#ifndef MOAI_WIRE_RAW_STREAM_H_
#define MOAI_WIRE_RAW_STREAM_H_

#include <grpcpp/channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "wire/poller.h"

namespace moai::wire {

class RawStream;

// Who takes the events of a stream: on its poller's thread, one at a time.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) = 0;
  // The stream has taken the last Write; the next may start.
  virtual void OnWritten(RawStream& stream) = 0;
  // The last call. At the connecting end `why` is what the peer finished with.
  virtual void OnClosed(RawStream& stream, const absl::Status& why) = 0;
};

// Write, Finish and Cancel may be called from any thread.
class RawStream : public std::enable_shared_from_this<RawStream> {
 public:
  // Calls `method` over `channel` and writes the first message. Returns at once; a failure to
  // connect closes the stream.
  static std::shared_ptr<RawStream> Open(std::shared_ptr<grpc::Channel> channel,
                                         const std::string& method, std::shared_ptr<Poller> poller,
                                         std::shared_ptr<StreamOwner> owner,
                                         const grpc::ByteBuffer& first_message);

  virtual ~RawStream() { poller_->StreamEnded(); }

  // On the poller's thread, or before the first event.
  void SetOwner(std::shared_ptr<StreamOwner> owner) { owner_ = std::move(owner); }

  // Sends one message. One write at a time: OnWritten allows the next. Does nothing on a stream
  // that is closing: OnClosed will say so.
  void Write(const grpc::ByteBuffer& message);

  // Whether OnWritten is still to come.
  bool writing() ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends the stream after the write in progress. The connecting end just cancels.
  virtual void Finish(const absl::Status& status) = 0;

  // Breaks the stream now.
  virtual void Cancel() = 0;

  // Whether to take messages. While paused, the peer is held back by flow control. On the poller's
  // thread.
  void PauseReads() { paused_ = true; }
  void ResumeReads();

  // "ipv4:127.0.0.1:4711".
  virtual std::string peer_address() const = 0;
  // Of a verified TLS certificate; else empty.
  virtual std::string peer_identity() const { return {}; }

  const std::shared_ptr<Poller>& poller() const { return poller_; }

 protected:
  // One operation in flight, as a tag.
  class Operation : public Completion {
   public:
    using Method = void (RawStream::*)(bool ok);
    Operation(RawStream* stream, Method method) : stream_(stream), method_(method) {}
    void OnComplete(bool ok) override { (stream_->*method_)(ok); }
    void* tag() { return static_cast<Completion*>(this); }

   private:
    RawStream* const stream_;
    const Method method_;
  };

  explicit RawStream(std::shared_ptr<Poller> poller) : poller_(std::move(poller)) {
    poller_->StreamBegan();
  }

  // What differs between the ends.
  virtual void StartRead(grpc::ByteBuffer* message, void* tag) = 0;
  virtual void StartWrite(const grpc::ByteBuffer& message, void* tag) = 0;
  // Called once, when no write is in flight and no more will start.
  virtual void StartFinish(void* tag) = 0;
  virtual absl::Status FinalStatus() const = 0;

  // Counts an operation in; the matching completion calls Ended.
  void Began() ABSL_LOCKS_EXCLUDED(mutex_);
  // Arms the first read. On the poller's thread or before the first event.
  void Arm();
  // The same with a first write before it, from any thread.
  void WriteAndArm(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);
  // No more writes; finishes the stream once none is in flight.
  void StopWriting() ABSL_LOCKS_EXCLUDED(mutex_);
  // Closes the stream when the last operation has ended. May delete this.
  void Ended() ABSL_LOCKS_EXCLUDED(mutex_);
  // The stream lives while it has operations.
  void KeepAlive() { self_ = shared_from_this(); }

 private:
  void OnRead(bool ok);
  void OnWrite(bool ok);
  void OnFinish(bool ok);

  const std::shared_ptr<Poller> poller_;
  std::shared_ptr<StreamOwner> owner_;
  std::shared_ptr<RawStream> self_;
  grpc::ByteBuffer incoming_;
  bool paused_ = false;   // of the poller's thread, as is the next
  bool reading_ = false;  // a read is in flight
  Operation read_{this, &RawStream::OnRead};
  Operation write_{this, &RawStream::OnWrite};
  Operation finish_{this, &RawStream::OnFinish};

  Mutex mutex_;
  int operations_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;    // no new write may start
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;  // StartFinish has been called
};

// Takes new streams of one method at a server. On pollers' threads, several at once.
class StreamAcceptor {
 public:
  virtual ~StreamAcceptor() = default;
  // Returns the owner of the stream, which may be kept and used from then on.
  virtual std::shared_ptr<StreamOwner> OnStream(const std::shared_ptr<RawStream>& stream) = 0;
};

// Called with each new stream of a server, on the poller's thread: its method and itself.
class StreamRouter {
 public:
  virtual ~StreamRouter() = default;
  // Null refuses the stream.
  virtual std::shared_ptr<StreamOwner> Route(const std::string& method,
                                             const std::shared_ptr<RawStream>& stream) = 0;
};

// Waits for the next stream on a server's queue, hands it to the router, and waits again until the
// server shuts down.
void AcceptStreams(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
                   std::shared_ptr<Poller> poller, StreamRouter* router);

absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

// Calls visit(string_view) for the bytes of `message` as one piece, copied only if they came in
// more.
template <typename Visit>
void WithContiguousBytes(const grpc::ByteBuffer& message, Visit&& visit) {
  grpc::Slice slice;
  grpc::ByteBuffer copy(message);  // counts references only
  if (!copy.TrySingleSlice(&slice).ok() && !copy.DumpToSingleSlice(&slice).ok()) {
    visit(absl::string_view());
    return;
  }
  visit(absl::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()));
}

// A buffer with a copy of `bytes`.
inline grpc::ByteBuffer CopyToBuffer(absl::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace moai::wire

#endif  // MOAI_WIRE_RAW_STREAM_H_
