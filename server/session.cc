#include "server/session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace moai {
namespace {

// Whether a client closes its session: two bytes, so that looking costs nothing.
bool IsClose(absl::string_view message) {
  proto::ClientMessage parsed;
  return message.size() <= 4 && parsed.ParseFromArray(message.data(), int(message.size())) &&
         parsed.has_close();
}

}  // namespace

Session::Session(std::string label, SessionSettings settings, Planner* planner,
                 ThreadPool* planning, std::function<void()> ended)
    : label_(std::move(label)),
      planning_(planning),
      ended_callback_(std::move(ended)),
      planner_(planner),
      executors_(std::max<size_t>(1, settings.executors.size())),
      core_(std::move(settings), &planner_, &executors_, &client_) {}

void Session::SetClient(std::shared_ptr<wire::ControlSession> client) {
  MutexLock lock(mutex_);
  client_.stream = std::move(client);
}

absl::Status Session::OnMessage(absl::string_view message) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    // Whatever waits for a plan, nobody waits for it any more.
    if (closed_ || (draining_ && !IsClose(message))) return closed_ ? status : Defer(message);
    if (!message_.ParseFromArray(message.data(), int(message.size()))) {
      status = absl::InvalidArgumentError("message: cannot be parsed as a ClientMessage");
    } else if (core_.TakesLong(message_)) {
      draining_ = true;
      planning_->Run([self = shared_from_this()] { self->DrainBacklog(); });
      return Defer(message);
    } else {
      status = core_.OnClientMessage(message_);
    }
    if (status.ok() && !core_.closed_by_client()) return status;
  }
  EndIfDue(status);
  return status;
}

void Session::EndIfDue(const absl::Status& status) {
  std::shared_ptr<wire::ControlSession> client;
  {
    MutexLock lock(mutex_);
    if (status.ok() && !core_.closed_by_client()) return;
    closed_ = true;
    client = client_.stream;
  }
  TellEnded();
  if (client != nullptr) client->Close(status);
}

void Session::TellEnded() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(told_ended_, true)) return;
    executors_.lost = true;
  }
  ended_callback_();
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
  proto::ClientMessage message;
  while (true) {
    bool parsed = false;
    {
      MutexLock lock(mutex_);
      if (client_.stream == nullptr || closed_) backlog_.clear();
      if (backlog_.empty()) {
        draining_ = false;
        backlog_bytes_ = 0;
        NoteUse();
        core_.Flush();
        return;
      }
      parsed = message.ParseFromString(backlog_.front());
      backlog_bytes_ -= backlog_.front().size();
      backlog_.pop_front();
    }
    if (parsed) Prepare(message);
    absl::Status status =
        absl::InvalidArgumentError("message: cannot be parsed as a ClientMessage");
    {
      MutexLock lock(mutex_);
      if (closed_) continue;
      if (parsed) status = core_.OnClientMessage(message);
      NoteUse();
    }
    EndIfDue(status);
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
    closed_ = true;
  }
  spdlog::info("session ended session={} steps={} reason=\"{}\"", label_, steps, why.ToString());
  TellEnded();
  std::vector<ConnectedExecutor> executors;
  {
    MutexLock lock(mutex_);
    executors.swap(executors_.executors);
    executors_.Forget();
  }
  for (const ConnectedExecutor& executor : executors) {
    if (executor.stream != nullptr) executor.stream->Close(absl::OkStatus());
  }
}

void Session::OnExecutorReady(size_t executor, ConnectedExecutor connected) {
  MutexLock lock(mutex_);
  if (executors_.lost) return;
  if (executor == 0) core_.OnExecutorReady(connected.transfer_addresses);
  executors_.executors[executor] = std::move(connected);
  if (++executors_.connected == executors_.executors.size()) executors_.Begin();
}

absl::Status Session::OnExecutorMessage(size_t executor, absl::string_view message) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (executors_.lost) return absl::OkStatus();
    if (!event_.ParseFromArray(message.data(), int(message.size()))) {
      return absl::InvalidArgumentError("message: cannot be parsed as an ExecutorEvent");
    }
    status = core_.OnExecutorEvent(executor, event_);
  }
  if (!status.ok()) OnExecutorLost(absl::UnavailableError(status.message()));
  return status;
}

void Session::OnExecutorFrameEnd() {
  MutexLock lock(mutex_);
  NoteUse();
  core_.Flush();
}

void Session::OnExecutorLost(const absl::Status& why) {
  MutexLock lock(mutex_);
  if (executors_.lost) return;
  spdlog::error("executor lost session={} reason=\"{}\"", label_, why.ToString());
  executors_.Forget();
  core_.OnExecutorLost(why);
  NoteUse();
  core_.Flush();
}

size_t Session::ToExecutors::Send(const proto::ExecutorCommand& command) {
  std::string bytes = command.SerializeAsString();
  const size_t size = bytes.size();
  for (size_t i = 1; i < executors.size(); ++i) Give(i, bytes);
  if (!executors.empty()) Give(0, std::move(bytes));
  return size;
}

size_t Session::ToExecutors::SendTo(size_t executor, const proto::ExecutorCommand& command) {
  std::string bytes = command.SerializeAsString();
  const size_t size = bytes.size();
  if (executor < executors.size()) Give(executor, std::move(bytes));
  return size;
}

void Session::ToExecutors::Give(size_t executor, std::string bytes) {
  if (lost) return;
  if (begun) {
    // Its end is told by OnExecutorLost.
    executors[executor].stream->Queue(std::move(bytes)).IgnoreError();
  } else {
    waiting[executor].push_back(std::move(bytes));
  }
}

void Session::ToExecutors::Begin() {
  begun = true;
  for (size_t i = 0; i < executors.size(); ++i) {
    if (executors.size() > 1) {
      proto::ExecutorCommand command;
      for (const ConnectedExecutor& other : executors) {
        const bool knows = i < other.peer_addresses.size();
        command.mutable_connect_peers()->add_addresses(knows ? other.peer_addresses[i] : "");
      }
      Give(i, command.SerializeAsString());
    }
    for (std::string& command : waiting[i]) Give(i, std::move(command));
  }
  waiting.clear();
  Flush();
}

void Session::ToExecutors::Forget() {
  lost = true;
  begun = false;
  for (ConnectedExecutor& executor : executors) executor.stream = nullptr;
  waiting.clear();
}

void Session::ToExecutors::Flush() {
  if (!begun) return;
  for (const ConnectedExecutor& executor : executors) executor.stream->Flush();
}

void Session::ToClient::Send(const proto::ServerMessage& message) {
  if (stream != nullptr) stream->Queue(message.SerializeAsString()).IgnoreError();
}

void Session::ToClient::Flush() {
  if (stream != nullptr) stream->Flush();
}

}  // namespace moai
