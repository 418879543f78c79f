#include "client/session/connect.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/utf8.h"
#include "client/session/environment.h"
#include "client/session/grpc_session.h"
#include "client/session/local_server.h"

namespace moai {
namespace {

bool IsOff(const char* name) {
  const std::string value = Environment(name);
  return value == "off" || value == "0" || value == "false";
}

// The command line, for lists of what runs.
std::string ProcessName() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string name{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (char& c : name) {
    if (c == '\0') c = ' ';
  }
  while (!name.empty() && name.back() == ' ') name.pop_back();
  constexpr size_t kMaxName = 256;
  return ValidUtf8(name, kMaxName);
}

void PrintLine(absl::string_view line) {
  static Mutex& mutex = *new Mutex;
  MutexLock lock(mutex);
  std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
}

// Keeps the processes of a local server for as long as its session.
class SessionOnLocalServer : public Session {
 public:
  SessionOnLocalServer(std::unique_ptr<LocalServer> server, std::shared_ptr<GrpcSession> session)
      : server_(std::move(server)), session_(std::move(session)) {}

  ObjectId NewIds(uint64_t count) override { return session_->NewIds(count); }
  absl::Status Submit(StepRequest step) override { return session_->Submit(std::move(step)); }
  absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) override {
    return session_->Upload(id, type, std::move(bytes));
  }
  void Release(absl::Span<const ObjectId> ids) override { session_->Release(ids); }
  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override {
    return session_->Read(id, destination);
  }
  absl::Status Synchronize() override { return session_->Synchronize(); }
  SessionStats stats() const override { return session_->stats(); }
  std::string accelerator_name() const override { return session_->accelerator_name(); }
  uint64_t memory_bytes() const override { return session_->memory_bytes(); }

 private:
  const std::unique_ptr<LocalServer> server_;
  const std::shared_ptr<GrpcSession> session_;  // goes first
};

}  // namespace

std::function<void(absl::string_view)> PrinterOf(const ConnectOptions& options) {
  if (!options.log || IsOff("MOAI_LOG")) return nullptr;
  return PrintLine;
}

absl::StatusOr<std::shared_ptr<Session>> Connect(const ConnectOptions& options) {
  GrpcSessionOptions session_options;
  session_options.address = options.server.empty() ? Environment("MOAI_SERVER") : options.server;
  session_options.token = options.token.empty() ? Environment("MOAI_TOKEN") : options.token;
  MOAI_ASSIGN_OR_RETURN(session_options.visible_device, VisibleDevice());
  session_options.process_name = ProcessName();
  session_options.shared_memory = options.shared_memory && !IsOff("MOAI_SHARED_MEMORY");
  session_options.wait_for_server = options.wait_for_server;
  session_options.print = PrinterOf(options);
  const auto print = [&](absl::string_view line) {
    if (session_options.print) session_options.print(line);
  };

  print("[info] Requesting resources for MoAI Accelerator from the server...");
  std::unique_ptr<LocalServer> local;
  if (session_options.address.empty()) {
    MOAI_ASSIGN_OR_RETURN(local, LocalServer::Start());
    session_options.address = local->address();
    session_options.wait_for_server = true;
  }
  print("[info] Initializing the worker daemon for MoAI Accelerator");
  print(absl::StrCat("[info] [1/4] Connecting to resources on the server (",
                     session_options.address, ")..."));
  absl::StatusOr<std::shared_ptr<GrpcSession>> session = GrpcSession::Connect(session_options);
  if (!session.ok()) {
    return absl::Status(
        session.status().code(),
        absl::StrCat(session.status().message(),
                     ". Check that the server runs and that MOAI_SERVER (host:port or unix:/path) "
                     "names it"));
  }
  print("[info] Establishing links to the resources...");
  print("[info] MoAI Accelerator is ready to use.");
  const SessionInfo info = (*session)->info();
  if (!info.server_version.empty()) {
    print(absl::StrCat("[info] Moreh Version: ", info.server_version));
  }
  if (info.job_id != 0) print(absl::StrCat("[info] Moreh Job ID: ", info.job_id));
  if (local == nullptr) return std::shared_ptr<Session>(*std::move(session));
  return std::shared_ptr<Session>(
      std::make_shared<SessionOnLocalServer>(std::move(local), *std::move(session)));
}

}  // namespace moai
