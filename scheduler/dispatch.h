// Where a session's commands go. The server implements it over the executors' control streams;
// tests record what was sent.
#ifndef MOAI_SCHEDULER_DISPATCH_H_
#define MOAI_SCHEDULER_DISPATCH_H_

#include <cstddef>

namespace moai {

namespace proto {
class ExecutorCommand;
}  // namespace proto

class DeviceSink {
 public:
  virtual ~DeviceSink() = default;
  // Sends a command to every executor of the session. Commands run in order. They may wait for
  // Flush, and until the executors have started. Never blocks; what cannot be delivered is told by
  // other means (an executor is lost). Returns the bytes it took.
  virtual size_t Send(const proto::ExecutorCommand& command) = 0;
  // Sends one executor its form of a command: each of them gets one, so that all count alike.
  virtual size_t SendTo(size_t executor, const proto::ExecutorCommand& command) = 0;
  virtual void Flush() = 0;
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_DISPATCH_H_
