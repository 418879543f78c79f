// A session that does everything twice: on a real accelerator and on the reference interpreter.
// What the real one gives is compared with what it should be.
#ifndef MOAI_TESTS_PARITY_TEE_SESSION_H_
#define MOAI_TESTS_PARITY_TEE_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/session.h"
#include "client/testing/reference_session.h"

namespace moai {

// An op in one of the dtypes in which it exists (DtypesOf in graph/testing/random_node.h).
using OpDtype = std::pair<Op, Dtype>;

// One object, as both sides have it.
struct Comparison {
  ObjectId id = 0;
  TensorType type;
  // The coarsest float dtype among the values of the graphs it came from; its own dtype at least.
  Dtype coarsest = Dtype::kF64;
  std::vector<std::byte> real;
  ReferenceTensor reference;  // not rounded
};

// Empty where the two are equal but for the rounding of each op; otherwise words about the first
// element that differs. Integers and bools must be equal.
std::string RoundingDifference(const Comparison& comparison);

// Not synchronised. Holds every output of every step until it has been compared: CompareAll, or a
// release of its id, or the step that replaces it.
class TeeSession : public Session {
 public:
  // Returns words about a difference, or nothing.
  using Comparer = std::function<std::string(const Comparison&)>;

  explicit TeeSession(std::shared_ptr<Session> real, Comparer comparer = RoundingDifference)
      : real_(std::move(real)), comparer_(std::move(comparer)) {}

  // ---- Comparing

  // Compares one object. Afterwards the reference continues from the real content, so that rounding
  // errors do not add up over steps.
  absl::Status Compare(ObjectId id);
  // Every object that has not been compared since it was written. The first difference.
  absl::Status CompareAll();
  // Whether objects that are replaced or released are compared first, and reads compare.
  void set_comparing(bool comparing) { comparing_ = comparing; }
  // The first difference since the beginning.
  const absl::Status& difference() const { return difference_; }
  // How many objects have been compared.
  int64_t compared() const { return compared_; }

  // What the reference had for the object that was read last.
  const absl::StatusOr<ReferenceTensor>& reference_of_last_read() const { return last_read_; }

  // What was in the steps so far: only nodes that an output depends on count.
  const std::set<OpDtype>& covered() const { return covered_; }
  int64_t steps() const { return steps_; }
  int64_t nodes() const { return nodes_; }
  int64_t slots_replaced() const { return slots_replaced_; }
  int64_t slots_created() const { return slots_created_; }

  // ---- Session

  ObjectId NewIds(uint64_t count) override { return real_->NewIds(count); }
  absl::Status Submit(StepRequest step) override;
  absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) override;
  void Release(absl::Span<const ObjectId> ids) override;
  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override;
  absl::Status Synchronize() override;
  SessionStats stats() const override { return real_->stats(); }
  std::string accelerator_name() const override { return real_->accelerator_name(); }
  uint64_t memory_bytes() const override { return real_->memory_bytes(); }

 private:
  struct Object {
    TensorType type;
    Dtype coarsest = Dtype::kF64;
    bool compared = true;  // an upload: equal from the start
    // The step's graph that made it, and which of its values it is.
    std::shared_ptr<const Graph> graph;
    ValueId value = 0;
  };
  void CountNodes(const StepRequest& step);

  std::shared_ptr<Session> real_;
  Comparer comparer_;
  ReferenceSession reference_;
  bool comparing_ = true;
  std::map<ObjectId, Object> objects_;
  absl::Status difference_;
  absl::StatusOr<ReferenceTensor> last_read_ = absl::NotFoundError("nothing was read");
  std::set<OpDtype> covered_;
  int64_t compared_ = 0;
  int64_t steps_ = 0;
  int64_t nodes_ = 0;
  int64_t slots_replaced_ = 0;
  int64_t slots_created_ = 0;
};

}  // namespace moai

#endif  // MOAI_TESTS_PARITY_TEE_SESSION_H_
