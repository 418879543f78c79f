// The executor process: one session's commands from the server's stream, run on one thread; bulk
// bytes to and from clients beside it.
#ifndef MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_
#define MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_

#include "absl/status/status.h"
#include "proto/worker.pb.h"
#include "worker/kernels/kernel.h"

namespace moai {

// Connects to the server and serves until the server ends the stream (OK), or it is lost.
// The calling thread runs the commands.
absl::Status RunExecutor(const proto::ExecutorConfig& config, KernelFactory make_kernel);

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_EXECUTOR_PROCESS_H_
