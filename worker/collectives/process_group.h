// One executor process among those of a session: holds some of the session's devices, and what
// connects them with each other and with the devices of the other processes.
//
// Set-up has two phases and needs no store. Each process opens, and gives the server one blob for
// each other process; the server hands each blob to the process it is for; each connects.
#ifndef MOAI_WORKER_COLLECTIVES_PROCESS_GROUP_H_
#define MOAI_WORKER_COLLECTIVES_PROCESS_GROUP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/collectives/communicator.h"
#include "worker/collectives/link_throttle.h"

namespace moai {

inline constexpr size_t kMaxSessionDevices = 4096;

struct ProcessGroupOptions {
  uint32_t process = 0;  // this one
  // For each device of the session, by rank, the process that holds it. Processes are numbered from
  // 0, and each has a device.
  std::vector<uint32_t> process_of_rank;
  // Where to listen for other processes: a host name or an address of this machine that they reach.
  std::string listen_address = "127.0.0.1";
  // Send through memory that the processes share, where all of the session are on one host and may.
  // Else, where false, over the network.
  bool host_memory = true;
  // The longest wait for another device. Longer than any difference between devices within a step.
  absl::Duration deadline = absl::Seconds(60);
  LinkThrottle throttle;
};

// When a link fails, a wait exceeds its deadline or Abort is called, the whole group is broken for
// good: every call that waits and every later one, on all of its devices, returns the first error,
// and the other processes are told. Destroy it after its communicators' last call; that tells the
// others that this process has ended, which is an error only to those who still need it.
class ProcessGroup {
 public:
  // Opens the ports; with one process there is none. InvalidArgument for options that cannot be,
  // Unavailable where the address cannot be listened at.
  static absl::StatusOr<std::unique_ptr<ProcessGroup>> Open(const ProcessGroupOptions& options);
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  uint32_t processes() const;
  // Whether messages between processes go through the host's memory. After Connect.
  bool uses_host_memory() const;
  // Ranks of this process's devices, ascending.
  const std::vector<uint32_t>& ranks() const;

  // What each other process needs to reach this one, by process; empty for its own. They hold a
  // secret: pass them on to the executor they are for and nobody else.
  const std::vector<std::string>& blobs() const;
  // Takes the blobs that the others have for this process, by process (its own entry is ignored).
  // Blocks until all are connected. Once. DeadlineExceeded names those that did not come.
  absl::Status Connect(absl::Span<const std::string> blobs, absl::Duration deadline);

  // The communicator of ranks()[device]; once for each. The group outlives it. After Connect.
  std::unique_ptr<Communicator> For(size_t device);
  // Another one, whose calls may go on beside those of the first: for flags and little else.
  std::unique_ptr<Communicator> ForAgreements(size_t device);

  // Any thread. The first error counts.
  void Abort(const absl::Status& error);
  absl::Status status() const;

 private:
  struct Parts;
  explicit ProcessGroup(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_PROCESS_GROUP_H_
