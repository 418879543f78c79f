// The workers that have registered, and the executor processes that they run for sessions.
#ifndef MOAI_SERVER_WORKER_REGISTRY_H_
#define MOAI_SERVER_WORKER_REGISTRY_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "proto/worker.pb.h"
#include "scheduler/pool.h"
#include "server/session.h"
#include "wire/control_server.h"

namespace moai {

// Thread-safe.
class WorkerRegistry {
 public:
  // The pool outlives this.
  WorkerRegistry(Pool* pool, std::string token, std::chrono::seconds lease);

  // Of the methods that workers and executors dial.
  wire::ControlAcceptor* worker_acceptor() { return &worker_acceptor_; }
  wire::ControlAcceptor* executor_acceptor() { return &executor_acceptor_; }

  // Whether so many workers are registered; waits up to `patience` for them.
  bool WaitForWorkers(size_t count, std::chrono::milliseconds patience);

  // Starts a process for `session` on a leased device; the session hears of its stream, and of its
  // end. Returns the executor's name. An error where the worker has gone meanwhile.
  absl::StatusOr<uint64_t> StartExecutor(const Lease& lease, std::shared_ptr<Session> session);
  // Ends the process and the lease. The device's next process starts when this one has ended.
  void StopExecutor(uint64_t executor);

 private:
  class WorkerAcceptor : public wire::ControlAcceptor {
   public:
    explicit WorkerAcceptor(WorkerRegistry* registry) : registry_(registry) {}
    absl::StatusOr<wire::Admission> OnHello(absl::string_view hello,
                                            const wire::PeerInfo& peer) override {
      return registry_->OnWorkerHello(hello, peer);
    }

   private:
    WorkerRegistry* const registry_;
  };
  class ExecutorAcceptor : public wire::ControlAcceptor {
   public:
    explicit ExecutorAcceptor(WorkerRegistry* registry) : registry_(registry) {}
    absl::StatusOr<wire::Admission> OnHello(absl::string_view hello,
                                            const wire::PeerInfo& peer) override {
      return registry_->OnExecutorHello(hello, peer);
    }

   private:
    WorkerRegistry* const registry_;
  };
  class WorkerHandler;
  class ExecutorHandler;

  struct Worker {
    std::string name;
    std::string resume_id;
    std::shared_ptr<wire::ControlSession> stream;
  };
  struct Executor {
    Lease lease;
    std::string secret;
    std::shared_ptr<Session> session;
    std::weak_ptr<wire::ControlSession> stream;  // empty until it has connected
    bool connected = false;
  };

  absl::StatusOr<wire::Admission> OnWorkerHello(absl::string_view bytes,
                                                const wire::PeerInfo& peer);
  absl::StatusOr<wire::Admission> ResumeWorker(const std::string& resume_id);
  absl::StatusOr<wire::Admission> OnExecutorHello(absl::string_view bytes,
                                                  const wire::PeerInfo& peer);
  absl::Status OnWorkerEvent(uint64_t worker, const proto::WorkerEvent& event);
  void OnWorkerEnded(uint64_t worker, const absl::Status& why);

  Pool* const pool_;
  const std::string token_;
  const std::chrono::seconds lease_;
  WorkerAcceptor worker_acceptor_{this};
  ExecutorAcceptor executor_acceptor_{this};
  Mutex mutex_;
  CondVar registered_;
  std::map<uint64_t, Worker> workers_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Executor> executors_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_executor_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace moai

#endif  // MOAI_SERVER_WORKER_REGISTRY_H_
