#include "wire/transfer_client.h"

#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "proto/transfer.pb.h"
#include "wire/channel.h"
#include "wire/host_memory.h"
#include "wire/poller.h"
#include "wire/raw_stream.h"
#include "wire/shared_memory.h"
#include "wire/status_proto.h"
#include "wire/transfer_stream.h"

namespace moai::wire {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstRetry(10);
constexpr std::chrono::milliseconds kLastRetry(1000);
// Segments kept for the next transfer.
constexpr size_t kIdleSegments = 2;

bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kOk:  // the peer hung up in the middle
      return true;
    default:
      return false;
  }
}

}  // namespace

class TransferClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  explicit Impl(const TransferClientOptions& options) : options_(options) {}

  class Transfer;
  class Attempt;

  void Start(std::shared_ptr<Transfer> transfer);
  void Stop();

  std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
    MutexLock lock(mutex_);
    std::shared_ptr<grpc::Channel>& channel = channels_[address];
    if (channel == nullptr) channel = OpenChannel(address);
    return channel;
  }
  // After a broken connection: gRPC would wait a second before it tries the same channel again.
  void ForgetChannel(const std::string& address) {
    MutexLock lock(mutex_);
    channels_.erase(address);
  }

  std::unique_ptr<SharedSegment> TakeSegment() {
    {
      MutexLock lock(mutex_);
      if (!segments_.empty()) {
        std::unique_ptr<SharedSegment> segment = std::move(segments_.back());
        segments_.pop_back();
        return segment;
      }
    }
    auto created = SharedSegment::Create();
    return created.ok() ? *std::move(created) : nullptr;
  }
  void ReturnSegment(std::unique_ptr<SharedSegment> segment) {
    MutexLock lock(mutex_);
    if (segments_.size() < kIdleSegments) segments_.push_back(std::move(segment));
  }

  bool shared_memory() const { return options_.shared_memory; }
  uint64_t min_shared_memory_bytes() const { return options_.min_shared_memory_bytes; }
  const std::shared_ptr<Poller>& poller() const { return poller_; }
  CopyThread& copies() { return copies_; }

  bool stopping() const {
    MutexLock lock(mutex_);
    return stopping_;
  }
  // Keeps track of streams, so that Stop can cancel them. False while stopping.
  bool Track(const std::shared_ptr<RawStream>& stream) {
    MutexLock lock(mutex_);
    if (!stopping_) streams_.insert(stream);
    return !stopping_;
  }
  void Untrack(RawStream& stream) {
    MutexLock lock(mutex_);
    streams_.erase(stream.shared_from_this());
  }

  std::atomic<uint64_t> bytes_uploaded = 0;
  std::atomic<uint64_t> bytes_downloaded = 0;
  std::atomic<uint64_t> shared_memory_transfers = 0;
  std::atomic<uint64_t> resumed = 0;

 private:
  const TransferClientOptions options_;
  const std::shared_ptr<Poller> poller_ =
      std::make_shared<Poller>(std::make_unique<grpc::CompletionQueue>());
  CopyThread copies_;
  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<grpc::Channel>> channels_
      ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<SharedSegment>> segments_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<std::shared_ptr<RawStream>> streams_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

// One Upload or Download, over as many connections as it takes. Of the poller's thread, except
// where a copy is in progress.
class TransferClient::Impl::Transfer : public std::enable_shared_from_this<Transfer> {
 public:
  Transfer(std::shared_ptr<Impl> impl, Ticket t, ByteSource s, absl::Span<std::byte> d, Done done)
      : ticket(std::move(t)),
        source(std::move(s)),
        destination(d),
        impl_(std::move(impl)),
        done_(std::move(done)) {}

  void Connect();
  // A connection ended without completing the transfer.
  void Broken(const absl::Status& why);
  void Complete(const absl::Status& status) {
    source = {};
    const Done done = std::exchange(done_, nullptr);
    if (done) done(status);
  }
  bool complete() const { return done_ == nullptr; }

  const Ticket ticket;
  ByteSource source;
  const absl::Span<std::byte> destination;
  uint64_t offset = 0;  // both sides have everything before
  size_t chunk_bytes = kChunkBytes;
  bool try_shared_memory = true;

 private:
  const std::shared_ptr<Impl> impl_;
  Done done_;
  const Clock::time_point deadline_ = Clock::now() + ticket.expires;
  std::chrono::milliseconds retry_ = kFirstRetry;
  size_t next_address_ = 0;
  uint64_t last_offset_ = 0;
  int connections_ = 0;
};

// One connection of a transfer.
class TransferClient::Impl::Attempt : public StreamOwner,
                                      public std::enable_shared_from_this<Attempt> {
 public:
  Attempt(std::shared_ptr<Impl> impl, std::shared_ptr<Transfer> transfer)
      : impl_(std::move(impl)),
        transfer_(std::move(transfer)),
        upload_(transfer_->ticket.upload),
        total_(transfer_->ticket.bytes),
        position_(transfer_->offset) {}

  ~Attempt() override {
    if (segment_ != nullptr) impl_->ReturnSegment(std::move(segment_));
  }

  // The header, with a segment where the peer may be on this host.
  std::string Header(const std::string& address, bool resume) {
    proto::TransferHeader header;
    header.set_ticket_id(transfer_->ticket.id);
    if (!upload_ && transfer_->chunk_bytes < kChunkBytes) {
      header.set_chunk_bytes(static_cast<uint32_t>(transfer_->chunk_bytes));
    }
    if (upload_ && resume) {
      header.set_resume(true);
    } else {
      header.set_offset(position_);
      header.set_bytes(total_ - position_);
    }
    if (impl_->shared_memory() && transfer_->try_shared_memory &&
        total_ - position_ >= impl_->min_shared_memory_bytes() && IsLocalAddress(address)) {
      segment_ = impl_->TakeSegment();
    }
    if (segment_ != nullptr) {
      segment_->Prepare(transfer_->ticket.id);
      header.set_host_id(HostId());
      header.set_shared_memory(segment_->name());
    } else {
      chunks_ = upload_ && !resume;
    }
    return header.SerializeAsString();
  }

  void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) override {
    if (over_) return;
    absl::Status status;
    if (upload_ || !replied_) {
      WithContiguousBytes(message,
                          [&](absl::string_view bytes) { status = TakeReply(stream, bytes); });
    } else if (copying_) {
      // The copy failed at the other end.
    } else {
      ForEachPiece(message, [&](absl::Span<const std::byte> piece) {
        status = TakePiece(piece);
        return status.ok();
      });
    }
    if (!status.ok()) {
      error_ = status;
      stream.Cancel();
    } else if (!copying_ && replied_ && (upload_ ? acknowledged_ : position_) == total_) {
      Succeed(stream);
    }
  }

  void OnWritten(RawStream& stream) override {
    if (!chunks_ || over_) return;
    if (position_ == total_) return;
    const size_t size = std::min<uint64_t>(transfer_->chunk_bytes, total_ - position_);
    const grpc::ByteBuffer chunk =
        AliasBytes(transfer_->source.bytes.subspan(position_, size), transfer_->source.owner);
    position_ += size;
    stream.Write(chunk);
  }

  void OnClosed(RawStream& stream, const absl::Status& why) override {
    impl_->Untrack(stream);
    stop_.store(true);
    closed_ = true;
    if (!error_.has_value()) error_ = why;
    // A copy in progress touches the caller's memory: it ends the attempt when it has stopped.
    if (!copying_) End();
  }

 private:
  absl::Status TakeReply(RawStream& stream, absl::string_view bytes) {
    proto::TransferReply reply;
    if (!reply.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InternalError("The executor sent a malformed transfer reply");
    }
    MOAI_RETURN_IF_ERROR(FromProto(reply.status()));
    if (reply.bytes_taken() > total_) {
      return absl::InternalError("Malformed transfer reply, field bytes_taken: past the end");
    }
    const bool first = !replied_;
    // An upload whose chunks do not go yet waits for the lane, or for where to go on.
    const bool waiting = first && (upload_ ? !chunks_ : segment_ != nullptr);
    replied_ = true;
    if (upload_) {
      if (waiting) position_ = reply.bytes_taken();
      acknowledged_ = std::max(acknowledged_, reply.bytes_taken());
      transfer_->offset = std::max(transfer_->offset, acknowledged_);
    }
    if (!waiting) return absl::OkStatus();
    if (reply.use_shared_memory()) {
      copying_ = true;
      impl_->shared_memory_transfers.fetch_add(1);
      impl_->copies().Add(
          [self = shared_from_this(), weak = stream.weak_from_this()] { self->Copy(weak); });
    } else if (upload_) {
      chunks_ = true;
      if (!stream.writing()) OnWritten(stream);
    }
    return absl::OkStatus();
  }

  absl::Status TakePiece(absl::Span<const std::byte> piece) {
    if (piece.size() > total_ - position_) {
      return absl::InternalError("The executor sent more bytes than it announced");
    }
    if (!piece.empty()) {
      std::memcpy(transfer_->destination.data() + position_, piece.data(), piece.size());
    }
    position_ += piece.size();
    transfer_->offset = position_;
    return absl::OkStatus();
  }

  // On the copy thread.
  void Copy(const std::weak_ptr<RawStream>& stream) {
    const absl::Status status =
        upload_ ? segment_->Send(transfer_->source.bytes.subspan(position_), stop_)
                : segment_->Receive(transfer_->destination.subspan(position_), stop_, nullptr);
    impl_->poller()->RunSoon([self = shared_from_this(), stream, status](bool) {
      self->copying_ = false;
      const std::shared_ptr<RawStream> live = stream.lock();
      if (!self->upload_ && status.ok()) {
        self->position_ = self->total_;
        if (live != nullptr) return self->Succeed(*live);
      }
      const bool answered = self->upload_ && self->acknowledged_ == self->total_;
      if (!status.ok() && !answered) {
        // Whatever is wrong with the segment, the stream carries the rest.
        self->transfer_->try_shared_memory = false;
        if (live != nullptr) live->Cancel();
      } else if (answered && live != nullptr) {
        return self->Succeed(*live);
      }
      if (self->closed_) self->End();
    });
  }

  void Succeed(RawStream& stream) {
    if (over_) return;
    if (!closed_) stream.Cancel();
    over_ = true;
    transfer_->offset = total_;
    (upload_ ? impl_->bytes_uploaded : impl_->bytes_downloaded).fetch_add(total_);
    transfer_->Complete(absl::OkStatus());
  }

  // The stream is closed and no copy is in progress.
  void End() {
    if (over_) return;
    over_ = true;
    if (upload_ ? acknowledged_ == total_ && replied_ : position_ == total_ && replied_) {
      transfer_->Complete(absl::OkStatus());
    } else {
      transfer_->Broken(*error_);
    }
  }

  const std::shared_ptr<Impl> impl_;
  const std::shared_ptr<Transfer> transfer_;
  const bool upload_;
  const uint64_t total_;
  uint64_t position_;          // sent or received so far
  uint64_t acknowledged_ = 0;  // of an upload
  bool replied_ = false;
  bool chunks_ = false;  // the chunks of an upload may go
  bool copying_ = false;
  bool closed_ = false;
  bool over_ = false;
  std::atomic<bool> stop_ = false;
  std::optional<absl::Status> error_;
  std::unique_ptr<SharedSegment> segment_;
};

void TransferClient::Impl::Transfer::Connect() {
  if (impl_->stopping()) return Complete(absl::CancelledError("The session is closed"));
  const std::string address = ticket.addresses[next_address_ % ticket.addresses.size()];
  if (connections_++ > 0) impl_->resumed.fetch_add(1);
  auto attempt = std::make_shared<Attempt>(impl_, shared_from_this());
  const std::string header = attempt->Header(address, /*resume=*/connections_ > 1);
  const auto stream =
      RawStream::Open(impl_->ChannelTo(address), ticket.upload ? kUploadMethod : kDownloadMethod,
                      impl_->poller(), attempt, CopyToBuffer(header));
  if (!impl_->Track(stream)) stream->Cancel();
}

void TransferClient::Impl::Transfer::Broken(const absl::Status& why) {
  const std::string& address = ticket.addresses[next_address_ % ticket.addresses.size()];
  impl_->ForgetChannel(address);
  const bool progress = offset > last_offset_;
  last_offset_ = offset;
  if (progress) {
    retry_ = kFirstRetry;
  } else {
    ++next_address_;  // perhaps this one cannot be reached from here
    chunk_bytes = std::max(chunk_bytes / 2, kMinChunkBytes);
  }
  if (impl_->stopping() || !IsTransient(why) || Clock::now() + retry_ >= deadline_) {
    return Complete(absl::Status(
        why.ok() ? absl::StatusCode::kUnavailable : why.code(),
        absl::StrCat(ticket.upload ? "Uploading to " : "Downloading from ", address, " stopped at ",
                     offset, " of ", ticket.bytes, " bytes: ", why.message())));
  }
  impl_->poller()->RunAfter(retry_, [self = shared_from_this()](bool) { self->Connect(); });
  retry_ = std::min(2 * retry_, kLastRetry);
}

void TransferClient::Impl::Start(std::shared_ptr<Transfer> transfer) {
  poller_->RunSoon([transfer](bool) { transfer->Connect(); });
}

void TransferClient::Impl::Stop() {
  std::unordered_set<std::shared_ptr<RawStream>> streams;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    streams.swap(streams_);
  }
  for (const auto& stream : streams) stream->Cancel();
  streams.clear();
  poller_->Shutdown();
  copies_.Stop();
}

TransferClient::TransferClient(const TransferClientOptions& options)
    : impl_(std::make_shared<Impl>(options)) {}

TransferClient::~TransferClient() { impl_->Stop(); }

void TransferClient::Upload(const Ticket& ticket, ByteSource source, Done done) {
  if (source.bytes.size() != ticket.bytes || !ticket.upload || ticket.addresses.empty()) {
    return done(absl::InvalidArgumentError(
        absl::StrCat("The ticket is not for an upload of ", source.bytes.size(), " bytes")));
  }
  impl_->Start(std::make_shared<Impl::Transfer>(impl_, ticket, std::move(source),
                                                absl::Span<std::byte>(), std::move(done)));
}

void TransferClient::Download(const Ticket& ticket, absl::Span<std::byte> destination, Done done) {
  if (destination.size() != ticket.bytes || ticket.upload || ticket.addresses.empty()) {
    return done(absl::InvalidArgumentError(
        absl::StrCat("The ticket is not for a download of ", destination.size(), " bytes")));
  }
  impl_->Start(
      std::make_shared<Impl::Transfer>(impl_, ticket, ByteSource(), destination, std::move(done)));
}

TransferClientStats TransferClient::stats() const {
  return {.bytes_uploaded = impl_->bytes_uploaded.load(),
          .bytes_downloaded = impl_->bytes_downloaded.load(),
          .shared_memory_transfers = impl_->shared_memory_transfers.load(),
          .resumed = impl_->resumed.load()};
}

}  // namespace moai::wire
