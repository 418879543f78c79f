#include "scheduler/cost/gpu_types.h"

#include <gtest/gtest.h>

namespace moai {
namespace {

TEST(GpuTypesTest, EveryTypeIsComplete) {
  for (const GpuType& type : GpuTypes()) {
    const DeviceModel& device = type.device;
    SCOPED_TRACE(device.name);
    EXPECT_GT(device.peak(MathKind::kF32), 0);
    EXPECT_GE(device.peak(MathKind::kF16), device.peak(MathKind::kF32));
    EXPECT_GT(device.vector_flops, 0);
    EXPECT_GT(device.memory_bandwidth, 1e11);
    EXPECT_GT(device.memory_bytes, 1e10);
    EXPECT_GT(device.matmul.processors, 1);
    EXPECT_GT(device.matmul.peak_fraction, 0.3);
    EXPECT_LT(device.matmul.peak_fraction, 1);
    // Links inside the domain are never slower than the network.
    EXPECT_GE(type.fast_bandwidth, type.network_bandwidth);
    EXPECT_EQ(FindGpuType(device.name).value(), &type);
  }
}

TEST(GpuTypesTest, ExportVersionsDifferInTheirLinks) {
  const GpuType& h100 = **FindGpuType("h100");
  const GpuType& h800 = **FindGpuType("H800");
  EXPECT_EQ(h100.device.peak(MathKind::kBF16), 989e12);
  EXPECT_EQ(h800.device.peak(MathKind::kBF16), 989e12);
  EXPECT_EQ(h100.fast_bandwidth, 450e9);
  EXPECT_EQ(h800.fast_bandwidth, 200e9);
  EXPECT_EQ((*FindGpuType("GB200"))->fast_domain, 72);
}

TEST(GpuTypesTest, AnUnknownNameIsToldWhatIsKnown) {
  const absl::Status status = FindGpuType("H101").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("'H101'"), std::string::npos);
  EXPECT_NE(status.message().find("A100-40GB"), std::string::npos);
}

TEST(DeviceModelTest, MissingArithmeticFallsBackToF32) {
  const DeviceModel& v100 = (*FindGpuType("V100"))->device;
  EXPECT_EQ(MathFor(v100, Dtype::kF16), MathKind::kF16);
  EXPECT_EQ(MathFor(v100, Dtype::kBF16), MathKind::kF32);
  EXPECT_EQ(MathFor(v100, Dtype::kI32), MathKind::kF32);
  for (int i = 0; i < kMathKinds; ++i) {
    const MathKind kind = static_cast<MathKind>(i);
    EXPECT_EQ(MathKindFromName(Name(kind)), kind);
  }
  EXPECT_EQ(MathKindFromName("int4"), std::nullopt);
}

}  // namespace
}  // namespace moai
