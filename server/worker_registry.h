// The workers that have registered, and the executor processes that they run for sessions.
#ifndef MOAI_SERVER_WORKER_REGISTRY_H_
#define MOAI_SERVER_WORKER_REGISTRY_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "proto/worker.pb.h"
#include "scheduler/pool.h"
#include "server/session.h"
#include "wire/control_server.h"

namespace moai {

// How many of a session's devices, which are in order of workers, each of its executors has.
std::vector<size_t> ExecutorDevices(absl::Span<const Lease> leases);

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

  // Starts the processes for `session` on its leased devices, one on each worker; the session hears
  // of their streams, and of their ends. Returns the executors' names, in order. An error where a
  // worker has gone meanwhile: nothing has been started then, and the leases are the caller's.
  absl::StatusOr<std::vector<uint64_t>> StartExecutors(absl::Span<const Lease> leases,
                                                       const std::shared_ptr<Session>& session);
  // Ends the processes and their leases. A device's next process starts when this one has ended.
  void StopExecutors(absl::Span<const uint64_t> executors);

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
    std::vector<Lease> leases;  // of one worker
    size_t position = 0;        // among the session's
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
  void StartExecutor(uint64_t id, const proto::SessionShape& shape)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
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
