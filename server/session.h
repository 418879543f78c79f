// One session with its transport: the client's control stream, its executors', and the locks
// between them.
#ifndef MOAI_SERVER_SESSION_H_
#define MOAI_SERVER_SESSION_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "proto/session.pb.h"
#include "proto/worker.pb.h"
#include "server/session_core.h"
#include "server/step_record.h"
#include "server/thread_pool.h"
#include "server/use_meter.h"
#include "wire/control_server.h"

namespace moai {

// What the server learns of an executor process when it connects.
struct ConnectedExecutor {
  std::shared_ptr<wire::ControlSession> stream;
  std::vector<std::string> transfer_addresses;
  std::vector<std::string> peer_addresses;  // by executor of the session
};

// Thread-safe. Owned by its streams; ends with the client's.
class Session : public wire::ControlHandler, public std::enable_shared_from_this<Session> {
 public:
  // `label` stands in log lines. `ended` is called once, when the client has closed the session or
  // its stream has ended: what the session held is free for others when it returns.
  Session(std::string label, SessionSettings settings, Planner* planner, ThreadPool* planning,
          std::function<void()> ended);

  // The client's stream; before any message comes.
  void SetClient(std::shared_ptr<wire::ControlSession> client);
  const std::string& label() const { return label_; }
  // What the session uses, and the step that it runs, for people; both outlive it.
  std::shared_ptr<const UseMeter> meter() const { return meter_; }
  std::shared_ptr<const StepRecord> record() const { return planner_.record(); }

  // From the client's stream.
  absl::Status OnMessage(absl::string_view message) override;
  void OnFrameEnd() override;
  void OnDisconnected(const absl::Status& why) override;
  void OnResumed() override;
  void OnEnded(const absl::Status& why) override;

  // From the executors' streams, and from whoever learns of the end of one. Executors are named by
  // their position in the session.
  void OnExecutorReady(size_t executor, ConnectedExecutor connected);
  absl::Status OnExecutorMessage(size_t executor, absl::string_view message);
  void OnExecutorFrameEnd();
  // The session cannot do without any of them.
  void OnExecutorLost(const absl::Status& why);

 private:
  // Messages that may wait for a plan.
  static constexpr size_t kMaxBacklog = 65536;
  static constexpr size_t kMaxBacklogBytes = size_t{256} << 20;

  // The sinks of core_, called with mutex_ held.
  class ToExecutors : public DeviceSink {
   public:
    explicit ToExecutors(size_t count) : executors(count), waiting(count) {}
    size_t Send(const proto::ExecutorCommand& command) override;
    size_t SendTo(size_t executor, const proto::ExecutorCommand& command) override;
    void Flush() override;

    // Tells the executors of each other and sends what waited. Requires that all are there.
    void Begin();
    void Forget();

    std::vector<ConnectedExecutor> executors;  // without a stream until it has connected
    size_t connected = 0;
    bool begun = false;
    bool lost = false;
    std::vector<std::vector<std::string>> waiting;  // by executor, until all are there

   private:
    void Give(size_t executor, std::string bytes);
  };
  class ToClient : public ClientSink {
   public:
    void Send(const proto::ServerMessage& message) override;
    void Flush() override;

    std::shared_ptr<wire::ControlSession> stream;  // null once ended
  };

  absl::Status Defer(absl::string_view message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the meter what has changed; before a client hears of it.
  void NoteUse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs deferred messages, on a planning thread.
  void DrainBacklog();
  // The long part of one. Whoever drains is the only one that runs the client's messages, and the
  // executors' need not wait for it: without the lock.
  void Prepare(const proto::ClientMessage& message) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    core_.Prepare(message);
  }
  // Where `status` or the client's wish ends the session, frees what it holds and then closes the
  // client's stream: whoever sees it closed may begin another.
  void EndIfDue(const absl::Status& status);
  void TellEnded();

  const std::string label_;
  ThreadPool* const planning_;
  const std::function<void()> ended_callback_;
  const std::shared_ptr<UseMeter> meter_ = std::make_shared<UseMeter>();
  RecordingPlanner planner_;
  Mutex mutex_;
  ToExecutors executors_ ABSL_GUARDED_BY(mutex_);
  ToClient client_ ABSL_GUARDED_BY(mutex_);
  SessionCore core_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> backlog_ ABSL_GUARDED_BY(mutex_);
  size_t backlog_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;      // by the client, or for what it did
  bool told_ended_ ABSL_GUARDED_BY(mutex_) = false;  // ended_callback_ has been called
  // Reused.
  std::vector<int64_t> memory_in_use_ ABSL_GUARDED_BY(mutex_);
  proto::ClientMessage message_ ABSL_GUARDED_BY(mutex_);
  proto::ExecutorEvent event_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SERVER_SESSION_H_
