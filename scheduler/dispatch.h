// Where a session's commands for one device go. The server implements it over the executor's
// control stream; tests record what was sent.
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
  // Commands run in order. They may wait for Flush, and until the executor has started. Never
  // blocks; what cannot be delivered is told by other means (the executor is lost). Returns the
  // bytes it took.
  virtual size_t Send(const proto::ExecutorCommand& command) = 0;
  virtual void Flush() = 0;
};

}  // namespace moai

#endif  // MOAI_SCHEDULER_DISPATCH_H_
