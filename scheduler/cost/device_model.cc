#include "scheduler/cost/device_model.h"

namespace moai {
namespace {

constexpr absl::string_view kNames[kMathKinds] = {"f64", "f32", "tf32", "f16", "bf16", "fp8"};

MathKind OwnMath(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
      return MathKind::kF64;
    case Dtype::kF16:
      return MathKind::kF16;
    case Dtype::kBF16:
      return MathKind::kBF16;
    default:
      return MathKind::kF32;
  }
}

}  // namespace

absl::string_view Name(MathKind kind) { return kNames[static_cast<size_t>(kind)]; }

std::optional<MathKind> MathKindFromName(absl::string_view name) {
  for (int i = 0; i < kMathKinds; ++i) {
    if (kNames[i] == name) return static_cast<MathKind>(i);
  }
  return std::nullopt;
}

MathKind MathFor(const DeviceModel& device, Dtype dtype) {
  const MathKind own = OwnMath(dtype);
  return device.peak(own) > 0 ? own : MathKind::kF32;
}

}  // namespace moai
