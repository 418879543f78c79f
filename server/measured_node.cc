#include "server/measured_node.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

DeviceProfileMeasurement FromProto(const proto::DeviceMeasurement& proto) {
  DeviceProfileMeasurement measurement;
  measurement.processor = proto.processor().substr(0, 128);
  measurement.threads = proto.threads();
  for (const proto::MatmulMeasurement& product : proto.matmuls()) {
    // A dtype of a later version is passed over.
    if (!IsValid(Dtype(product.dtype()))) continue;
    measurement.matmuls.push_back({.dtype = Dtype(product.dtype()),
                                   .batch = product.batch(),
                                   .m = product.m(),
                                   .n = product.n(),
                                   .k = product.k(),
                                   .gflops = product.gflops()});
  }
  measurement.stream_gb_per_s = proto.stream_gb_per_s();
  measurement.kernel_microseconds = proto.kernel_us();
  measurement.vector_gflops = proto.vector_gflops();
  measurement.attention_gflops = proto.attention_gflops();
  measurement.attention_grad_gflops = proto.attention_grad_gflops();
  measurement.convolution_gflops = proto.convolution_gflops();
  measurement.convolution_grad_gflops = proto.convolution_grad_gflops();
  return measurement;
}

LinkMeasurement FromProto(const proto::LinkMeasurement& proto) {
  return {.latency_us = proto.latency_us(),
          .gather_gb_per_s = proto.gather_gb_per_s(),
          .reduce_gb_per_s = proto.reduce_gb_per_s()};
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MeasuredNode>> MeasuredNodeOf(
    const proto::DeviceDescription& device, const proto::WorkerHello& hello) {
  if (!device.has_measurement() || !hello.has_process_link() || !hello.has_network_link()) {
    return nullptr;
  }
  const proto::LinkMeasurement& host =
      hello.has_host_link() ? hello.host_link() : hello.network_link();
  absl::StatusOr<MeasuredNode> node = NodeFromMeasurement(
      FromProto(device.measurement()),
      {FromProto(hello.process_link()), FromProto(host), FromProto(hello.network_link())},
      double(device.memory_bytes()));
  if (!node.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("hello: ", node.status().message()));
  }
  return std::make_shared<const MeasuredNode>(*std::move(node));
}

}  // namespace moai
