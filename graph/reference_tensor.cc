// Conversions between reference tensors and the bytes of a device.
#include <cstring>

#include "graph/half.h"
#include "graph/interpreter.h"

namespace moai {
namespace {

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
void Store(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof(T));
}

double LoadFloat(Dtype dtype, const std::byte* from) {
  switch (dtype) {
    case Dtype::kF32:
      return Load<float>(from);
    case Dtype::kBF16:
      return Bfloat16ToFloat(Load<uint16_t>(from));
    case Dtype::kF16:
      return HalfToFloat(Load<uint16_t>(from));
    default:
      return Load<double>(from);
  }
}

void StoreFloat(Dtype dtype, double value, std::byte* to) {
  switch (dtype) {
    case Dtype::kF32:
      return Store(static_cast<float>(value), to);
    case Dtype::kBF16:
      return Store(FloatToBfloat16(static_cast<float>(value)), to);
    case Dtype::kF16:
      return Store(FloatToHalf(static_cast<float>(value)), to);
    default:
      return Store(value, to);
  }
}

int64_t LoadInteger(Dtype dtype, const std::byte* from) {
  switch (dtype) {
    case Dtype::kI32:
      return Load<int32_t>(from);
    case Dtype::kU8:
      return Load<uint8_t>(from);
    case Dtype::kBool:
      return Load<uint8_t>(from) != 0;
    default:
      return Load<int64_t>(from);
  }
}

void StoreInteger(Dtype dtype, int64_t value, std::byte* to) {
  switch (ByteSize(dtype)) {
    case 4:
      return Store(static_cast<int32_t>(value), to);
    case 1:
      return Store(static_cast<uint8_t>(value), to);
    default:
      return Store(value, to);
  }
}

}  // namespace

double RoundToDtype(double value, Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return static_cast<float>(value);
    case Dtype::kBF16:
      return Bfloat16ToFloat(FloatToBfloat16(static_cast<float>(value)));
    case Dtype::kF16:
      return HalfToFloat(FloatToHalf(static_cast<float>(value)));
    default:
      return value;
  }
}

ReferenceTensor ReferenceTensor::Zeros(const TensorType& type) {
  ReferenceTensor tensor{.type = type};
  const size_t elements = static_cast<size_t>(type.shape.elements());
  if (IsFloat(type.dtype)) {
    tensor.floats.resize(elements);
  } else {
    tensor.integers.resize(elements);
  }
  return tensor;
}

ReferenceTensor ReferenceTensor::FromBytes(const TensorType& type,
                                           absl::Span<const std::byte> bytes) {
  ReferenceTensor tensor = Zeros(type);
  const std::byte* from = bytes.data();
  for (double& element : tensor.floats) {
    element = LoadFloat(type.dtype, from);
    from += ByteSize(type.dtype);
  }
  for (int64_t& element : tensor.integers) {
    element = LoadInteger(type.dtype, from);
    from += ByteSize(type.dtype);
  }
  return tensor;
}

std::vector<std::byte> ReferenceTensor::ToBytes() const {
  std::vector<std::byte> bytes(static_cast<size_t>(type.bytes()));
  std::byte* to = bytes.data();
  for (double element : floats) {
    StoreFloat(type.dtype, element, to);
    to += ByteSize(type.dtype);
  }
  for (int64_t element : integers) {
    StoreInteger(type.dtype, element, to);
    to += ByteSize(type.dtype);
  }
  return bytes;
}

}  // namespace moai
