#include "benchmarks/grpc_ping_pong.h"

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "proto/session.grpc.pb.h"

namespace moai {
namespace {

class Echo : public proto::SessionService::Service {
  grpc::Status Attach(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<proto::ServerFrame, proto::ClientFrame>* stream) override {
    proto::ClientFrame frame;
    proto::ServerFrame answer;
    answer.mutable_welcome()->set_accelerator(std::string(200, 'x'));
    while (stream->Read(&frame)) stream->Write(answer);
    return grpc::Status::OK;
  }
};

// Never returns. Writes its port to `pipe`.
[[noreturn]] void Answer(int pipe) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  if (write(pipe, &port, sizeof(port)) != ssize_t{sizeof(port)}) _exit(1);
  server->Wait();
  _exit(0);
}

}  // namespace

class GrpcPingPong::Impl {
 public:
  Impl() {
    int ends[2];
    if (pipe(ends) != 0) abort();
    child_ = fork();
    if (child_ == 0) Answer(ends[1]);
    int port = 0;
    if (read(ends[0], &port, sizeof(port)) != ssize_t{sizeof(port)} || port == 0) {
      fprintf(stderr, "the answering process did not start\n");
      exit(1);
    }
    close(ends[0]);
    close(ends[1]);
    frame_.mutable_hello()->set_process_name(std::string(200, 'x'));
    stub_ = proto::SessionService::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                               grpc::InsecureChannelCredentials()));
    stream_ = stub_->Attach(&context_);
  }
  ~Impl() {
    stream_->WritesDone();
    stream_->Finish();
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }

  void Call() {
    if (!stream_->Write(frame_) || !stream_->Read(&answer_)) {
      fprintf(stderr, "the ping-pong stream broke\n");
      exit(1);
    }
  }

 private:
  pid_t child_ = -1;
  grpc::ClientContext context_;
  std::unique_ptr<proto::SessionService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<proto::ClientFrame, proto::ServerFrame>> stream_;
  proto::ClientFrame frame_;
  proto::ServerFrame answer_;
};

GrpcPingPong::GrpcPingPong() : impl_(std::make_unique<Impl>()) {}
GrpcPingPong::~GrpcPingPong() = default;
void GrpcPingPong::Call() { impl_->Call(); }

}  // namespace moai
