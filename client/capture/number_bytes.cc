#include "client/capture/number_bytes.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "graph/half.h"

namespace moai {
namespace {

template <typename T>
void Put(std::vector<std::byte>& bytes, T value) {
  bytes.resize(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
}

int64_t Saturate(double number) {
  if (std::isnan(number)) return 0;
  if (number >= 0x1p63) return std::numeric_limits<int64_t>::max();
  if (number <= -0x1p63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(number);
}

}  // namespace

Scalar NumberOf(Dtype dtype, double number) {
  if (IsFloat(dtype)) return {.f64 = number};
  if (dtype == Dtype::kBool) return {.i64 = number != 0};
  return {.i64 = Saturate(number)};
}

SharedBytes NumberBytes(Dtype dtype, Scalar number) {
  std::vector<std::byte> bytes;
  switch (dtype) {
    case Dtype::kF64:
      Put(bytes, number.f64);
      break;
    case Dtype::kF32:
      Put(bytes, static_cast<float>(number.f64));
      break;
    case Dtype::kBF16:
      Put(bytes, FloatToBfloat16(static_cast<float>(number.f64)));
      break;
    case Dtype::kF16:
      Put(bytes, FloatToHalf(static_cast<float>(number.f64)));
      break;
    case Dtype::kI64:
      Put(bytes, number.i64);
      break;
    case Dtype::kI32:
      Put(bytes, static_cast<int32_t>(number.i64));
      break;
    case Dtype::kU8:
      Put(bytes, static_cast<uint8_t>(number.i64));
      break;
    case Dtype::kBool:
      Put(bytes, static_cast<uint8_t>(number.i64 != 0));
      break;
  }
  auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return {.bytes = *owner, .owner = owner};
}

}  // namespace moai
