#include "wire/transfer_server.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "proto/transfer.pb.h"
#include "wire/host_memory.h"
#include "wire/raw_stream.h"
#include "wire/shared_memory.h"
#include "wire/status_proto.h"
#include "wire/transfer_stream.h"

namespace moai::wire {

class TransferServer::Impl : public std::enable_shared_from_this<TransferServer::Impl> {
 public:
  Impl(TransferTarget* target, const TransferServerOptions& options)
      : target_(target), options_(options) {}

  TransferTarget& target() { return *target_; }
  TicketRegistry& tickets() { return tickets_; }
  bool shared_memory() const { return options_.shared_memory; }
  CopyThread& copies() { return copies_; }

  // Tells the target, if it has not been told, that a ticket will not be used any more.
  void End(TicketState& state, const absl::Status& why) {
    {
      MutexLock lock(state.mutex);
      if (!state.begun || state.ended) return;
      if (state.copying) {
        state.abandoned = true;
        return;
      }
      state.ended = true;
    }
    Told(state, why);
  }

  // `ended` has been set by the caller.
  void Told(const TicketState& state, const absl::Status& status) {
    if (state.ticket.upload) {
      target_->EndUpload(state.ticket, status);
    } else {
      target_->EndDownload(state.ticket, status);
    }
  }

 private:
  TransferTarget* const target_;
  const TransferServerOptions options_;
  TicketRegistry tickets_;
  CopyThread copies_;
};

namespace {

absl::Status FieldError(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("Malformed transfer header, field ", field, ": ", what));
}

// One stream. The first message is the header; what follows depends on direction and lane.
class ServerTransfer : public StreamOwner, public std::enable_shared_from_this<ServerTransfer> {
 public:
  ServerTransfer(std::shared_ptr<TransferServer::Impl> impl, std::shared_ptr<RawStream> stream,
                 bool upload)
      : impl_(std::move(impl)), upload_(upload), stream_(std::move(stream)) {}

  void OnMessage(RawStream& /*stream*/, const grpc::ByteBuffer& message) override {
    if (finishing_) return;
    absl::Status status;
    if (state_ == nullptr) {
      WithContiguousBytes(message, [&](absl::string_view bytes) { status = Begin(bytes); });
    } else if (!upload_ || shared_memory_) {
      status = absl::InvalidArgumentError("Malformed transfer: nothing may follow the header");
    } else {
      ForEachPiece(message, [&](absl::Span<const std::byte> piece) {
        status = TakePiece(piece);
        return status.ok();
      });
      if (status.ok()) Progress();
    }
    if (!status.ok()) Fail(status);
  }

  void OnWritten(RawStream& /*stream*/) override {
    {
      MutexLock lock(mutex_);
      writing_ = false;
    }
    Pump();
  }

  void OnClosed(RawStream& /*stream*/, const absl::Status& /*why*/) override {
    stop_.store(true);
    MutexLock lock(mutex_);
    stream_ = nullptr;
    outgoing_.clear();
  }

 private:
  absl::Status Begin(absl::string_view bytes) {
    proto::TransferHeader header;
    if (!header.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InvalidArgumentError("Malformed transfer header: not a TransferHeader");
    }
    MOAI_ASSIGN_OR_RETURN(auto state, impl_->tickets().Present(header.ticket_id(), upload_));
    total_ = state->ticket.bytes;
    if (header.resume() && !upload_) return FieldError("resume", "is for uploads only");
    if (header.resume()) header.set_bytes(total_ - header.offset());
    if (header.offset() > total_) {
      return FieldError("offset", absl::StrCat(header.offset(), " is past the end, ", total_));
    }
    if (header.bytes() != total_ - header.offset()) {
      return FieldError(
          "bytes", absl::StrCat("expected ", total_ - header.offset(), ", got ", header.bytes()));
    }
    position_ = header.offset();
    if (header.chunk_bytes() > 0) {
      chunk_bytes_ = std::clamp<size_t>(header.chunk_bytes(), kMinChunkBytes, kChunkBytes);
    }
    MOAI_RETURN_IF_ERROR(Present(*state, header.resume()));
    state_ = std::move(state);
    OpenSegment(header);
    if (segment_ != nullptr) {
      shared_memory_ = true;
      impl_->copies().Add([self = shared_from_this()] { self->Copy(); });
      return absl::OkStatus();
    }
    // An upload needs no answer, except one that waits for the lane or for where to go on.
    if (!upload_ || !header.shared_memory().empty() || header.resume()) {
      Reply(absl::OkStatus(), position_);
    }
    if (upload_) {
      Progress();
    } else {
      {
        MutexLock lock(mutex_);
        streaming_ = true;
      }
      Pump();
    }
    return absl::OkStatus();
  }

  // Makes this stream the one in force, and gets the memory from the target if nobody has.
  absl::Status Present(TicketState& state, bool resume) {
    MutexLock lock(state.mutex);
    if (state.copying) {
      return absl::UnavailableError("The ticket's previous stream has not ended yet");
    }
    presentation_ = ++state.presentation;
    if (state.ended && !upload_) {
      return absl::NotFoundError("The object of this ticket is gone");
    }
    if (resume) position_ = state.taken;
    if (upload_ && position_ > state.taken) {
      return FieldError("offset", absl::StrCat(position_, " leaves a gap after ", state.taken));
    }
    if (!state.begun) {
      if (upload_) {
        MOAI_ASSIGN_OR_RETURN(state.destination, impl_->target().BeginUpload(state.ticket));
      } else {
        MOAI_ASSIGN_OR_RETURN(state.source, impl_->target().BeginDownload(state.ticket));
      }
      const size_t size = upload_ ? state.destination.size() : state.source.bytes.size();
      if (size != total_) {
        return absl::InternalError(
            absl::StrCat("The object has ", size, " bytes, its ticket says ", total_));
      }
      state.begun = true;
    }
    source_ = state.source;
    return absl::OkStatus();
  }

  void OpenSegment(const proto::TransferHeader& header) {
    if (header.shared_memory().empty() || !impl_->shared_memory() || header.host_id() != HostId() ||
        position_ == total_) {
      return;
    }
    // A segment that cannot be opened is no error: the stream carries the bytes.
    auto segment = SharedSegment::Open(header.shared_memory(), header.ticket_id());
    if (segment.ok()) segment_ = *std::move(segment);
  }

  // On the copy thread.
  void Copy() {
    Reply(absl::OkStatus(), position_, /*use_shared_memory=*/true);
    absl::Status status;
    if (upload_) {
      absl::Span<std::byte> destination;
      {
        MutexLock lock(state_->mutex);
        if (!state_->ended && state_->presentation == presentation_) {
          destination = state_->destination.subspan(position_);
          state_->copying = true;
        }
      }
      if (destination.empty()) return Fail(absl::AbortedError("The ticket is used elsewhere"));
      const uint64_t start = position_;
      status = segment_->Receive(destination, stop_, [&](size_t done) {
        MutexLock lock(state_->mutex);
        state_->taken = std::max<uint64_t>(state_->taken, start + done);
      });
      bool abandoned;
      {
        MutexLock lock(state_->mutex);
        state_->copying = false;
        abandoned = state_->abandoned;
      }
      if (abandoned) impl_->End(*state_, absl::CancelledError("The ticket was withdrawn"));
      if (status.ok()) position_ = total_;
    } else {
      status = segment_->Send(source_.bytes.subspan(position_), stop_);
    }
    if (!status.ok()) return Fail(status);
    if (upload_) return Progress();
    Finish();
  }

  absl::Status TakePiece(absl::Span<const std::byte> piece) {
    if (piece.size() > total_ - position_) {
      return absl::InvalidArgumentError(
          absl::StrCat("Malformed transfer: more bytes than the ", total_, " of the ticket"));
    }
    MutexLock lock(state_->mutex);
    if (state_->presentation != presentation_) {
      return absl::AbortedError("The ticket was presented again on another stream");
    }
    // A stream that lost the answer to its last chunk sends what is complete already.
    if (!state_->ended && !piece.empty()) {
      std::memcpy(state_->destination.data() + position_, piece.data(), piece.size());
    }
    position_ += piece.size();
    state_->taken = std::max(state_->taken, position_);
    return absl::OkStatus();
  }

  // Says how far an upload is, and ends it where it is complete.
  void Progress() {
    if (position_ == total_) {
      bool told = true;
      {
        MutexLock lock(state_->mutex);
        std::swap(told, state_->ended);
      }
      if (!told) impl_->Told(*state_, absl::OkStatus());
      Reply(absl::OkStatus(), position_);
      Finish();
    } else if (position_ - reported_ >= kProgressBytes) {
      reported_ = position_;
      Reply(absl::OkStatus(), position_);
    }
  }

  void Reply(const absl::Status& status, uint64_t taken, bool use_shared_memory = false) {
    proto::TransferReply reply;
    if (!status.ok()) *reply.mutable_status() = ToProto(status);
    reply.set_bytes_taken(taken);
    reply.set_use_shared_memory(use_shared_memory);
    {
      MutexLock lock(mutex_);
      outgoing_.push_back(CopyToBuffer(reply.SerializeAsString()));
    }
    Pump();
  }

  void Fail(const absl::Status& status) {
    Reply(status, 0);
    Finish();
  }

  // Ends the stream when everything has been written.
  void Finish() {
    finishing_ = true;
    Pump();
  }

  // Starts the next write: replies first, then the chunks of a download.
  void Pump() {
    std::shared_ptr<RawStream> stream;
    grpc::ByteBuffer next;
    bool finish = false;
    {
      MutexLock lock(mutex_);
      if (writing_ || stream_ == nullptr) return;
      stream = stream_;
      if (!outgoing_.empty()) {
        next = std::move(outgoing_.front());
        outgoing_.pop_front();
      } else if (streaming_ && position_ < total_) {
        const size_t size = std::min<uint64_t>(chunk_bytes_, total_ - position_);
        next = AliasBytes(source_.bytes.subspan(position_, size), source_.owner);
        position_ += size;
      } else {
        finish = finishing_ || streaming_;
        if (!finish) return;
      }
      writing_ = !finish;
    }
    if (finish) {
      stream->Finish(absl::OkStatus());
    } else {
      stream->Write(next);
    }
  }

  const std::shared_ptr<TransferServer::Impl> impl_;
  const bool upload_;
  // Of the poller's thread; after the header, of the copy thread where there is one.
  std::shared_ptr<TicketState> state_;
  ByteSource source_;
  uint64_t presentation_ = 0;
  uint64_t total_ = 0;
  uint64_t reported_ = 0;
  bool shared_memory_ = false;
  std::unique_ptr<SharedSegment> segment_;

  size_t chunk_bytes_ = kChunkBytes;
  uint64_t position_ = 0;  // also of whoever pumps a download
  std::atomic<bool> stop_ = false;
  std::atomic<bool> finishing_ = false;
  Mutex mutex_;
  std::shared_ptr<RawStream> stream_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> outgoing_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool streaming_ ABSL_GUARDED_BY(mutex_) = false;  // the chunks of a download may go
};

class AcceptTransfer : public StreamAcceptor {
 public:
  AcceptTransfer(std::shared_ptr<TransferServer::Impl> impl, bool upload)
      : impl_(std::move(impl)), upload_(upload) {}
  std::shared_ptr<StreamOwner> OnStream(const std::shared_ptr<RawStream>& stream) override {
    return std::make_shared<ServerTransfer>(impl_, stream, upload_);
  }

 private:
  const std::shared_ptr<TransferServer::Impl> impl_;
  const bool upload_;
};

}  // namespace

TransferServer::TransferServer(TransferTarget* target, const TransferServerOptions& options)
    : impl_(std::make_shared<Impl>(target, options)) {}

TransferServer::~TransferServer() {
  for (const auto& state : impl_->tickets().TakeAll()) {
    impl_->End(*state, absl::CancelledError("The executor is shutting down"));
  }
  impl_->copies().Stop();
}

StreamServer::Methods TransferServer::Methods() {
  StreamServer::Methods methods;
  methods.emplace_back(kUploadMethod, std::make_shared<AcceptTransfer>(impl_, /*upload=*/true));
  methods.emplace_back(kDownloadMethod, std::make_shared<AcceptTransfer>(impl_, /*upload=*/false));
  return methods;
}

absl::Status TransferServer::AddTicket(Ticket ticket) {
  for (const auto& state : impl_->tickets().TakeExpired()) {
    impl_->End(*state, absl::DeadlineExceededError("The ticket expired before its bytes came"));
  }
  return impl_->tickets().Add(std::move(ticket));
}

void TransferServer::RemoveTicket(absl::string_view id) {
  if (const auto state = impl_->tickets().Remove(id)) {
    impl_->End(*state, state->ticket.upload ? absl::CancelledError("The ticket was withdrawn")
                                            : absl::OkStatus());
  }
}

}  // namespace moai::wire
