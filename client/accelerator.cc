#include "client/accelerator.h"

#include <utility>

#include "base/status.h"
#include "client/capture/recorder.h"

namespace moai {

absl::StatusOr<Accelerator> Accelerator::Connect(const ConnectOptions& options) {
  MOAI_ASSIGN_OR_RETURN(std::shared_ptr<Session> session, moai::Connect(options));
  Recorder::SetCurrent(Recorder::Create(session, {.warn = PrinterOf(options)}));
  return Accelerator(std::move(session));
}

Accelerator Accelerator::Attach(std::shared_ptr<Session> session) {
  Recorder::SetCurrent(Recorder::Create(session));
  return Accelerator(std::move(session));
}

Accelerator::~Accelerator() {
  if (session_ == nullptr) return;
  const Ref<Recorder>& current = Recorder::Current();
  if (current && &current->session() == session_.get()) Recorder::SetCurrent({});
}

absl::Status Accelerator::Synchronize() {
  const Ref<Recorder>& current = Recorder::Current();
  if (!current) return absl::FailedPreconditionError("this thread has no accelerator");
  return current->Synchronize();
}

}  // namespace moai
