#include "wire/raw_stream.h"

#include <utility>

namespace moai::wire {

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

void RawStream::Began() {
  MutexLock lock(mutex_);
  ++operations_;
}

void RawStream::Ended() {
  {
    MutexLock lock(mutex_);
    if (--operations_ > 0 || !finishing_) return;
  }
  const std::shared_ptr<StreamOwner> owner = std::move(owner_);
  const std::shared_ptr<RawStream> self = std::move(self_);
  if (owner != nullptr) owner->OnClosed(*this, FinalStatus());
}

void RawStream::Arm() {
  reading_ = true;
  Began();
  StartRead(&incoming_, read_.tag());
}

void RawStream::WriteAndArm(const grpc::ByteBuffer& message) {
  {
    MutexLock lock(mutex_);
    writing_ = true;
    operations_ += 2;
  }
  reading_ = true;
  StartWrite(message, write_.tag());
  StartRead(&incoming_, read_.tag());
}

void RawStream::ResumeReads() {
  paused_ = false;
  if (reading_) return;
  {
    MutexLock lock(mutex_);
    if (finishing_) return;
  }
  Arm();
}

void RawStream::Write(const grpc::ByteBuffer& message) {
  {
    MutexLock lock(mutex_);
    if (stopped_) return;
    writing_ = true;
    ++operations_;
  }
  StartWrite(message, write_.tag());
}

bool RawStream::writing() {
  MutexLock lock(mutex_);
  return writing_;
}

void RawStream::StopWriting() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    if (writing_ || finishing_) return;
    finishing_ = true;
    ++operations_;
  }
  StartFinish(finish_.tag());
}

void RawStream::OnRead(bool ok) {
  reading_ = false;
  if (!ok) {
    StopWriting();
  } else {
    // A copy: the call may hand the stream to another owner.
    const std::shared_ptr<StreamOwner> owner = owner_;
    if (owner != nullptr) owner->OnMessage(*this, incoming_);
    incoming_.Clear();
    if (!paused_ && !reading_) Arm();
  }
  Ended();
}

void RawStream::OnWrite(bool ok) {
  bool stop;
  {
    MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) stopped_ = true;
    // A failed write means that the call is over: a read in flight will say so, and finishes then.
    // (gRPC would refuse to finish a client's call whose first read is still out.)
    stop = ok ? stopped_ : !reading_;
  }
  if (stop) {
    StopWriting();
  } else if (const std::shared_ptr<StreamOwner> owner = owner_; ok && owner != nullptr) {
    owner->OnWritten(*this);
  }
  Ended();
}

void RawStream::OnFinish(bool /*ok*/) { Ended(); }

namespace {

class ClientStream : public RawStream {
 public:
  explicit ClientStream(std::shared_ptr<Poller> poller) : RawStream(std::move(poller)) {}

  void Start(std::shared_ptr<grpc::Channel> channel, const std::string& method,
             const grpc::ByteBuffer& first_message) {
    KeepAlive();
    channel_ = std::move(channel);
    // The first write opens the call: one packet instead of two.
    context_.set_initial_metadata_corked(true);
    grpc::GenericStub stub(channel_);
    call_ = stub.PrepareCall(&context_, method, poller()->queue());
    call_->StartCall(nullptr);
    WriteAndArm(first_message);
  }

  void Finish(const absl::Status& /*status*/) override { Cancel(); }
  void Cancel() override { context_.TryCancel(); }
  std::string peer_address() const override { return context_.peer(); }

 protected:
  void StartRead(grpc::ByteBuffer* message, void* tag) override { call_->Read(message, tag); }
  void StartWrite(const grpc::ByteBuffer& message, void* tag) override {
    call_->Write(message, tag);
  }
  void StartFinish(void* tag) override { call_->Finish(&status_, tag); }
  absl::Status FinalStatus() const override { return FromGrpc(status_); }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::Status status_;
};

class ServerStream : public RawStream {
 public:
  explicit ServerStream(std::shared_ptr<Poller> poller) : RawStream(std::move(poller)) {}

  // Waits for a call. Begins nothing else: an accepted call is brought to life by Serve.
  void Request(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
               Completion* accepted) {
    service->RequestCall(&context_, &call_, queue, queue, accepted);
  }

  const std::string& method() const { return context_.method(); }

  void Serve(std::shared_ptr<StreamOwner> owner) {
    KeepAlive();
    SetOwner(std::move(owner));
    Arm();
  }

  void Refuse(const absl::Status& status) {
    KeepAlive();
    Finish(status);
  }

  void Finish(const absl::Status& status) override {
    {
      MutexLock lock(status_mutex_);
      if (!finish_status_.has_value()) finish_status_ = status;
    }
    StopWriting();
  }
  void Cancel() override { context_.TryCancel(); }

  std::string peer_address() const override { return context_.peer(); }
  std::string peer_identity() const override {
    const auto authentication = context_.auth_context();
    if (authentication == nullptr || !authentication->IsPeerAuthenticated()) return {};
    const auto names = authentication->GetPeerIdentity();
    return names.empty() ? std::string() : std::string(names[0].data(), names[0].size());
  }

 protected:
  void StartRead(grpc::ByteBuffer* message, void* tag) override { call_.Read(message, tag); }
  void StartWrite(const grpc::ByteBuffer& message, void* tag) override {
    call_.Write(message, tag);
  }
  void StartFinish(void* tag) override { call_.Finish(ToGrpc(Status()), tag); }
  absl::Status FinalStatus() const override { return Status(); }

 private:
  // What the call ends with: what we said, else that the peer went away.
  absl::Status Status() const {
    MutexLock lock(status_mutex_);
    return finish_status_.value_or(absl::CancelledError("The peer has gone"));
  }

  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter call_{&context_};
  mutable Mutex status_mutex_;
  std::optional<absl::Status> finish_status_ ABSL_GUARDED_BY(status_mutex_);
};

class Accept : public Completion {
 public:
  Accept(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
         std::shared_ptr<Poller> poller, StreamRouter* router)
      : service_(service), queue_(queue), poller_(std::move(poller)), router_(router) {}

  void Next() {
    stream_ = std::make_shared<ServerStream>(poller_);
    stream_->Request(service_, queue_, this);
  }

  void OnComplete(bool ok) override {
    if (!ok) {
      delete this;
      return;
    }
    const std::shared_ptr<ServerStream> stream = std::move(stream_);
    Next();
    std::shared_ptr<StreamOwner> owner = router_->Route(stream->method(), stream);
    if (owner == nullptr) {
      stream->Refuse(absl::UnimplementedError("This server has no method " + stream->method()));
    } else {
      stream->Serve(std::move(owner));
    }
  }

 private:
  grpc::AsyncGenericService* const service_;
  grpc::ServerCompletionQueue* const queue_;
  const std::shared_ptr<Poller> poller_;
  StreamRouter* const router_;
  std::shared_ptr<ServerStream> stream_;
};

}  // namespace

std::shared_ptr<RawStream> RawStream::Open(std::shared_ptr<grpc::Channel> channel,
                                           const std::string& method,
                                           std::shared_ptr<Poller> poller,
                                           std::shared_ptr<StreamOwner> owner,
                                           const grpc::ByteBuffer& first_message) {
  auto stream = std::make_shared<ClientStream>(std::move(poller));
  stream->SetOwner(std::move(owner));
  stream->Start(std::move(channel), method, first_message);
  return stream;
}

void AcceptStreams(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue,
                   std::shared_ptr<Poller> poller, StreamRouter* router) {
  (new Accept(service, queue, std::move(poller), router))->Next();
}

}  // namespace moai::wire
