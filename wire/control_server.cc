#include "wire/control_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/control_link.h"
#include "wire/status_proto.h"
#include "wire/stream_server.h"

namespace moai::wire {
namespace {

// How long a connection may take to say hello.
constexpr std::chrono::seconds kHelloTimeout(10);

// Between a link and its handler: adds the lease.
class SessionEvents : public LinkEvents {
 public:
  SessionEvents(std::shared_ptr<ControlHandler> handler, std::chrono::milliseconds lease)
      : handler_(std::move(handler)), lease_(lease) {}

  void SetLink(const std::shared_ptr<ControlLink>& link) { link_ = link; }

  absl::Status OnMessage(absl::string_view message) override {
    return handler_->OnMessage(message);
  }
  void OnFrameEnd() override { handler_->OnFrameEnd(); }

  void OnAttached() override {
    if (connections_->fetch_add(1) > 0) handler_->OnResumed();
  }

  void OnDetached(const absl::Status& why) override {
    handler_->OnDisconnected(why);
    const std::shared_ptr<ControlLink> link = link_.lock();
    if (link == nullptr) return;
    link->RunAfter(lease_, [link, lease = lease_, connections = connections_,
                            last = connections_->load()](bool due) {
      if (!due) {
        link->EndQuietly(absl::UnavailableError("The server is shutting down"));
      } else if (connections->load() == last) {
        link->EndQuietly(absl::UnavailableError(
            absl::StrCat("The peer did not come back within its lease of ", lease.count(), " ms")));
      }
    });
  }

  void OnEnded(const absl::Status& why) override {
    handler_->OnEnded(why);
    handler_ = nullptr;
  }

 private:
  std::shared_ptr<ControlHandler> handler_;
  const std::chrono::milliseconds lease_;
  std::weak_ptr<ControlLink> link_;
  const std::shared_ptr<std::atomic<uint64_t>> connections_ =
      std::make_shared<std::atomic<uint64_t>>(0);
};

}  // namespace

ControlSession::ControlSession(std::shared_ptr<ControlHandler> handler,
                               const ControlSessionOptions& options) {
  auto events = std::make_shared<SessionEvents>(std::move(handler), options.lease);
  link_ = std::make_shared<ControlLink>(events, options.limits);
  events->SetLink(link_);
}

ControlSession::~ControlSession() { link_->End(absl::OkStatus()); }

absl::Status ControlSession::Queue(std::string message) {
  absl::Status status = link_->Queue(std::move(message));
  if (absl::IsResourceExhausted(status)) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("The peer does not take its messages: ", status.message()));
    link_->End(status);
  }
  return status;
}

absl::Status ControlSession::Send(std::string message) {
  MOAI_RETURN_IF_ERROR(Queue(std::move(message)));
  link_->Flush();
  return absl::OkStatus();
}

void ControlSession::Flush() { link_->Flush(); }

void ControlSession::Close(const absl::Status& why) { link_->End(why); }

bool ControlSession::connected() const { return link_->connected(); }

size_t ControlSession::queued_bytes() const { return link_->queued_bytes(); }

// A connection that has not said hello.
class ControlConnection : public StreamOwner,
                          public std::enable_shared_from_this<ControlConnection> {
 public:
  explicit ControlConnection(ControlAcceptor* acceptor) : acceptor_(acceptor) {}

  static std::shared_ptr<StreamOwner> Begin(ControlAcceptor* acceptor,
                                            const std::shared_ptr<RawStream>& stream) {
    auto connection = std::make_shared<ControlConnection>(acceptor);
    connection->stream_ = stream;
    stream->poller()->RunAfter(kHelloTimeout,
                               [weak = std::weak_ptr<ControlConnection>(connection)](bool) {
                                 if (const auto silent = weak.lock()) {
                                   if (const auto stream = silent->stream_.lock()) stream->Cancel();
                                 }
                               });
    return connection;
  }

  void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) override {
    if (refused_) return;
    WithContiguousBytes(message, [&](absl::string_view bytes) {
      const absl::Status status = Admit(stream, bytes);
      if (!status.ok()) Refuse(stream, status);
    });
  }

  void OnWritten(RawStream& stream) override { stream.Finish(absl::OkStatus()); }

  void OnClosed(RawStream& /*stream*/, const absl::Status& /*why*/) override {}

 private:
  absl::Status Admit(RawStream& stream, absl::string_view bytes) {
    FrameView frame;
    MOAI_RETURN_IF_ERROR(ParseFrame(bytes, frame));
    if (!frame.has_opening) {
      return absl::InvalidArgumentError(
          "Malformed control frame, field opening: missing in the first frame of a connection");
    }
    const PeerInfo peer{stream.peer_address(), stream.peer_identity()};
    MOAI_ASSIGN_OR_RETURN(Admission admission, acceptor_->OnHello(frame.opening, peer));
    const std::shared_ptr<ControlLink> link = admission.session->link_;
    MOAI_RETURN_IF_ERROR(
        link->Attach(stream.shared_from_this(), frame.acknowledged, std::move(admission.welcome)));
    if (!frame.messages.empty() || frame.has_closed) link->TakeFrame(stream, frame);
    return absl::OkStatus();
  }

  void Refuse(RawStream& stream, const absl::Status& why) {
    refused_ = true;
    std::string frame;
    AppendClosed(SerializeStatus(why), frame);
    stream.Write(CopyToBuffer(frame));
  }

  ControlAcceptor* const acceptor_;
  std::weak_ptr<RawStream> stream_;
  bool refused_ = false;
};

namespace {

class AcceptControl : public StreamAcceptor {
 public:
  explicit AcceptControl(ControlAcceptor* acceptor) : acceptor_(acceptor) {}
  std::shared_ptr<StreamOwner> OnStream(const std::shared_ptr<RawStream>& stream) override {
    return ControlConnection::Begin(acceptor_, stream);
  }

 private:
  ControlAcceptor* const acceptor_;
};

}  // namespace

std::shared_ptr<StreamAcceptor> ServeControl(ControlAcceptor* acceptor) {
  return std::make_shared<AcceptControl>(acceptor);
}

}  // namespace moai::wire
