#include "wire/unary_server.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/raw_stream.h"

namespace moai::wire {
namespace {

// How long a call may take, from its first byte to its answer.
constexpr std::chrono::seconds kCallTimeout(30);

class UnaryCall : public StreamOwner {
 public:
  explicit UnaryCall(std::shared_ptr<const UnaryHandler> handler) : handler_(std::move(handler)) {}

  static std::shared_ptr<StreamOwner> Begin(std::shared_ptr<const UnaryHandler> handler,
                                            const std::shared_ptr<RawStream>& stream) {
    auto call = std::make_shared<UnaryCall>(std::move(handler));
    stream->poller()->RunAfter(kCallTimeout, [weak = std::weak_ptr<RawStream>(stream)](bool due) {
      const std::shared_ptr<RawStream> open = weak.lock();
      if (open == nullptr) return;
      open->Finish(due ? absl::DeadlineExceededError("The server did not answer in time")
                       : absl::UnavailableError("The server is shutting down"));
    });
    return call;
  }

  void OnMessage(RawStream& stream, const grpc::ByteBuffer& message) override {
    // Nothing follows a request; the end of what the peer sends is not the end of the call.
    stream.PauseReads();
    if (message.Length() > kMaxUnaryRequestBytes) {
      return stream.Finish(absl::InvalidArgumentError(
          absl::StrCat("the request has ", message.Length(), " bytes; at most ",
                       kMaxUnaryRequestBytes, " are taken")));
    }
    std::string request;
    WithContiguousBytes(message, [&](absl::string_view bytes) { request = std::string(bytes); });
    (*handler_)(std::move(request), {stream.peer_address(), stream.peer_identity()},
                [weak = stream.weak_from_this()](absl::StatusOr<std::string> answer) {
                  const std::shared_ptr<RawStream> open = weak.lock();
                  if (open == nullptr) return;
                  if (!answer.ok()) return open->Finish(answer.status());
                  open->Write(CopyToBuffer(*answer));
                });
  }

  void OnWritten(RawStream& stream) override { stream.Finish(absl::OkStatus()); }
  void OnClosed(RawStream& /*stream*/, const absl::Status& /*why*/) override {}

 private:
  const std::shared_ptr<const UnaryHandler> handler_;
};

class AcceptUnary : public StreamAcceptor {
 public:
  explicit AcceptUnary(UnaryHandler handler)
      : handler_(std::make_shared<const UnaryHandler>(std::move(handler))) {}
  std::shared_ptr<StreamOwner> OnStream(const std::shared_ptr<RawStream>& stream) override {
    return UnaryCall::Begin(handler_, stream);
  }

 private:
  const std::shared_ptr<const UnaryHandler> handler_;
};

}  // namespace

std::shared_ptr<StreamAcceptor> ServeUnary(UnaryHandler handler) {
  return std::make_shared<AcceptUnary>(std::move(handler));
}

}  // namespace moai::wire
