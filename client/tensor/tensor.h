// A tensor of the virtual accelerator.
//
// A Tensor is a handle: copies are the same tensor. Ops are recorded, not run; nothing waits but
// reads (Item, ToVector, ReadBytes). In-place ops (names that end in `_`) and views have PyTorch's
// meaning: a view shows every later write to what it is a view of, and the other way round.
//
// Errors are values: an op that cannot be recorded (shapes that do not fit, a poisoned operand)
// gives a poisoned tensor, whose status() says what and where; reads, Backward and optimizer steps
// return it. Errors on the accelerator are returned by the read of what they spoiled.
//
// Tensors belong to the recorder that was current when they were made, and to one thread at a time.
#ifndef MOAI_CLIENT_TENSOR_TENSOR_H_
#define MOAI_CLIENT_TENSOR_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/capture/location.h"
#include "client/capture/ref.h"
#include "client/session.h"
#include "client/tensor/tensor_impl.h"
#include "graph/dtype.h"
#include "graph/shape.h"

namespace moai {

class Tensor;

struct BackwardOptions {
  // Keep what was saved, so that Backward may run again through the same ops.
  bool retain_graph = false;
  // The gradient of the tensor itself; undefined: 1, for a tensor of one element.
  const Tensor* gradient = nullptr;
};

class Tensor {
 public:
  Tensor() = default;  // undefined
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  // ---- Making tensors from data of the client (creation ops are in ops.h)

  // Copies the elements. T is float, double, int32_t, int64_t, uint8_t or bool.
  template <typename T>
  static Tensor FromData(absl::Span<const T> elements, const Shape& shape,
                         Location location = Location::current());
  template <typename T>
  static Tensor FromData(const std::vector<T>& elements, const Shape& shape,
                         Location location = Location::current()) {
    return FromData(absl::Span<const T>(elements), shape, location);
  }
  // Without a copy: `bytes` are dense, row-major, little-endian.
  static Tensor FromBytes(const TensorType& type, SharedBytes bytes,
                          Location location = Location::current());
  // A rank 0 tensor whose value stays out of the structure of graphs: numbers that change from step
  // to step. All uses within a graph share one scalar.
  static Tensor FromNumber(double number, Dtype dtype = Dtype::kF32);
  static Tensor Poisoned(absl::Status status);

  // ---- What it is

  bool defined() const { return static_cast<bool>(impl_); }
  // OK, or why it is poisoned. FailedPrecondition where undefined.
  absl::Status status() const;
  bool ok() const { return impl_ && impl_->error.ok(); }
  // An undefined or poisoned tensor is f32 of rank 0.
  const TensorType& type() const;
  Dtype dtype() const { return type().dtype; }
  const Shape& shape() const { return type().shape; }
  int rank() const { return type().shape.rank(); }
  int64_t elements() const { return type().shape.elements(); }
  // A negative dim counts from the end. Requires a dim of the tensor.
  int64_t size(int dim) const { return shape()[dim < 0 ? dim + rank() : dim]; }
  // Whether two handles are the same tensor, and whether writes to one show in the other.
  bool Is(const Tensor& other) const { return impl_ == other.impl_; }
  bool SharesStorage(const Tensor& other) const;

  // ---- Reading: waits for the value

  // The only element, as a double.
  absl::StatusOr<double> Item(Location location = Location::current()) const;
  // Elements in row-major order, T as in FromData. For bf16 and f16 tensors T is float.
  template <typename T>
  absl::StatusOr<std::vector<T>> ToVector(Location location = Location::current()) const;
  absl::Status ReadBytes(absl::Span<std::byte> destination,
                         Location location = Location::current()) const;

  // ---- Views

  // One extent may be -1. A view where PyTorch's would be one, else a copy.
  Tensor Reshape(const Shape& shape, Location location = Location::current()) const;
  Tensor Permute(absl::Span<const int> dims, Location location = Location::current()) const;
  Tensor Permute(std::initializer_list<int> dims, Location location = Location::current()) const {
    return Permute(absl::Span<const int>(dims.begin(), dims.size()), location);
  }
  Tensor Transpose(int dim0, int dim1, Location location = Location::current()) const;
  // Elements start, start + step, ... below limit along dim. Negative positions count from the
  // end, and are clamped to the tensor as in Python.
  Tensor Slice(int dim, int64_t start, int64_t limit, int64_t step = 1,
               Location location = Location::current()) const;
  // `length` elements from `start`, within the tensor.
  Tensor Narrow(int dim, int64_t start, int64_t length,
                Location location = Location::current()) const;
  // The elements at one position; the dim is removed.
  Tensor Select(int dim, int64_t position, Location location = Location::current()) const;
  Tensor Unsqueeze(int dim, Location location = Location::current()) const;
  Tensor Squeeze(int dim, Location location = Location::current()) const;
  // Repeats dims of extent 1, and new leading dims, without copying. -1 keeps an extent.
  Tensor Expand(const Shape& shape, Location location = Location::current()) const;

  // ---- Other forms of the same elements

  // Itself where the dtype is the same.
  Tensor To(Dtype dtype) const;
  // A tensor of its own.
  Tensor Clone() const;
  // An alias without history: no gradient flows through it.
  Tensor Detach() const;

  // ---- In-place ops. `other` is broadcast and cast to the tensor. They return the tensor, which
  // is poisoned where the op cannot be recorded.

  Tensor& Copy_(const Tensor& other);
  Tensor& Fill_(double number);
  Tensor& Zero_() { return Fill_(0); }
  Tensor& Add_(const Tensor& other);
  Tensor& Sub_(const Tensor& other);
  Tensor& Mul_(const Tensor& other);
  Tensor& Div_(const Tensor& other);
  Tensor& Add_(double number);
  Tensor& Mul_(double number);

  // ---- State

  // The content becomes state of the session: a slot that steps read and replace in place. For
  // parameters, buffers and optimizer state; a tensor that owns its storage.
  Tensor& MakeState();
  // Lets the tensor stand for `other`'s storage: parameters that change their dtype.
  void SetData(const Tensor& other);

  // ---- Gradients (client/autograd)

  // For floating tensors that own their storage and have no history.
  Tensor& RequiresGrad(bool requires_grad = true);
  // Whether gradients flow to or through it.
  bool requires_grad() const;
  // The gradient accumulated by Backward; undefined where there is none. Under Autocast it has the
  // dtype of the computation, which optimizers take.
  Tensor Grad() const;
  void SetGrad(const Tensor& gradient);
  void ClearGrad();
  // Accumulates the gradients of this tensor into the Grad of all tensors it was computed from.
  absl::Status Backward(const BackwardOptions& options = {}) const;

  TensorImpl* impl() const { return impl_.get(); }

 private:
  static Tensor FromCopy(const void* elements, size_t bytes, const TensorType& type,
                         Location location);
  absl::Status CheckReadable(Dtype as) const;

  Ref<TensorImpl> impl_;
};

template <typename T>
constexpr Dtype DtypeOf() {
  if constexpr (std::is_same_v<T, float>) return Dtype::kF32;
  if constexpr (std::is_same_v<T, double>) return Dtype::kF64;
  if constexpr (std::is_same_v<T, int32_t>) return Dtype::kI32;
  if constexpr (std::is_same_v<T, int64_t>) return Dtype::kI64;
  if constexpr (std::is_same_v<T, uint8_t>) return Dtype::kU8;
  return Dtype::kBool;
}

template <typename T>
Tensor Tensor::FromData(absl::Span<const T> elements, const Shape& shape, Location location) {
  static_assert(std::is_same_v<T, bool> || DtypeOf<T>() != Dtype::kBool,
                "no dtype holds this type");
  return FromCopy(elements.data(), elements.size() * sizeof(T), {DtypeOf<T>(), shape}, location);
}

template <typename T>
absl::StatusOr<std::vector<T>> Tensor::ToVector(Location location) const {
  static_assert(!std::is_same_v<T, bool>, "read bool tensors as uint8_t");
  if (absl::Status status = CheckReadable(DtypeOf<T>()); !status.ok()) return status;
  const bool half = dtype() == Dtype::kBF16 || dtype() == Dtype::kF16;
  const Tensor tensor = half ? To(Dtype::kF32) : *this;
  std::vector<T> elements(tensor.elements());
  absl::Status status = tensor.ReadBytes(
      absl::MakeSpan(reinterpret_cast<std::byte*>(elements.data()), elements.size() * sizeof(T)),
      location);
  if (!status.ok()) return status;
  return elements;
}

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_TENSOR_H_
