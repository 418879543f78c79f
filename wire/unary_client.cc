#include "wire/unary_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include "base/status.h"
#include "wire/channel.h"
#include "wire/raw_stream.h"

namespace moai::wire {

absl::StatusOr<std::string> CallUnary(const std::string& address, const std::string& method,
                                      absl::string_view request,
                                      std::chrono::milliseconds timeout) {
  MOAI_RETURN_IF_ERROR(CheckAddress(address));
  grpc::GenericStub stub(OpenChannel(address));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, method, CopyToBuffer(request), &queue);
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->StartCall();
  call->Finish(&answer, &status, &status);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  MOAI_RETURN_IF_ERROR(FromGrpc(status));
  std::string bytes;
  WithContiguousBytes(answer, [&](absl::string_view piece) { bytes = std::string(piece); });
  return bytes;
}

}  // namespace moai::wire
