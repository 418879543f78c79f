// A session over the reference interpreter: what a virtual accelerator means, without one. For
// tests.
#ifndef MOAI_CLIENT_TESTING_REFERENCE_SESSION_H_
#define MOAI_CLIENT_TESTING_REFERENCE_SESSION_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "client/session.h"
#include "graph/fingerprint.h"
#include "graph/interpreter.h"

namespace moai {

// Runs each step when it is submitted. A step that fails commits nothing: its value outputs and the
// slots it would have created are poisoned with the error, other slots keep their content.
// Submit refuses graphs that do not verify and bindings that do not exist with an error of the
// session, because in tests those are mistakes of the client. Not synchronised.
class ReferenceSession : public Session {
 public:
  struct Options {
    InterpreterOptions interpreter;
    // Keep each step's graph, for tests that look at what was recorded.
    bool keep_graphs = false;
  };

  ReferenceSession() = default;
  explicit ReferenceSession(const Options& options) : options_(options) {}

  ObjectId NewIds(uint64_t count) override;
  absl::Status Submit(StepRequest step) override;
  absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) override;
  void Release(absl::Span<const ObjectId> ids) override;
  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override;
  absl::Status Synchronize() override;
  SessionStats stats() const override { return stats_; }
  std::string accelerator_name() const override { return "reference"; }
  uint64_t memory_bytes() const override { return uint64_t{1} << 40; }

  // How many objects the program holds.
  size_t object_count() const { return objects_.size(); }
  // With keep_graphs: what was submitted, in order.
  const std::vector<StepRequest>& steps() const { return steps_; }
  // The exact content, not rounded to the dtype.
  absl::StatusOr<ReferenceTensor> Content(ObjectId id) const;

 private:
  absl::StatusOr<std::vector<ReferenceTensor>> Bind(const StepRequest& step) const;

  Options options_;
  ObjectId next_id_ = 1;
  absl::flat_hash_map<ObjectId, absl::StatusOr<ReferenceTensor>> objects_;
  absl::flat_hash_set<Fingerprint> known_;
  std::vector<StepRequest> steps_;
  absl::Status first_error_;
  SessionStats stats_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_TESTING_REFERENCE_SESSION_H_
