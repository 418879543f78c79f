// A session without an accelerator: it keeps what was submitted and computes nothing.
#ifndef MOAI_CLIENT_MODELS_RECORDING_SESSION_H_
#define MOAI_CLIENT_MODELS_RECORDING_SESSION_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "client/session.h"

namespace moai {

// Never looks at the bytes of feeds and uploads, so that they need not be there: see Placeholder in
// capture.h. Not synchronised.
class RecordingSession : public Session {
 public:
  ObjectId NewIds(uint64_t count) override;
  absl::Status Submit(StepRequest step) override;
  // Keeps the type.
  absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) override;
  void Release(absl::Span<const ObjectId> ids) override;
  // FailedPrecondition: there is nothing to read.
  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }
  SessionStats stats() const override { return stats_; }
  std::string accelerator_name() const override { return "none"; }
  uint64_t memory_bytes() const override { return 0; }

  // What was submitted, in order.
  const std::vector<StepRequest>& steps() const { return steps_; }
  // Uploaded objects that were not released.
  const absl::flat_hash_map<ObjectId, TensorType>& uploads() const { return uploads_; }

 private:
  ObjectId next_id_ = 1;
  std::vector<StepRequest> steps_;
  absl::flat_hash_map<ObjectId, TensorType> uploads_;
  SessionStats stats_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_MODELS_RECORDING_SESSION_H_
