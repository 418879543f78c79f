// Records ops on tensors: what the functions of ops.h are made of.
#ifndef MOAI_CLIENT_TENSOR_RECORD_OP_H_
#define MOAI_CLIENT_TENSOR_RECORD_OP_H_

#include <array>
#include <initializer_list>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/tensor/tensor.h"
#include "graph/op.h"

namespace moai {

// An operand: a tensor, or a number of the program in the given dtype.
struct Operand {
  Operand(const Tensor& tensor) : tensor(&tensor) {}  // NOLINT: converts
  Operand(Dtype dtype, double number) : dtype(dtype), number(number) {}

  const Tensor* tensor = nullptr;
  Dtype dtype = Dtype::kF32;
  double number = 0;
};

struct OpCall {
  Op op = Op::kInvalid;
  absl::Span<const Operand> inputs;
  absl::Span<const int32_t> attributes = {};
  absl::Span<const int64_t> extents = {};
  absl::Span<const double> numbers = {};
  Location location = {};
};

// Fills `outputs` with the op's outputs; all poisoned where it cannot be recorded.
void RecordOp(const OpCall& call, absl::Span<Tensor> outputs);

inline Tensor RecordOp1(Op op, std::initializer_list<Operand> inputs, Location location = {},
                        absl::Span<const int32_t> attributes = {},
                        absl::Span<const int64_t> extents = {},
                        absl::Span<const double> numbers = {}) {
  Tensor output;
  RecordOp({.op = op,
            .inputs = inputs,
            .attributes = attributes,
            .extents = extents,
            .numbers = numbers,
            .location = location},
           absl::MakeSpan(&output, 1));
  return output;
}

template <size_t kOutputs>
std::array<Tensor, kOutputs> RecordOps(Op op, std::initializer_list<Operand> inputs,
                                       Location location = {},
                                       absl::Span<const int32_t> attributes = {},
                                       absl::Span<const int64_t> extents = {},
                                       absl::Span<const double> numbers = {}) {
  std::array<Tensor, kOutputs> outputs;
  RecordOp({.op = op,
            .inputs = inputs,
            .attributes = attributes,
            .extents = extents,
            .numbers = numbers,
            .location = location},
           absl::MakeSpan(outputs));
  return outputs;
}

// A poisoned tensor: "matmul: words (file.cc:12)".
Tensor PoisonedAt(Location location, const absl::Status& status);
template <typename... Words>
Tensor InvalidAt(Location location, const Words&... words) {
  return PoisonedAt(location, absl::InvalidArgumentError(absl::StrCat(words...)));
}

// The dim that a possibly negative one names; nullopt where there is none.
std::optional<int> ResolveDim(int dim, int rank);
// Likewise for a list of distinct dims, ascending.
std::optional<absl::InlinedVector<int32_t, 4>> ResolveDims(absl::Span<const int> dims, int rank);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_RECORD_OP_H_
