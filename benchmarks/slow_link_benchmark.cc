// What a slow link costs the example: its model trains as client/examples/train_llm does by
// default, reading the loss every 10 steps, once connected directly and once through a proxy that
// delays every byte, by 5 ms each way. The two sessions, each on a device of its own, take turns
// block by block, so that whatever else the machine does disturbs both alike.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/mutex.h"
#include "base/status.h"
#include "client/examples/byte_text.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "tests/end_to_end/cluster.h"
#include "tests/support/flaky_proxy.h"

ABSL_FLAG(int, blocks, 9, "how many times each side trains ten steps");
ABSL_FLAG(int, round_trip_ms, 10, "what the proxy adds to a round trip; even");
ABSL_FLAG(int, threads, 1, "of each device");
ABSL_FLAG(std::string, text, "/usr/share/common-licenses", "what to learn from");

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

// As in train_llm.
constexpr int kStepsOfBlock = 10;
constexpr int64_t kBatch = 16;
constexpr double kPeakLearningRate = 3e-3;

// Two threads, one of which runs at a time.
class Turns {
 public:
  void Wait(int who) {
    MutexLock lock(mutex_);
    while (turn_ != who) changed_.Wait(mutex_);
  }
  void Pass(int who) {
    MutexLock lock(mutex_);
    if (!left_) turn_ = 1 - who;
    changed_.NotifyAll();
  }
  // The other one goes on alone.
  void Leave(int who) {
    MutexLock lock(mutex_);
    turn_ = 1 - who;
    left_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int turn_ ABSL_GUARDED_BY(mutex_) = 0;
  bool left_ ABSL_GUARDED_BY(mutex_) = false;
};

struct Result {
  absl::Status status;
  std::vector<double> step_ms;   // of each block
  std::vector<uint32_t> losses;  // bits, of each block's last step
  SessionStats stats;
};

absl::Status Train(const std::string& address, const examples::ByteText& text, int who,
                   Turns& turns, Result& result) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = address, .log = false}));
  ManualSeed(1);
  models::Llama model(models::LlamaConfig{});
  const std::vector<nn::NamedTensor> parameters = model.NamedParameters();
  optim::AdamW optimizer(parameters,
                         {.learning_rate = kPeakLearningRate, .beta2 = 0.95, .weight_decay = 0.1});
  const int blocks = absl::GetFlag(FLAGS_blocks);
  const optim::CosineSchedule schedule = {.warmup_steps = 20,
                                          .total_steps = (blocks + 1) * kStepsOfBlock};
  const int64_t sequence = model.config().sequence;
  std::mt19937_64 random(1);
  int64_t taken = 0;
  // Block 0 registers graphs and is not counted.
  for (int block = 0; block <= blocks; ++block) {
    turns.Wait(who);
    const Clock::time_point begin = Clock::now();
    Tensor loss;
    for (int i = 0; i < kStepsOfBlock; ++i, ++taken) {
      const examples::Batch batch = text.Draw(kBatch, sequence, random);
      optimizer.set_learning_rate(kPeakLearningRate * schedule.Factor(taken));
      loss = model.Loss(Tensor::FromData(batch.ids, {kBatch, sequence}),
                        Tensor::FromData(batch.labels, {kBatch, sequence}));
      MOAI_RETURN_IF_ERROR(loss.Backward());
      MOAI_RETURN_IF_ERROR(
          optimizer.Step({.gradient_scale = optim::ClipGradientNorm(parameters, 1.0).scale,
                          .release_gradients = true}));
    }
    MOAI_ASSIGN_OR_RETURN(const double value, loss.Item());
    const std::chrono::duration<double, std::milli> spent = Clock::now() - begin;
    if (block > 0) {
      result.step_ms.push_back(spent.count() / kStepsOfBlock);
      result.losses.push_back(std::bit_cast<uint32_t>(static_cast<float>(value)));
    }
    turns.Pass(who);
  }
  result.stats = accelerator.stats();
  return absl::OkStatus();
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

absl::Status Run() {
  MOAI_ASSIGN_OR_RETURN(const examples::ByteText text,
                        examples::ByteText::Load(absl::GetFlag(FLAGS_text)));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> cluster,
                        Cluster::Start({.devices = 2,
                                        .device_memory = "1GiB",
                                        .threads = absl::GetFlag(FLAGS_threads),
                                        .tcp = true}));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<testing::FlakyProxy> proxy,
                        testing::FlakyProxy::Start(cluster->address()));
  const int round_trip = absl::GetFlag(FLAGS_round_trip_ms);
  proxy->SetDelay(std::chrono::milliseconds(round_trip / 2));

  Turns turns;
  Result direct, slow;
  const auto side = [&](int who, const std::string& address, Result& result) {
    result.status = Train(address, text, who, turns, result);
    turns.Leave(who);
  };
  std::thread first(side, 0, cluster->address(), std::ref(direct));
  std::thread second(side, 1, proxy->address(), std::ref(slow));
  first.join();
  second.join();
  MOAI_RETURN_IF_ERROR(direct.status);
  MOAI_RETURN_IF_ERROR(slow.status);
  if (direct.losses != slow.losses) {
    return absl::InternalError("the two runs came to different losses");
  }

  // Neighbouring blocks saw the same machine: the ratio is the median of theirs.
  std::vector<double> ratios;
  absl::PrintF("block   direct ms/step   slow ms/step   ratio\n");
  for (size_t i = 0; i < direct.step_ms.size(); ++i) {
    ratios.push_back(slow.step_ms[i] / direct.step_ms[i]);
    absl::PrintF("%5d %16.2f %14.2f %7.3f\n", i + 1, direct.step_ms[i], slow.step_ms[i],
                 ratios.back());
  }
  const uint64_t blocks = static_cast<uint64_t>(absl::GetFlag(FLAGS_blocks)) + 1;
  absl::PrintF("blocking round trips: %.2f for %d steps; control bytes: %.0f a step\n",
               double(slow.stats.blocking_round_trips) / double(blocks), kStepsOfBlock,
               double(slow.stats.control_bytes_sent) / double(blocks * kStepsOfBlock));
  const double slowdown = 100 * (Median(ratios) - 1);
  absl::PrintF("slowdown with %d ms of round trip: %.2f %%\n", round_trip, slowdown);
  absl::PrintF(
      "{\"slowdown_pct\": %.2f, \"direct_step_ms\": %.3f, \"slow_step_ms\": %.3f, "
      "\"round_trip_ms\": %d}\n",
      slowdown, Median(direct.step_ms), Median(slow.step_ms), round_trip);
  return absl::OkStatus();
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = moai::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "slow_link: %s\n", std::string(status.message()).c_str());
  return 1;
}
