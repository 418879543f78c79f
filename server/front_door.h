// Admits clients: identity, versions, devices from the pool, a session; and the way back into a
// session after a broken connection.
#ifndef MOAI_SERVER_FRONT_DOOR_H_
#define MOAI_SERVER_FRONT_DOOR_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "proto/session.pb.h"
#include "scheduler/planner.h"
#include "scheduler/pool.h"
#include "server/flavor_choice.h"
#include "server/jobs.h"
#include "server/session.h"
#include "server/thread_pool.h"
#include "server/worker_registry.h"
#include "wire/control_server.h"

namespace moai {

// Thread-safe.
class FrontDoor : public wire::ControlAcceptor {
 public:
  // Everything pointed to outlives this.
  FrontDoor(Pool* pool, FlavorChoice* flavors, Planner* planner, ThreadPool* planning,
            WorkerRegistry* workers, Jobs* jobs, std::string token, std::chrono::seconds lease);

  absl::StatusOr<wire::Admission> OnHello(absl::string_view hello,
                                          const wire::PeerInfo& peer) override;

 private:
  absl::StatusOr<wire::Admission> Resume(const proto::Hello& hello, proto::Welcome welcome);
  absl::StatusOr<wire::Admission> Begin(const proto::Hello& hello, proto::Welcome welcome,
                                        const wire::PeerInfo& peer);
  void Forget(const std::string& session_id);

  struct Entry {
    std::weak_ptr<wire::ControlSession> stream;
    uint64_t job = 0;  // names it for people and in logs
    std::vector<uint64_t> executors;
    std::string accelerator;  // the flavor's name
    int64_t memory_bytes = 0;
  };

  Pool* const pool_;
  FlavorChoice* const flavors_;
  Planner* const planner_;
  ThreadPool* const planning_;
  WorkerRegistry* const workers_;
  Jobs* const jobs_;
  const std::string token_;
  const std::chrono::seconds lease_;
  Mutex mutex_;
  uint64_t next_job_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<std::string, Entry> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SERVER_FRONT_DOOR_H_
