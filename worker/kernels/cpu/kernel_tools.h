// What every CPU kernel is built with: operand addresses, dtype dispatch, kernels from lambdas.
#ifndef MOAI_WORKER_KERNELS_CPU_KERNEL_TOOLS_H_
#define MOAI_WORKER_KERNELS_CPU_KERNEL_TOOLS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "program/program.h"
#include "program/workspace.h"
#include "worker/kernels/cpu/float_types.h"
#include "worker/kernels/kernel.h"

namespace moai {

// What a kernel is made from. Outlived by the program, not by the kernel.
struct KernelContext {
  const Program& program;
  uint32_t index;  // of the instruction
  const Instruction& instruction;
  DeviceShape device;

  const Shape& input_shape(int i) const { return instruction.inputs[i].shape; }
  const Shape& output_shape(int i) const { return instruction.outputs[i].shape; }
  Dtype input_dtype(int i) const { return instruction.inputs[i].dtype; }
  Dtype output_dtype(int i) const { return instruction.outputs[i].dtype; }
};

// Where an operand begins, once the buffers' bases are known.
struct Address {
  BufferId buffer = 0;
  int64_t bytes = 0;

  template <class T>
  T* at(const KernelArguments& arguments) const {
    return reinterpret_cast<T*>(arguments.buffers[buffer] + bytes);
  }
};

inline Address AddressOf(const Operand& operand) {
  return {operand.buffer, operand.offset * ByteSize(operand.dtype)};
}
inline Address In(const KernelContext& context, int i) {
  return AddressOf(context.instruction.inputs[i]);
}
inline Address Out(const KernelContext& context, int i) {
  return AddressOf(context.instruction.outputs[i]);
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

// A kernel that calls `function(arguments)`. What the lambda captures is all its state.
template <class Function>
KernelOr MakeKernel(Function function) {
  class LambdaKernel final : public Kernel {
   public:
    explicit LambdaKernel(Function function) : function_(std::move(function)) {}
    void Run(const KernelArguments& arguments) override { function_(arguments); }

   private:
    Function function_;
  };
  return std::unique_ptr<Kernel>(new LambdaKernel(std::move(function)));
}

// Unimplemented, with the op and the types of its operands.
absl::Status UnsupportedTypes(const KernelContext& context);

// The address of this instruction's scratch. Internal if it has less than `bytes`: then
// CpuWorkspaceBytes and the kernel disagree.
absl::StatusOr<Address> ScratchFor(const KernelContext& context, int64_t bytes);

template <class T>
struct TypeTag {
  using type = T;
};

// Calls visitor(TypeTag<T>{}) with the storage type of a dtype of that group; returns whether the
// dtype belongs to it.
template <class Visitor>
bool VisitFloat(Dtype dtype, Visitor&& visitor) {
  switch (dtype) {
    case Dtype::kF32:
      visitor(TypeTag<float>{});
      return true;
    case Dtype::kBF16:
      visitor(TypeTag<BFloat16>{});
      return true;
    case Dtype::kF16:
      visitor(TypeTag<Float16>{});
      return true;
    case Dtype::kF64:
      visitor(TypeTag<double>{});
      return true;
    default:
      return false;
  }
}

template <class Visitor>
bool VisitNumber(Dtype dtype, Visitor&& visitor) {
  switch (dtype) {
    case Dtype::kI32:
      visitor(TypeTag<int32_t>{});
      return true;
    case Dtype::kI64:
      visitor(TypeTag<int64_t>{});
      return true;
    case Dtype::kU8:
      visitor(TypeTag<uint8_t>{});
      return true;
    default:
      return VisitFloat(dtype, visitor);
  }
}

template <class Visitor>
bool VisitAny(Dtype dtype, Visitor&& visitor) {
  if (dtype == Dtype::kBool) {
    visitor(TypeTag<bool>{});
    return true;
  }
  return VisitNumber(dtype, visitor);
}

// For ops that move elements without looking at them: an unsigned integer of the dtype's size.
template <class Visitor>
void VisitSize(Dtype dtype, Visitor&& visitor) {
  switch (ByteSize(dtype)) {
    case 8:
      return visitor(TypeTag<uint64_t>{});
    case 4:
      return visitor(TypeTag<uint32_t>{});
    case 2:
      return visitor(TypeTag<uint16_t>{});
    default:
      return visitor(TypeTag<uint8_t>{});
  }
}

// Index operands are i32 or i64.
struct IndexReader {
  const std::byte* data;
  bool wide;

  int64_t operator[](int64_t i) const {
    return wide ? reinterpret_cast<const int64_t*>(data)[i]
                : reinterpret_cast<const int32_t*>(data)[i];
  }
};

inline IndexReader Indices(const KernelArguments& arguments, const Address& address, Dtype dtype) {
  return {address.at<const std::byte>(arguments), dtype == Dtype::kI64};
}

// A dense shape seen from one axis: element (o, a, i) is at (o * extent + a) * inner + i.
struct AxisView {
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
};

inline AxisView ViewAxis(const Shape& shape, int axis) {
  AxisView view;
  for (int d = 0; d < axis; ++d) view.outer *= shape[d];
  view.extent = shape[axis];
  for (int d = axis + 1; d < shape.rank(); ++d) view.inner *= shape[d];
  return view;
}

// Rows and row length of a tensor whose last dim is the one that a kernel works along.
inline AxisView ViewLastDim(const Shape& shape) { return ViewAxis(shape, shape.rank() - 1); }

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_KERNEL_TOOLS_H_
