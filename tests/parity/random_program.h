// A random program over tensors: any op of the op table in any dtype it has, on results of its own,
// through views, in-place ops, state that steps replace, and gradients.
#ifndef MOAI_TESTS_PARITY_RANDOM_PROGRAM_H_
#define MOAI_TESTS_PARITY_RANDOM_PROGRAM_H_

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "client/moai.h"
#include "graph/testing/random_node.h"
#include "tests/parity/tee_session.h"

namespace moai {

// Deals every op in every dtype it has, in random order, again and again.
class OpDeck {
 public:
  explicit OpDeck(uint64_t seed);
  OpDtype Draw();
  const std::vector<OpDtype>& all() const { return all_; }

 private:
  std::mt19937_64 random_;
  std::vector<OpDtype> all_;
  std::vector<OpDtype> left_;
};

// Runs on the accelerator that is attached to this thread, which must be `session`, and must be
// destroyed before it is detached.
//
// The results can be compared between implementations that round differently: an op that jumps or
// has a pole reads only values that are equal on both sides, and nothing reads values that are
// large (graph/testing/conditioning.h). A graph that has been compared leaves equal values.
class RandomProgram {
 public:
  RandomProgram(TeeSession& session, OpDeck& deck, uint64_t seed);

  // Records some ops and submits them as one graph. Sometimes compares everything afterwards.
  absl::Status RunGraph();
  // Compares what is left.
  absl::Status Finish();

  // How often each thing that is not in a graph's nodes happened.
  int64_t writes_through_views() const { return writes_through_views_; }
  int64_t backward_passes() const { return backward_passes_; }

 private:
  struct Known {
    Tensor tensor;
    bool exact = true;  // equal on both sides
    double bound = 2;   // roughly the largest magnitude
  };

  bool OneOf(int n) { return OneIn(random_, n); }
  absl::Status AddNode();
  absl::Status AddView();
  absl::Status WriteInPlace();
  absl::Status MakeState();
  absl::Status RunBackward();
  Tensor Operand(Op op, size_t position, const TensorType& type,
                 const std::vector<std::byte>& own_content, Known& result);
  Tensor FromContent(const TensorType& type, const std::vector<std::byte>& content);
  void Keep(Tensor tensor, bool exact, double bound);
  // After a comparison: equal values; those that may not be read again go.
  absl::Status Settle();

  TeeSession& session_;
  OpDeck& deck_;
  std::mt19937_64 random_;
  std::vector<Known> known_;
  int64_t writes_through_views_ = 0;
  int64_t backward_passes_ = 0;
};

}  // namespace moai

#endif  // MOAI_TESTS_PARITY_RANDOM_PROGRAM_H_
