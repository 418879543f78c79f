#include "scheduler/cost/measured_device.h"

#include <gtest/gtest.h>

#include <limits>

#include "graph/builder.h"
#include "scheduler/cost/op_cost.h"

namespace moai {
namespace {

DeviceProfileMeasurement Measurement() {
  DeviceProfileMeasurement m;
  m.processor = "a CPU";
  m.threads = 2;
  m.matmuls = {{Dtype::kF32, 1, 512, 512, 512, 100},
               {Dtype::kF32, 1, 64, 64, 64, 20},
               {Dtype::kBF16, 1, 512, 512, 512, 300}};
  m.stream_gb_per_s = 20;
  m.kernel_microseconds = 0.5;
  m.vector_gflops = 5;
  m.attention_gflops = 60;
  m.attention_grad_gflops = 40;
  m.convolution_gflops = 30;
  m.convolution_grad_gflops = 10;
  return m;
}

double Seconds(const DeviceModel& device, Op op, Dtype dtype, const std::vector<Shape>& shapes,
               std::vector<int32_t> attributes, std::vector<double> numbers = {},
               std::vector<int64_t> extents = {}) {
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  std::vector<TensorType> types;
  for (const Shape& shape : shapes) {
    types.push_back({dtype, shape});
    inputs.push_back(
        builder.AddInput(InputKind::kValue, static_cast<uint32_t>(inputs.size()), types.back()));
  }
  EXPECT_TRUE(builder.AddNode(op, inputs, attributes, extents, numbers).ok());
  const CapturedGraph captured = builder.Finish();
  const Node& node = captured.graph.nodes[0];
  return OpSeconds(
      device, node, types,
      absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count));
}

TEST(MeasuredDeviceTest, WhatWasMeasuredIsPredicted) {
  const auto device = DeviceFromMeasurement(Measurement(), 4e9);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->name, "cpu: a CPU, 2 threads");
  EXPECT_EQ(device->memory_bytes, 4e9);
  const double launch = 0.5e-6;
  EXPECT_NEAR(Seconds(*device, Op::kMatmul, Dtype::kF32, {{512, 512}, {512, 512}}, {0, 0}),
              2.0 * 512 * 512 * 512 / 100e9 + launch, 1e-9);
  EXPECT_NEAR(Seconds(*device, Op::kMatmul, Dtype::kF32, {{64, 64}, {64, 64}}, {0, 0}),
              2.0 * 64 * 64 * 64 / 20e9 + launch, 1e-9);
  EXPECT_NEAR(Seconds(*device, Op::kMatmul, Dtype::kBF16, {{512, 512}, {512, 512}}, {0, 0}),
              2.0 * 512 * 512 * 512 / 300e9 + launch, 1e-9);
  // Without a measurement of its own, f16 goes as f32.
  EXPECT_NEAR(Seconds(*device, Op::kMatmul, Dtype::kF16, {{512, 512}, {512, 512}}, {0, 0}),
              2.0 * 512 * 512 * 512 / 100e9 + launch, 1e-9);
  EXPECT_NEAR(Seconds(*device, Op::kAdd, Dtype::kF32, {{1 << 22}, {1 << 22}}, {}),
              3.0 * 4 * (1 << 22) / 20e9 + launch, 1e-9);
  EXPECT_NEAR(Seconds(*device, Op::kSoftmax, Dtype::kF32, {{256, 256}}, {}),
              5.0 * 256 * 256 / 5e9 + launch, 1e-9);
  for (Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    const std::vector<Shape> qkv(3, {1, 512, 8, 64});
    EXPECT_NEAR(Seconds(*device, Op::kAttention, dtype, qkv, {0}, {0.125}),
                2.0 * 8 * 512 * 512 * 128 / 60e9 + launch, 1e-8);
  }
  const std::vector<Shape> convolution = {{4, 32, 16, 16}, {32, 32, 3, 3}};
  const double flops = 2.0 * 4 * 16 * 16 * 32 * 32 * 9;
  EXPECT_NEAR(
      Seconds(*device, Op::kConv2d, Dtype::kF32, convolution, {}, {}, {1, 1, 1, 1, 1, 1, 1, 1, 1}),
      flops / 30e9 + launch, 1e-8);
  const double of_input = Seconds(*device, Op::kConv2dGradInput, Dtype::kF32, convolution, {}, {},
                                  {1, 1, 1, 1, 1, 1, 1, 1, 1, 16, 16});
  const double of_weight =
      Seconds(*device, Op::kConv2dGradWeight, Dtype::kF32, {convolution[0], convolution[0]}, {}, {},
              {1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3});
  EXPECT_NEAR(of_input + of_weight, 2 * flops / 10e9 + 2 * launch, 1e-8);
}

TEST(MeasuredDeviceTest, WhatIsNoMeasurementIsRefused) {
  EXPECT_FALSE(DeviceFromMeasurement({}, 4e9).ok());
  EXPECT_FALSE(DeviceFromMeasurement(Measurement(), 0).ok());
  DeviceProfileMeasurement m = Measurement();
  m.stream_gb_per_s = std::numeric_limits<double>::infinity();
  EXPECT_NE(DeviceFromMeasurement(m, 4e9).status().message().find("stream_gb_per_s"),
            std::string::npos);
  m = Measurement();
  m.matmuls[1].n = 0;
  EXPECT_FALSE(DeviceFromMeasurement(m, 4e9).ok());
  m = Measurement();
  m.matmuls = {{Dtype::kBF16, 1, 8, 8, 8, 1}};
  EXPECT_NE(DeviceFromMeasurement(m, 4e9).status().message().find("f32"), std::string::npos);
  m = Measurement();
  m.matmuls.resize(5000, m.matmuls[0]);
  EXPECT_FALSE(DeviceFromMeasurement(m, 4e9).ok());
  m = Measurement();
  m.threads = 0;
  EXPECT_FALSE(DeviceFromMeasurement(m, 4e9).ok());
}

}  // namespace
}  // namespace moai
