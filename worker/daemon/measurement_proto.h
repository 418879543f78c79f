// What was measured, as a worker tells it to the server.
#ifndef MOAI_WORKER_DAEMON_MEASUREMENT_PROTO_H_
#define MOAI_WORKER_DAEMON_MEASUREMENT_PROTO_H_

#include "program/device_profile.h"
#include "proto/worker.pb.h"

namespace moai {

inline proto::DeviceMeasurement ToProto(const DeviceProfileMeasurement& measurement) {
  proto::DeviceMeasurement proto;
  proto.set_processor(measurement.processor);
  proto.set_threads(measurement.threads);
  for (const MatmulMeasurement& product : measurement.matmuls) {
    proto::MatmulMeasurement* added = proto.add_matmuls();
    added->set_dtype(uint32_t(product.dtype));
    added->set_batch(product.batch);
    added->set_m(product.m);
    added->set_n(product.n);
    added->set_k(product.k);
    added->set_gflops(product.gflops);
  }
  proto.set_stream_gb_per_s(measurement.stream_gb_per_s);
  proto.set_kernel_us(measurement.kernel_microseconds);
  proto.set_vector_gflops(measurement.vector_gflops);
  proto.set_attention_gflops(measurement.attention_gflops);
  proto.set_attention_grad_gflops(measurement.attention_grad_gflops);
  proto.set_convolution_gflops(measurement.convolution_gflops);
  proto.set_convolution_grad_gflops(measurement.convolution_grad_gflops);
  return proto;
}

inline proto::LinkMeasurement ToProto(const LinkMeasurement& link) {
  proto::LinkMeasurement proto;
  proto.set_latency_us(link.latency_us);
  proto.set_gather_gb_per_s(link.gather_gb_per_s);
  proto.set_reduce_gb_per_s(link.reduce_gb_per_s);
  return proto;
}

}  // namespace moai

#endif  // MOAI_WORKER_DAEMON_MEASUREMENT_PROTO_H_
