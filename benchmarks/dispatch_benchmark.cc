// What a step costs that computes next to nothing: the round trip client -> server -> executor and
// back, and how many steps a second go through when nobody waits. In the same run, interleaved, a
// bare gRPC ping-pong of the same transport: two processes instead of three, and no work.
//
// Every step has its own feed, uses the result of the step before, and is acknowledged.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/grpc_ping_pong.h"
#include "client/session/grpc_session.h"
#include "graph/builder.h"
#include "tests/end_to_end/cluster.h"
#include "wire/process_tuning.h"

namespace moai {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr int kBlockingSteps = 2000;  // a round
constexpr int kPipelinedSteps = 50000;

template <typename T>
T Require(absl::StatusOr<T> value, const char* what) {
  if (!value.ok()) {
    fprintf(stderr, "%s: %s\n", what, value.status().ToString().c_str());
    exit(1);
  }
  return *std::move(value);
}

void Require(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  exit(1);
}

// total <- total + feed, over four numbers.
class Counter {
 public:
  explicit Counter(GrpcSession* session) : session_(session) {
    const TensorType type{Dtype::kF32, Shape{4}};
    GraphBuilder builder;
    const ValueId total = builder.AddInput(InputKind::kValue, 0, type);
    const ValueId feed = builder.AddInput(InputKind::kFeed, 0, type);
    builder.AddOutput(OutputKind::kValue, Require(builder.AddNode(Op::kAdd, {total, feed}), "add"));
    captured_ = builder.Finish();
    graph_ = std::make_shared<const Graph>(captured_.graph);
    total_ = session_->NewIds(1);
    Require(session_->Upload(total_, type, Share(0)), "upload");
  }

  void Step() {
    StepRequest step{
        .fingerprint = captured_.fingerprint, .graph = graph_, .sizes = captured_.sizes};
    step.values = {total_};
    step.feeds = {Share(1)};
    step.first_output = session_->NewIds(1);
    const ObjectId next = step.first_output;
    Require(session_->Submit(std::move(step)), "submit");
    session_->Release({total_});
    total_ = next;
    ++steps_;
  }

  // Reads the total and checks it: every step has been applied, once.
  void Check() {
    float numbers[4];
    Require(session_->Read(total_, absl::MakeSpan(reinterpret_cast<std::byte*>(numbers), 16)),
            "read");
    if (numbers[0] != float(steps_)) {
      fprintf(stderr, "after %d steps the total is %f\n", steps_, numbers[0]);
      exit(1);
    }
  }

 private:
  static SharedBytes Share(float number) {
    auto owner = std::make_shared<const std::vector<float>>(4, number);
    return {absl::MakeConstSpan(reinterpret_cast<const std::byte*>(owner->data()), 16), owner};
  }

  GrpcSession* const session_;
  CapturedGraph captured_;
  std::shared_ptr<const Graph> graph_;
  ObjectId total_ = 0;
  int steps_ = 0;
};

double Percentile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, size_t(p * double(values.size())))];
}

double Microseconds(steady_clock::time_point since) {
  return duration<double, std::micro>(steady_clock::now() - since).count();
}

int Main() {
  // Before gRPC and its threads: this one forks.
  wire::TuneProcessForTransfers();
  GrpcPingPong ping_pong;
  auto cluster = Require(Cluster::Start({.tcp = true}), "cluster");
  auto session = Require(GrpcSession::Connect({.address = cluster->address()}), "connect");
  Counter counter(session.get());
  for (int i = 0; i < 200; ++i) {
    counter.Step();
    counter.Check();
    ping_pong.Call();
  }

  std::vector<double> blocking, ping, pipelined;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kBlockingSteps; ++i) {
      const auto begin = steady_clock::now();
      counter.Step();
      counter.Check();
      blocking.push_back(Microseconds(begin));
    }
    for (int i = 0; i < kBlockingSteps; ++i) {
      const auto begin = steady_clock::now();
      ping_pong.Call();
      ping.push_back(Microseconds(begin));
    }
    const auto begin = steady_clock::now();
    for (int i = 0; i < kPipelinedSteps; ++i) counter.Step();
    Require(session->Synchronize(), "synchronize");
    pipelined.push_back(kPipelinedSteps / (Microseconds(begin) / 1e6));
  }
  const double blocking_p50 = Percentile(blocking, 0.5), blocking_p99 = Percentile(blocking, 0.99);
  const double ping_p50 = Percentile(ping, 0.5), ping_p99 = Percentile(ping, 0.99);
  const double per_second = Percentile(pipelined, 0.5);
  printf("loopback TCP, %d rounds of %d blocking and %d pipelined steps\n", kRounds, kBlockingSteps,
         kPipelinedSteps);
  printf("%-44s %10s %10s\n", "", "p50 us", "p99 us");
  printf("%-44s %10.1f %10.1f\n", "step and read, three processes", blocking_p50, blocking_p99);
  printf("%-44s %10.1f %10.1f\n", "gRPC ping-pong (blocking), two processes", ping_p50, ping_p99);
  printf("%-44s %10.0f\n", "pipelined steps a second", per_second);
  printf("%-44s %10.2f\n", "step / ping-pong", blocking_p50 / ping_p50);
  printf(
      "{\"blocking_p50_us\": %.1f, \"blocking_p99_us\": %.1f, \"pipelined_steps_per_s\": %.0f, "
      "\"grpc_pingpong_p50_us\": %.1f}\n",
      blocking_p50, blocking_p99, per_second, ping_p50);
  return 0;
}

}  // namespace
}  // namespace moai

int main() { return moai::Main(); }
