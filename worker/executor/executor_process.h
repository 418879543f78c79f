// The executor process: one session's commands from the server's stream, run on one thread for each
// of its devices here; bulk bytes to and from clients beside it.
#ifndef MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_
#define MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_

#include "absl/status/status.h"
#include "proto/worker.pb.h"
#include "worker/collectives/link_throttle.h"
#include "worker/kernels/kernel.h"

namespace moai {

// Connects to the server and serves until the server ends the stream (OK), or it is lost, or a link
// to another device of the session is. The calling thread runs the first device's commands. After
// an error the process is to end: its other threads may still wait for clients.
absl::Status RunExecutor(const proto::ExecutorConfig& config, KernelFactory make_kernel,
                         const LinkThrottle& throttle = {});

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_
