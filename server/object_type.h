// Tensor types from a peer's messages.
#ifndef MOAI_SERVER_OBJECT_TYPE_H_
#define MOAI_SERVER_OBJECT_TYPE_H_

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "graph/shape.h"

namespace moai {

// InvalidArgument names the field of `message` that is out of range.
inline absl::StatusOr<TensorType> TypeFromProto(absl::string_view message, uint32_t dtype,
                                                absl::Span<const int64_t> shape) {
  TensorType type;
  if (dtype > uint32_t(Dtype::kBool) || !IsValid(Dtype(dtype))) {
    return absl::InvalidArgumentError(absl::StrCat(message, ".dtype: ", dtype, " is none"));
  }
  type.dtype = Dtype(dtype);
  if (shape.size() > size_t{kMaxRank}) {
    return absl::InvalidArgumentError(
        absl::StrCat(message, ".shape: has ", shape.size(), " dimensions, at most ", kMaxRank));
  }
  int64_t elements = 1;
  for (int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && elements > kMaxElements / extent)) {
      return absl::InvalidArgumentError(absl::StrCat(message, ".shape: extent ", extent,
                                                     " is negative or makes the tensor too large"));
    }
    elements *= extent;
    type.shape.push_back(extent);
  }
  return type;
}

}  // namespace moai

#endif  // MOAI_SERVER_OBJECT_TYPE_H_
