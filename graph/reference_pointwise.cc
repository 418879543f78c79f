// Pointwise primitives.
#include <cmath>
#include <limits>

#include "graph/reference_internal.h"

namespace moai::reference {
namespace {

// A pointwise operand: its elements, or one number for all.
template <typename T>
struct Operand {
  const T* elements;
  int64_t step;  // 0 for rank 0
  T operator[](int64_t i) const { return elements[i * step]; }
};

Operand<double> Floats(const NodeRun& run, size_t i) {
  return {run.in(i).floats.data(), run.in_shape(i).rank() == 0 ? 0 : 1};
}
Operand<int64_t> Integers(const NodeRun& run, size_t i) {
  return {run.in(i).integers.data(), run.in_shape(i).rank() == 0 ? 0 : 1};
}

template <typename F>
absl::Status MapFloat(const NodeRun& run, F f) {
  const auto x = Floats(run, 0);
  std::vector<double>& out = run.out().floats;
  for (size_t i = 0; i < out.size(); ++i) out[i] = f(x[i]);
  return absl::OkStatus();
}

template <typename F>
absl::Status MapFloat2(const NodeRun& run, F f) {
  const auto a = Floats(run, 0), b = Floats(run, 1);
  std::vector<double>& out = run.out().floats;
  for (size_t i = 0; i < out.size(); ++i) out[i] = f(a[i], b[i]);
  return absl::OkStatus();
}

// f gives the exact result modulo 2^64.
template <typename F>
absl::Status MapInteger(const NodeRun& run, F f) {
  const auto x = Integers(run, 0);
  std::vector<int64_t>& out = run.out().integers;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = Wrap(static_cast<uint64_t>(f(x[i])), run.out().type.dtype);
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status MapInteger2(const NodeRun& run, F f) {
  const auto a = Integers(run, 0), b = Integers(run, 1);
  std::vector<int64_t>& out = run.out().integers;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = Wrap(static_cast<uint64_t>(f(a[i], b[i])), run.out().type.dtype);
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status Compare(const NodeRun& run, F f) {
  std::vector<int64_t>& out = run.out().integers;
  if (IsFloat(run.in(0).type.dtype)) {
    const auto a = Floats(run, 0), b = Floats(run, 1);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(a[i], b[i]);
  } else {
    const auto a = Integers(run, 0), b = Integers(run, 1);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(a[i], b[i]);
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status TestFloat(const NodeRun& run, F f) {
  const auto x = Floats(run, 0);
  std::vector<int64_t>& out = run.out().integers;
  for (size_t i = 0; i < out.size(); ++i) out[i] = f(x[i]);
  return absl::OkStatus();
}

double FloatSign(double x) {
  if (std::isnan(x)) return x;
  return x > 0 ? 1 : x < 0 ? -1 : 0;
}

// NaN wins.
double FloatMaximum(double a, double b) {
  if (std::isnan(a)) return a;
  return b <= a ? a : b;
}
double FloatMinimum(double a, double b) {
  if (std::isnan(a)) return a;
  return a <= b ? a : b;
}

double FloatMod(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

// The least number divided by -1 wraps to itself.
uint64_t IntegerDivide(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return -static_cast<uint64_t>(a);
  return static_cast<uint64_t>(a / b);
}

int64_t IntegerMod(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  const int64_t remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

absl::Status RunFloatUnary(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kNeg:
      return MapFloat(run, [](double x) { return -x; });
    case Op::kAbs:
      return MapFloat(run, [](double x) { return std::fabs(x); });
    case Op::kSign:
      return MapFloat(run, FloatSign);
    case Op::kExp:
      return MapFloat(run, [](double x) { return std::exp(x); });
    case Op::kExpm1:
      return MapFloat(run, [](double x) { return std::expm1(x); });
    case Op::kLog:
      return MapFloat(run, [](double x) { return std::log(x); });
    case Op::kLog1p:
      return MapFloat(run, [](double x) { return std::log1p(x); });
    case Op::kSqrt:
      return MapFloat(run, [](double x) { return std::sqrt(x); });
    case Op::kRsqrt:
      return MapFloat(run, [](double x) { return 1 / std::sqrt(x); });
    case Op::kReciprocal:
      return MapFloat(run, [](double x) { return 1 / x; });
    case Op::kSin:
      return MapFloat(run, [](double x) { return std::sin(x); });
    case Op::kCos:
      return MapFloat(run, [](double x) { return std::cos(x); });
    case Op::kTanh:
      return MapFloat(run, [](double x) { return std::tanh(x); });
    case Op::kErf:
      return MapFloat(run, [](double x) { return std::erf(x); });
    case Op::kSigmoid:
      return MapFloat(run, [](double x) { return 1 / (1 + std::exp(-x)); });
    case Op::kRelu:
      return MapFloat(run, [](double x) { return FloatMaximum(x, 0); });
    case Op::kFloor:
      return MapFloat(run, [](double x) { return std::floor(x); });
    case Op::kCeil:
      return MapFloat(run, [](double x) { return std::ceil(x); });
    case Op::kRound:
      return MapFloat(run, [](double x) { return std::nearbyint(x); });
    default:
      return NotOfThisFamily(run);
  }
}

absl::Status RunIntegerUnary(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kNeg:
      return MapInteger(run, [](int64_t x) { return -static_cast<uint64_t>(x); });
    case Op::kAbs:
      return MapInteger(run, [](int64_t x) {
        return x < 0 ? -static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
      });
    case Op::kSign:
      return MapInteger(run, [](int64_t x) { return x > 0 ? 1 : x < 0 ? -1 : 0; });
    case Op::kRelu:
      return MapInteger(run, [](int64_t x) { return std::max<int64_t>(x, 0); });
    case Op::kNot:
      if (run.in(0).type.dtype == Dtype::kBool) {
        return MapInteger(run, [](int64_t x) { return 1 - x; });
      }
      return MapInteger(run, [](int64_t x) { return ~x; });
    default:
      return NotOfThisFamily(run);
  }
}

absl::Status RunFloatBinary(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kAdd:
      return MapFloat2(run, [](double a, double b) { return a + b; });
    case Op::kSub:
      return MapFloat2(run, [](double a, double b) { return a - b; });
    case Op::kMul:
      return MapFloat2(run, [](double a, double b) { return a * b; });
    case Op::kDiv:
      return MapFloat2(run, [](double a, double b) { return a / b; });
    case Op::kMod:
      return MapFloat2(run, FloatMod);
    case Op::kPow:
      return MapFloat2(run, [](double a, double b) { return std::pow(a, b); });
    case Op::kMaximum:
      return MapFloat2(run, FloatMaximum);
    case Op::kMinimum:
      return MapFloat2(run, FloatMinimum);
    default:
      return NotOfThisFamily(run);
  }
}

absl::Status RunIntegerBinary(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kAdd:
      return MapInteger2(run, [](uint64_t a, uint64_t b) { return a + b; });
    case Op::kSub:
      return MapInteger2(run, [](uint64_t a, uint64_t b) { return a - b; });
    case Op::kMul:
      return MapInteger2(run, [](uint64_t a, uint64_t b) { return a * b; });
    case Op::kDiv:
      return MapInteger2(run, IntegerDivide);
    case Op::kMod:
      return MapInteger2(run, IntegerMod);
    case Op::kMaximum:
      return MapInteger2(run, [](int64_t a, int64_t b) { return std::max(a, b); });
    case Op::kMinimum:
      return MapInteger2(run, [](int64_t a, int64_t b) { return std::min(a, b); });
    case Op::kAnd:
      return MapInteger2(run, [](int64_t a, int64_t b) { return a & b; });
    case Op::kOr:
      return MapInteger2(run, [](int64_t a, int64_t b) { return a | b; });
    case Op::kXor:
      return MapInteger2(run, [](int64_t a, int64_t b) { return a ^ b; });
    default:
      return NotOfThisFamily(run);
  }
}

absl::Status RunComparison(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kEq:
      return Compare(run, [](auto a, auto b) { return a == b; });
    case Op::kNe:
      return Compare(run, [](auto a, auto b) { return a != b; });
    case Op::kLt:
      return Compare(run, [](auto a, auto b) { return a < b; });
    case Op::kLe:
      return Compare(run, [](auto a, auto b) { return a <= b; });
    case Op::kGt:
      return Compare(run, [](auto a, auto b) { return a > b; });
    case Op::kGe:
      return Compare(run, [](auto a, auto b) { return a >= b; });
    default:
      return NotOfThisFamily(run);
  }
}

// Truncates and saturates; NaN is 0.
int64_t FloatToInteger(double x, Dtype dtype) {
  if (dtype == Dtype::kBool) return x != 0;
  if (std::isnan(x)) return 0;
  const auto [least, greatest] = IntegerRange(dtype);
  // The greatest i64 is no double; the comparison is with the next power of two, 2^63.
  if (x >= static_cast<double>(greatest)) return greatest;
  if (x <= static_cast<double>(least)) return least;
  return static_cast<int64_t>(x);
}

absl::Status RunCast(const NodeRun& run) {
  const Dtype from = run.in(0).type.dtype, to = run.out().type.dtype;
  const size_t elements = static_cast<size_t>(run.out_shape().elements());
  if (IsFloat(from) && IsFloat(to)) {
    run.out().floats = run.in(0).floats;
  } else if (IsFloat(to)) {
    for (size_t i = 0; i < elements; ++i) {
      run.out().floats[i] = static_cast<double>(run.in(0).integers[i]);
    }
  } else if (IsFloat(from)) {
    for (size_t i = 0; i < elements; ++i) {
      run.out().integers[i] = FloatToInteger(run.in(0).floats[i], to);
    }
  } else {
    for (size_t i = 0; i < elements; ++i) {
      run.out().integers[i] = Wrap(static_cast<uint64_t>(run.in(0).integers[i]), to);
    }
  }
  return absl::OkStatus();
}

absl::Status RunSelect(const NodeRun& run) {
  const auto condition = Integers(run, 0);
  VisitElements(run.out(), [&](auto& out) {
    const int64_t step_a = run.in_shape(1).rank() == 0 ? 0 : 1;
    const int64_t step_b = run.in_shape(2).rank() == 0 ? 0 : 1;
    const auto& a = ElementsLike(out, run.in(1));
    const auto& b = ElementsLike(out, run.in(2));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = condition[i] != 0 ? a[i * step_a] : b[i * step_b];
    }
  });
  return absl::OkStatus();
}

absl::Status RunClamp(const NodeRun& run) {
  if (IsFloat(run.out().type.dtype)) {
    const auto x = Floats(run, 0), low = Floats(run, 1), high = Floats(run, 2);
    std::vector<double>& out = run.out().floats;
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = FloatMinimum(FloatMaximum(x[i], low[i]), high[i]);
    }
  } else {
    const auto x = Integers(run, 0), low = Integers(run, 1), high = Integers(run, 2);
    std::vector<int64_t>& out = run.out().integers;
    for (size_t i = 0; i < out.size(); ++i) out[i] = std::min(std::max(x[i], low[i]), high[i]);
  }
  return absl::OkStatus();
}

}  // namespace

std::pair<int64_t, int64_t> IntegerRange(Dtype dtype) {
  switch (dtype) {
    case Dtype::kI32:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    case Dtype::kU8:
      return {0, 255};
    case Dtype::kBool:
      return {0, 1};
    default:
      return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  }
}

absl::Status RunPointwise(const NodeRun& run) {
  switch (run.node.op) {
    case Op::kCast:
      return RunCast(run);
    case Op::kSelect:
      return RunSelect(run);
    case Op::kClamp:
      return RunClamp(run);
    case Op::kIsNan:
      return TestFloat(run, [](double x) { return std::isnan(x); });
    case Op::kIsFinite:
      return TestFloat(run, [](double x) { return std::isfinite(x); });
    default:
      break;
  }
  const OpEntry& entry = Entry(run.node.op);
  if (entry.dtype_rule == DtypeRule::kCompare) return RunComparison(run);
  const bool is_float = IsFloat(run.in(0).type.dtype);
  if (entry.max_inputs == 1) return is_float ? RunFloatUnary(run) : RunIntegerUnary(run);
  return is_float ? RunFloatBinary(run) : RunIntegerBinary(run);
}

}  // namespace moai::reference
