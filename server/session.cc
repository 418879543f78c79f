#include "server/session.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace moai {

Session::Session(std::string label, SessionSettings settings, Planner* planner,
                 ThreadPool* planning, std::function<void()> ended)
    : label_(std::move(label)),
      planning_(planning),
      ended_callback_(std::move(ended)),
      core_(std::move(settings), planner, &executor_, &client_) {}

void Session::SetClient(std::shared_ptr<wire::ControlSession> client) {
  MutexLock lock(mutex_);
  client_.stream = std::move(client);
}

absl::Status Session::OnMessage(absl::string_view message) {
  MutexLock lock(mutex_);
  if (draining_) return Defer(message);
  if (!message_.ParseFromArray(message.data(), int(message.size()))) {
    return absl::InvalidArgumentError("message: cannot be parsed as a ClientMessage");
  }
  if (core_.TakesLong(message_)) {
    draining_ = true;
    planning_->Run([self = shared_from_this()] { self->DrainBacklog(); });
    return Defer(message);
  }
  absl::Status status = core_.OnClientMessage(message_);
  if (core_.closed_by_client() && client_.stream != nullptr)
    client_.stream->Close(absl::OkStatus());
  return status;
}

absl::Status Session::Defer(absl::string_view message) {
  if (backlog_.size() >= kMaxBacklog || backlog_bytes_ >= kMaxBacklogBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        backlog_.size(), " messages wait for a plan; the client must not run further ahead"));
  }
  backlog_bytes_ += message.size();
  backlog_.emplace_back(message);
  return absl::OkStatus();
}

void Session::NoteUse() {
  core_.MemoryInUse(memory_in_use_);
  meter_->Note(memory_in_use_, core_.busy(), std::chrono::steady_clock::now());
}

void Session::DrainBacklog() {
  while (true) {
    MutexLock lock(mutex_);
    if (client_.stream == nullptr) backlog_.clear();
    if (backlog_.empty()) {
      draining_ = false;
      backlog_bytes_ = 0;
      NoteUse();
      core_.Flush();
      return;
    }
    const std::string message = std::move(backlog_.front());
    backlog_.pop_front();
    backlog_bytes_ -= message.size();
    absl::Status status =
        message_.ParseFromString(message)
            ? core_.OnClientMessage(message_)
            : absl::InvalidArgumentError("message: cannot be parsed as a ClientMessage");
    NoteUse();
    if ((!status.ok() || core_.closed_by_client()) && client_.stream != nullptr)
      client_.stream->Close(status);
  }
}

void Session::OnFrameEnd() {
  MutexLock lock(mutex_);
  NoteUse();
  core_.Flush();
}

void Session::OnDisconnected(const absl::Status& why) {
  spdlog::warn("client disconnected session={} reason=\"{}\"", label_, why.ToString());
}

void Session::OnResumed() { spdlog::info("client resumed session={}", label_); }

void Session::OnEnded(const absl::Status& why) {
  uint64_t steps = 0;
  {
    MutexLock lock(mutex_);
    steps = core_.steps();
    client_.stream = nullptr;
    executor_.lost = true;
    executor_.waiting.clear();
  }
  spdlog::info("session ended session={} steps={} reason=\"{}\"", label_, steps, why.ToString());
  ended_callback_();
  std::shared_ptr<wire::ControlSession> executor;
  {
    MutexLock lock(mutex_);
    executor = std::move(executor_.stream);
  }
  if (executor != nullptr) executor->Close(absl::OkStatus());
}

void Session::OnExecutorReady(std::shared_ptr<wire::ControlSession> executor,
                              std::vector<std::string> transfer_addresses) {
  MutexLock lock(mutex_);
  if (executor_.lost) return;
  core_.OnExecutorReady(std::move(transfer_addresses));
  for (std::string& command : executor_.waiting) executor->Queue(std::move(command)).IgnoreError();
  executor_.waiting = {};
  executor_.stream = std::move(executor);
  executor_.Flush();
}

absl::Status Session::OnExecutorMessage(absl::string_view message) {
  MutexLock lock(mutex_);
  if (executor_.lost) return absl::OkStatus();
  if (!event_.ParseFromArray(message.data(), int(message.size()))) {
    return absl::InvalidArgumentError("message: cannot be parsed as an ExecutorEvent");
  }
  return core_.OnExecutorEvent(event_);
}

void Session::OnExecutorFrameEnd() {
  MutexLock lock(mutex_);
  NoteUse();
  core_.Flush();
}

void Session::OnExecutorLost(const absl::Status& why) {
  MutexLock lock(mutex_);
  if (executor_.lost) return;
  executor_.lost = true;
  spdlog::error("executor lost session={} reason=\"{}\"", label_, why.ToString());
  executor_.stream = nullptr;
  executor_.waiting.clear();
  core_.OnExecutorLost(why);
  NoteUse();
  core_.Flush();
}

size_t Session::ToExecutor::Send(const proto::ExecutorCommand& command) {
  std::string bytes = command.SerializeAsString();
  const size_t size = bytes.size();
  if (stream != nullptr) {
    stream->Queue(std::move(bytes)).IgnoreError();  // its end is told by OnExecutorLost
  } else if (!lost) {
    waiting.push_back(std::move(bytes));
  }
  return size;
}

void Session::ToExecutor::Flush() {
  if (stream != nullptr) stream->Flush();
}

void Session::ToClient::Send(const proto::ServerMessage& message) {
  if (stream != nullptr) stream->Queue(message.SerializeAsString()).IgnoreError();
}

void Session::ToClient::Flush() {
  if (stream != nullptr) stream->Flush();
}

}  // namespace moai
