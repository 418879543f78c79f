#include "tests/security/raw_peer.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <memory>

namespace moai {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return "";
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

// Whether the operation just started succeeded.
bool Succeeds(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) && ok;
}

}  // namespace

RawAnswer SendRaw(const std::string& address, const std::string& method,
                  const std::vector<std::string>& messages, int patience_ms) {
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(patience_ms));
  grpc::CompletionQueue queue;
  const auto stream = stub.PrepareCall(&context, method, &queue);
  stream->StartCall(nullptr);
  bool open = Succeeds(queue);
  for (size_t i = 0; open && i < messages.size(); ++i) {
    stream->Write(ToBuffer(messages[i]), nullptr);
    open = Succeeds(queue);
  }
  if (open) {
    stream->WritesDone(nullptr);
    Succeeds(queue);
  }
  RawAnswer answer;
  while (true) {
    grpc::ByteBuffer buffer;
    stream->Read(&buffer, nullptr);
    if (!Succeeds(queue)) break;
    answer.messages.push_back(ToString(buffer));
  }
  grpc::Status status;
  stream->Finish(&status, nullptr);
  Succeeds(queue);
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) continue;
  answer.status = absl::Status(absl::StatusCode(status.error_code()), status.error_message());
  return answer;
}

}  // namespace moai
