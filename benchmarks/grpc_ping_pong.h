// A bare gRPC conversation between two processes, as a measure of what the transport itself costs.
#ifndef MOAI_BENCHMARKS_GRPC_PING_PONG_H_
#define MOAI_BENCHMARKS_GRPC_PING_PONG_H_

#include <memory>

namespace moai {

class GrpcPingPong {
 public:
  // Forks the answering process: to be made before this process has threads.
  GrpcPingPong();
  ~GrpcPingPong();

  // One message of 200 bytes there and one back, on one stream, over loopback TCP, with the
  // blocking API on both sides.
  void Call();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moai

#endif  // MOAI_BENCHMARKS_GRPC_PING_PONG_H_
