#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/kernels/cpu/simd_math_test.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace moai {
namespace HWY_NAMESPACE {

#define MOAI_DEFINE_MAP(Function)                                                            \
  void Map##Function(const float* in, float* out, int64_t count) {                           \
    const FloatTag d;                                                                        \
    const int64_t step = hn::Lanes(d);                                                       \
    for (int64_t i = 0; i < count; i += step) {                                              \
      StoreSome(Vector##Function(d, LoadSome(d, in + i, count - i)), d, out + i, count - i); \
    }                                                                                        \
  }
MOAI_DEFINE_MAP(Exp)
MOAI_DEFINE_MAP(ExpNonPositive)
MOAI_DEFINE_MAP(Expm1)
MOAI_DEFINE_MAP(Log)
MOAI_DEFINE_MAP(Log1p)
MOAI_DEFINE_MAP(Tanh)
MOAI_DEFINE_MAP(Sigmoid)
MOAI_DEFINE_MAP(Erf)
MOAI_DEFINE_MAP(Sin)
MOAI_DEFINE_MAP(Cos)
#undef MOAI_DEFINE_MAP

template <class T>
void RoundTrip(const float* in, T* out, float* back, int64_t count) {
  ConvertRow(in, out, count);
  ConvertRow(out, back, count);
}
void RoundTripBFloat16(const float* in, BFloat16* out, float* back, int64_t count) {
  RoundTrip(in, out, back, count);
}
void RoundTripFloat16(const float* in, Float16* out, float* back, int64_t count) {
  RoundTrip(in, out, back, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace moai
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace moai {
namespace {

HWY_EXPORT(MapExp);
HWY_EXPORT(MapExpNonPositive);
HWY_EXPORT(MapExpm1);
HWY_EXPORT(MapLog);
HWY_EXPORT(MapLog1p);
HWY_EXPORT(MapTanh);
HWY_EXPORT(MapSigmoid);
HWY_EXPORT(MapErf);
HWY_EXPORT(MapSin);
HWY_EXPORT(MapCos);
HWY_EXPORT(RoundTripBFloat16);
HWY_EXPORT(RoundTripFloat16);

using Map = void (*)(const float*, float*, int64_t);

// Distance in units in the last place of the exact result; below the normal numbers, of the
// smallest normal number.
double UlpError(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e9;
  const float rounded = static_cast<float>(want);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : 1e9;
  const float magnitude = std::max(std::abs(rounded), std::numeric_limits<float>::min());
  const double ulp = std::nextafter(magnitude, INFINITY) - magnitude;
  return std::abs(got - want) / ulp;
}

void ExpectAccurate(Map map, double (*reference)(double), double low, double high, double limit) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> uniform(low, high);
  std::uniform_real_distribution<double> exponent(-40, std::log2(std::max(-low, high)));
  std::vector<float> in;
  for (int i = 0; i < 20001; ++i) {
    in.push_back(static_cast<float>(uniform(random)));
    const double small = std::exp2(exponent(random));
    in.push_back(static_cast<float>(std::clamp(i % 2 ? small : -small, low, high)));
  }
  std::vector<float> out(in.size());
  map(in.data(), out.data(), in.size());
  double worst = 0;
  float at = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const double error = UlpError(out[i], reference(in[i]));
    if (error > worst) worst = error, at = in[i];
  }
  EXPECT_LE(worst, limit) << "at " << at;
}

void ExpectSpecial(Map map, double (*reference)(double), std::vector<float> in) {
  std::vector<float> out(in.size());
  map(in.data(), out.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_LE(UlpError(out[i], reference(in[i])), 4) << in[i] << " gave " << out[i];
  }
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
const std::vector<float> kSpecial = {0.0f, -0.0f,  1.0f,   -1.0f, kInfinity, -kInfinity,
                                     kNaN, 1e-40f, 1e-30f, 1e30f, -1e30f};

double ReferenceSigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(SimdMathTest, ElementaryFunctionsAreAccurate) {
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapExp), std::exp, -103, 88.7, 2);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapExpNonPositive), std::exp, -87, 0, 3);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapExpm1), std::expm1, -20, 88, 4);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapLog), std::log, 1e-38, 1e38, 2);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapLog), std::log, 0.5, 2, 2);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapLog1p), std::log1p, -0.99, 10, 4);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapTanh), std::tanh, -12, 12, 4);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapSigmoid), ReferenceSigmoid, -80, 80, 4);
  ExpectAccurate(HWY_DYNAMIC_DISPATCH(MapErf), std::erf, -5, 5, 4);
}

TEST(SimdMathTest, SineAndCosineAreAccurate) {
  for (auto [map, reference] :
       {std::pair<Map, double (*)(double)>{HWY_DYNAMIC_DISPATCH(MapSin), std::sin},
        std::pair<Map, double (*)(double)>{HWY_DYNAMIC_DISPATCH(MapCos), std::cos}}) {
    std::mt19937_64 random(3);
    std::uniform_real_distribution<float> uniform(-20000, 20000);
    std::vector<float> in(10001), out(10001);
    for (float& x : in) x = uniform(random) * (&x - in.data() < 5000 ? 1e-3f : 1);
    map(in.data(), out.data(), in.size());
    // Near a zero of the function only the absolute error is small.
    for (size_t i = 0; i < in.size(); ++i) EXPECT_NEAR(out[i], reference(in[i]), 2.5e-7) << in[i];
    EXPECT_NO_FATAL_FAILURE(ExpectSpecial(map, reference, kSpecial));
  }
}

TEST(SimdMathTest, SpecialValuesAreThoseOfTheLibrary) {
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapExp), std::exp, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapExpm1), std::expm1, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapLog), std::log, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapLog1p), std::log1p, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapTanh), std::tanh, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapErf), std::erf, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapSigmoid), ReferenceSigmoid, kSpecial);
  ExpectSpecial(HWY_DYNAMIC_DISPATCH(MapExpNonPositive), std::exp,
                {0, -1, -1000, -kInfinity, kNaN});
}

TEST(SimdMathTest, SixteenBitFloatsRoundToNearestEven) {
  std::mt19937 random(5);
  std::vector<float> in = kSpecial;
  in.insert(in.end(), {65504, 65519.99f, 65520, 6e-8f, 2.9e-8f, 3.4e38f, 1.00390625f, 1.01171875f});
  while (in.size() < 5003) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    in.push_back(in.size() % 2 ? value : std::ldexp(value, -(std::ilogb(value) % 20)));
  }
  std::vector<BFloat16> bf16(in.size());
  std::vector<Float16> f16(in.size());
  std::vector<float> back(in.size());
  HWY_DYNAMIC_DISPATCH(RoundTripBFloat16)(in.data(), bf16.data(), back.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(bf16[i].bits, BFloat16(in[i]).bits) << in[i];
    EXPECT_EQ(std::bit_cast<uint32_t>(back[i]), std::bit_cast<uint32_t>(float(bf16[i])));
  }
  HWY_DYNAMIC_DISPATCH(RoundTripFloat16)(in.data(), f16.data(), back.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(in[i])) {
      EXPECT_TRUE(std::isnan(back[i])) << in[i];
      continue;
    }
    EXPECT_EQ(f16[i].bits, Float16(in[i]).bits) << in[i];
    EXPECT_EQ(back[i], float(f16[i]));
  }
}

}  // namespace
}  // namespace moai
#endif  // HWY_ONCE
