// What a second single-core worker brings: the language model of the example trains at one global
// batch on one worker and on two. The ceiling is what two trainings that share nothing reach at the
// same time, against one alone: cores of one machine share its memory and its power.
//
// The three take turns of some steps, each a training that goes on, so that whatever else the
// machine does disturbs all alike; what counts are ratios of medians, and the median of the turns'
// ratios is printed beside them. Where a step's time goes is told by the executors of one more run
// (MOAI_PROFILE): collectives, which include waiting for the other device; everything else that
// runs; and the rest, in which the executor waits for its next step.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/mutex.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "graph/op.h"
#include "scheduler/cost/scoring.h"
#include "tests/end_to_end/cluster.h"

ABSL_FLAG(int, repetitions, 40, "turns of the three");
ABSL_FLAG(int, steps, 8, "steps of a turn that are measured");
ABSL_FLAG(int, idle_steps, 4,
          "steps before them: memory that has not been touched for seconds is slow at first");
ABSL_FLAG(int64_t, batch, 16, "sequences in a step, of all devices together");
ABSL_FLAG(int64_t, sequence, 128, "ids in a sequence");
ABSL_FLAG(int64_t, hidden, 128, "width of the model");
ABSL_FLAG(int64_t, ffn, 352, "width inside the feed-forward part");
ABSL_FLAG(int64_t, layers, 4, "blocks");

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

// Memory is touched for the first time; the first step, which makes the optimizer's state, is
// another program than those that follow.
constexpr int kWarmup = 5;
constexpr int64_t kVocabulary = 256;
// A profile is written after so many steps of a program.
constexpr int kProfiledSteps = 64;
// Losses of two plans differ by rounding only, in the beginning.
constexpr int kComparedStep = 5;
constexpr double kSameLoss = 1e-3;

absl::StatusOr<std::unique_ptr<Cluster>> Workers(int count) {
  return Cluster::Start(
      {.workers = count, .devices_per_session = count, .device_memory = "2GiB", .threads = 1});
}

// A training that goes on when it is told to, on a thread of its own as sessions are. All trainings
// start alike and have the same batches; every step's loss is read.
class Training {
 public:
  explicit Training(const Cluster& cluster) : thread_([this, &cluster] { Run(cluster); }) {}
  ~Training() {
    {
      MutexLock lock(mutex_);
      closing_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }

  // Goes on for `unmeasured` steps, and then for `steps`.
  void Begin(int unmeasured, int steps) {
    MutexLock lock(mutex_);
    unmeasured_ = unmeasured;
    steps_ = unmeasured + steps;
    changed_.NotifyAll();
  }
  // Waits for them; the mean of the measured ones in seconds.
  absl::StatusOr<double> End() {
    MutexLock lock(mutex_);
    while (steps_ > 0 && !ended_) changed_.Wait(mutex_);
    if (!status_.ok()) return status_;
    double sum = 0;
    for (size_t i = unmeasured_; i < seconds_.size(); ++i) sum += seconds_[i];
    return sum / double(seconds_.size() - unmeasured_);
  }
  absl::StatusOr<double> Steps(int unmeasured, int steps) {
    Begin(unmeasured, steps);
    return End();
  }

  // Of step kComparedStep, once that is done; nothing runs now.
  double compared_loss() const { return compared_loss_; }

 private:
  void EndSteps() {
    MutexLock lock(mutex_);
    steps_ = 0;
    changed_.NotifyAll();
  }

  // 0: it is over.
  int WaitForSteps() {
    MutexLock lock(mutex_);
    while (steps_ == 0 && !closing_) changed_.Wait(mutex_);
    return closing_ ? 0 : steps_;
  }

  void Run(const Cluster& cluster) {
    const absl::Status status = Train(cluster);
    MutexLock lock(mutex_);
    status_ = status;
    ended_ = true;
    changed_.NotifyAll();
  }

  absl::Status Train(const Cluster& cluster) {
    MOAI_ASSIGN_OR_RETURN(const Accelerator accelerator,
                          Accelerator::Connect({.server = cluster.address(), .log = false}));
    ManualSeed(1);
    models::Llama model({.vocabulary = kVocabulary,
                         .hidden = absl::GetFlag(FLAGS_hidden),
                         .ffn = absl::GetFlag(FLAGS_ffn),
                         .layers = absl::GetFlag(FLAGS_layers),
                         .sequence = absl::GetFlag(FLAGS_sequence)});
    optim::AdamW optimizer(model.NamedParameters(), {.learning_rate = 1e-3});
    int done = 0;
    for (int steps = WaitForSteps(); steps > 0; steps = WaitForSteps()) {
      seconds_.clear();
      for (int i = 0; i < steps; ++i) {
        const Clock::time_point begin = Clock::now();
        MOAI_ASSIGN_OR_RETURN(const double loss, Step(model, optimizer));
        seconds_.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
        if (++done == kComparedStep) compared_loss_ = loss;
      }
      EndSteps();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> Step(models::Llama& model, optim::AdamW& optimizer) {
    const Shape shape = {absl::GetFlag(FLAGS_batch), absl::GetFlag(FLAGS_sequence)};
    std::vector<int32_t> ids(size_t(shape.elements())), labels(ids.size());
    for (int32_t& id : ids) id = int32_t(random_() % kVocabulary);
    for (int32_t& label : labels) label = int32_t(random_() % kVocabulary);
    const Tensor loss = model.Loss(Tensor::FromData(ids, shape), Tensor::FromData(labels, shape));
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    return loss.Item();
  }

  std::mt19937 random_{1};
  std::vector<double> seconds_;  // of the last steps that were asked for
  double compared_loss_ = 0;
  Mutex mutex_;
  CondVar changed_;
  int steps_ ABSL_GUARDED_BY(mutex_) = 0;       // to do
  int unmeasured_ ABSL_GUARDED_BY(mutex_) = 0;  // of them
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // as `status_` says
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// Shares of the step, in percent, the mean of the devices.
struct Breakdown {
  double compute = 0, communication = 0, idle = 0;
};

struct ProgramTimes {
  double all_ms = 0, collectives_ms = 0;
};

// Of one profile; worker/executor/step_profile.cc writes it. The columns are those of its header
// line: the fourth is the mean of the time that passed, in ms, and the ninth the kind.
ProgramTimes ReadProfile(const std::filesystem::path& path) {
  ProgramTimes times;
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  std::getline(file, line);
  while (std::getline(file, line) && !line.empty()) {
    std::istringstream columns(line);
    double cpu_least = 0, cpu_mean = 0, least = 0, mean = 0, count = 0, megabytes = 0, rate = 0,
           first = 0;
    std::string kind;
    columns >> cpu_least >> cpu_mean >> least >> mean >> count >> megabytes >> rate >> first >>
        kind;
    const std::optional<Op> op = OpFromName(kind);
    if (kind == "all") times.all_ms = mean;
    if (op.has_value() && IsCollective(*op)) times.collectives_ms += mean;
  }
  return times;
}

absl::StatusOr<Breakdown> MeasureBreakdown() {
  char directory[] = "/tmp/moai-scaling-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    return absl::InternalError(absl::StrCat("cannot make ", directory));
  }
  const std::string prefix = absl::StrCat(directory, "/profile");
  setenv("MOAI_PROFILE", prefix.c_str(), /*overwrite=*/1);  // workers inherit it
  auto cluster = Workers(2);
  unsetenv("MOAI_PROFILE");
  MOAI_RETURN_IF_ERROR(cluster.status());
  // Two steps more than the profile counts: the first is another program, and with the last one's
  // loss the profile has been written.
  Training training(**cluster);
  MOAI_ASSIGN_OR_RETURN(const double step_s, training.Steps(2, kProfiledSteps));
  // Every program of a process has a file; the training step is the one that takes longest.
  std::map<std::string, ProgramTimes> by_process;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const ProgramTimes times = ReadProfile(entry.path());
    ProgramTimes& longest = by_process[entry.path().stem().string()];
    if (times.all_ms > longest.all_ms) longest = times;
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  if (by_process.size() != 2) {
    return absl::InternalError(absl::StrCat(by_process.size(), " executors left a profile, not 2"));
  }
  Breakdown breakdown;
  for (const auto& [process, times] : by_process) {
    const double step_ms = std::max(step_s * 1e3, times.all_ms);
    breakdown.communication += 50 * times.collectives_ms / step_ms;
    breakdown.compute += 50 * (times.all_ms - times.collectives_ms) / step_ms;
    breakdown.idle += 50 * (step_ms - times.all_ms) / step_ms;
  }
  return breakdown;
}

// Seconds of a step of one training alone, and of each of two at the same time: steps that these do
// while it does one.
double Ceiling(double alone, double apart, double beside) { return alone / apart + alone / beside; }

absl::Status Run() {
  if (absl::GetFlag(FLAGS_repetitions) < 1 || absl::GetFlag(FLAGS_steps) < 1 ||
      absl::GetFlag(FLAGS_idle_steps) < 0) {
    return absl::InvalidArgumentError(
        "--repetitions and --steps must be at least 1, --idle_steps at least 0");
  }
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> one, Workers(1));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> other, Workers(1));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> two, Workers(2));
  Training training_on_one(*one), training_on_other(*other), training_on_two(*two);
  for (Training* training : {&training_on_one, &training_on_other, &training_on_two}) {
    MOAI_RETURN_IF_ERROR(training->Steps(0, kWarmup).status());
    const double loss = training->compared_loss(), expected = training_on_one.compared_loss();
    if (std::abs(loss - expected) > kSameLoss * std::abs(expected)) {
      return absl::InternalError(
          absl::StrCat("the trainings came to different losses: ", expected, " and ", loss));
    }
  }
  const int unmeasured = absl::GetFlag(FLAGS_idle_steps), steps = absl::GetFlag(FLAGS_steps);
  std::vector<double> ones, twos, aparts, besides, of_ceilings;
  absl::PrintF(
      "turn   one worker, s/step   two workers   two apart   speedup   ceiling   of ceiling\n");
  for (int i = 0; i < absl::GetFlag(FLAGS_repetitions); ++i) {
    MOAI_ASSIGN_OR_RETURN(const double alone, training_on_one.Steps(unmeasured, steps));
    MOAI_ASSIGN_OR_RETURN(const double together, training_on_two.Steps(unmeasured, steps));
    training_on_one.Begin(unmeasured, steps);
    training_on_other.Begin(unmeasured, steps);
    MOAI_ASSIGN_OR_RETURN(const double apart, training_on_one.End());
    MOAI_ASSIGN_OR_RETURN(const double beside, training_on_other.End());
    ones.push_back(alone);
    twos.push_back(together);
    aparts.push_back(apart);
    besides.push_back(beside);
    const double speedup = alone / together, ceiling = Ceiling(alone, apart, beside);
    of_ceilings.push_back(speedup / ceiling);
    absl::PrintF("%4d %20.4f %13.4f %11.4f %9.3f %9.3f %12.3f\n", i + 1, alone, together,
                 (apart + beside) / 2, speedup, ceiling, of_ceilings.back());
    std::fflush(stdout);
  }
  MOAI_ASSIGN_OR_RETURN(const Breakdown breakdown, MeasureBreakdown());
  const double speedup = Median(ones) / Median(twos);
  const double ceiling = Ceiling(Median(ones), Median(aparts), Median(besides));
  absl::PrintF(
      "speedup %.3f, ceiling %.3f, %.3f of it (the median of the turns: %.3f); a step of two "
      "workers: compute %.1f %%, communication %.1f %%, idle %.1f %%\n",
      speedup, ceiling, speedup / ceiling, Median(of_ceilings), breakdown.compute,
      breakdown.communication, breakdown.idle);
  absl::PrintF(
      "{\"speedup_2\": %.4f, \"ceiling_2\": %.4f, \"of_ceiling\": %.4f, \"of_ceiling_in_turns\": "
      "%.4f, \"compute_pct\": %.2f, \"communication_pct\": %.2f, \"idle_pct\": %.2f, "
      "\"one_step_s\": %.5f, \"two_step_s\": %.5f, \"batch\": %d}\n",
      speedup, ceiling, speedup / ceiling, Median(of_ceilings), breakdown.compute,
      breakdown.communication, breakdown.idle, Median(ones), Median(twos),
      absl::GetFlag(FLAGS_batch));
  return absl::OkStatus();
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = moai::Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "scaling: %s\n", std::string(status.message()).c_str());
  return 1;
}
