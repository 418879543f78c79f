#include "wire/stream_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "wire/channel.h"
#include "wire/poller.h"
#include "wire/raw_stream.h"

namespace moai::wire {
namespace {

std::shared_ptr<grpc::ServerCredentials> Credentials(const StreamServerOptions& options) {
  if (options.certificate.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions ssl(
      options.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = options.client_ca;
  ssl.pem_key_cert_pairs.push_back({options.private_key, options.certificate});
  return grpc::SslServerCredentials(ssl);
}

absl::Status CheckOptions(const StreamServerOptions& options) {
  if (options.addresses.empty()) {
    return absl::InvalidArgumentError("A server needs at least one address to listen on");
  }
  if (options.certificate.empty() != options.private_key.empty()) {
    return absl::InvalidArgumentError("TLS needs both a certificate and its private key");
  }
  for (const std::string& address : options.addresses) {
    MOAI_RETURN_IF_ERROR(CheckAddress(address));
    if (options.certificate.empty() && !options.allow_insecure_remote && !IsLocalAddress(address)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "Refusing to listen on ", address, " without TLS: other machines could reach it. Give a ",
          "certificate, listen on 127.0.0.1 or unix:/path, or allow insecure remote connections"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

class StreamServer::Impl : public StreamRouter {
 public:
  Impl(const StreamServerOptions& options, Methods methods) : options_(options) {
    for (auto& [name, acceptor] : methods) methods_[name] = std::move(acceptor);
  }

  ~Impl() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    for (const std::shared_ptr<Poller>& poller : pollers_) poller->Shutdown();
  }

  absl::Status Start() {
    grpc::ServerBuilder builder;
    for (const auto& [name, value] : StreamArguments()) builder.AddChannelArgument(name, value);
    std::vector<int> ports(options_.addresses.size(), 0);
    for (size_t i = 0; i < ports.size(); ++i) {
      builder.AddListeningPort(options_.addresses[i], Credentials(options_), &ports[i]);
    }
    builder.RegisterAsyncGenericService(&service_);
    std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
    for (int i = 0; i < std::max(1, options_.threads); ++i) {
      queues.push_back(builder.AddCompletionQueue());
    }
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      for (auto& queue : queues) {
        queue->Shutdown();
        void* tag;
        bool ok;
        while (queue->Next(&tag, &ok)) {
        }
      }
      return absl::UnavailableError(absl::StrCat("Cannot listen on ",
                                                 absl::StrJoin(options_.addresses, ", "),
                                                 ": the address is in use or not of this machine"));
    }
    for (size_t i = 0; i < ports.size(); ++i) {
      std::string address = options_.addresses[i];
      if (!absl::StartsWith(address, "unix:")) {
        address = absl::StrCat(address.substr(0, address.rfind(':') + 1), ports[i]);
      }
      addresses_.push_back(std::move(address));
    }
    for (auto& queue : queues) {
      grpc::ServerCompletionQueue* const server_queue = queue.get();
      pollers_.push_back(std::make_shared<Poller>(std::move(queue)));
      AcceptStreams(&service_, server_queue, pollers_.back(), this);
    }
    return absl::OkStatus();
  }

  std::shared_ptr<StreamOwner> Route(const std::string& method,
                                     const std::shared_ptr<RawStream>& stream) override {
    const auto found = methods_.find(method);
    return found == methods_.end() ? nullptr : found->second->OnStream(stream);
  }

  const std::vector<std::string>& addresses() const { return addresses_; }

 private:
  const StreamServerOptions options_;
  absl::flat_hash_map<std::string, std::shared_ptr<StreamAcceptor>> methods_;
  std::vector<std::string> addresses_;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::shared_ptr<Poller>> pollers_;
};

absl::StatusOr<std::unique_ptr<StreamServer>> StreamServer::Start(
    const StreamServerOptions& options, Methods methods) {
  MOAI_RETURN_IF_ERROR(CheckOptions(options));
  auto impl = std::make_unique<Impl>(options, std::move(methods));
  MOAI_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<StreamServer>(new StreamServer(std::move(impl)));
}

StreamServer::StreamServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StreamServer::~StreamServer() = default;
const std::vector<std::string>& StreamServer::addresses() const { return impl_->addresses(); }

}  // namespace moai::wire
