#include "server/measured_node.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

proto::WorkerHello Hello() {
  proto::WorkerHello hello;
  proto::DeviceDescription* device = hello.add_devices();
  device->set_memory_bytes(1 << 30);
  proto::DeviceMeasurement* measurement = device->mutable_measurement();
  measurement->set_threads(1);
  proto::MatmulMeasurement* product = measurement->add_matmuls();
  product->set_dtype(uint32_t(Dtype::kF32));
  product->set_batch(1);
  product->set_m(512);
  product->set_n(512);
  product->set_k(512);
  product->set_gflops(100);
  measurement->set_stream_gb_per_s(12);
  measurement->set_kernel_us(1);
  measurement->set_vector_gflops(5);
  measurement->set_attention_gflops(50);
  measurement->set_attention_grad_gflops(40);
  measurement->set_convolution_gflops(30);
  measurement->set_convolution_grad_gflops(20);
  for (proto::LinkMeasurement* link :
       {hello.mutable_process_link(), hello.mutable_network_link()}) {
    link->set_latency_us(20);
    link->set_gather_gb_per_s(4);
    link->set_reduce_gb_per_s(2);
  }
  return hello;
}

TEST(MeasuredNodeTest, TakesWhatWasMeasured) {
  const proto::WorkerHello hello = Hello();
  const auto node = MeasuredNodeOf(hello.devices(0), hello);
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_NE(*node, nullptr);
  EXPECT_EQ((*node)->device.peak(MathKind::kF32), 100e9);
  EXPECT_DOUBLE_EQ((*node)->network.bandwidth, 4e9);
  EXPECT_DOUBLE_EQ((*node)->network.all_reduce_gain, 0.5);
  EXPECT_DOUBLE_EQ((*node)->process.latency, 20e-6);
}

TEST(MeasuredNodeTest, TakesTheNetworkForAHostThatWasNotMeasured) {
  proto::WorkerHello hello = Hello();
  EXPECT_DOUBLE_EQ(MeasuredNodeOf(hello.devices(0), hello).value()->host.bandwidth, 4e9);
  *hello.mutable_host_link() = hello.network_link();
  hello.mutable_host_link()->set_gather_gb_per_s(6);
  EXPECT_DOUBLE_EQ(MeasuredNodeOf(hello.devices(0), hello).value()->host.bandwidth, 6e9);
}

TEST(MeasuredNodeTest, IsNothingWhereSomethingIsMissing) {
  proto::WorkerHello hello = Hello();
  hello.clear_network_link();
  EXPECT_EQ(MeasuredNodeOf(hello.devices(0), hello).value(), nullptr);
  hello = Hello();
  hello.mutable_devices(0)->clear_measurement();
  EXPECT_EQ(MeasuredNodeOf(hello.devices(0), hello).value(), nullptr);
}

TEST(MeasuredNodeTest, RefusesWhatNoDeviceCanBe) {
  proto::WorkerHello hello = Hello();
  hello.mutable_network_link()->set_latency_us(-1);
  EXPECT_THAT(MeasuredNodeOf(hello.devices(0), hello).status().message(), HasSubstr("network"));
  hello = Hello();
  hello.mutable_process_link()->set_reduce_gb_per_s(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(MeasuredNodeOf(hello.devices(0), hello).status().message(), HasSubstr("process"));
  hello = Hello();
  hello.mutable_devices(0)->mutable_measurement()->mutable_matmuls(0)->set_dtype(99);
  EXPECT_THAT(MeasuredNodeOf(hello.devices(0), hello).status().message(),
              HasSubstr("no matrix product in f32"));
}

}  // namespace
}  // namespace moai
