// What a second single-core worker brings: the language model of the example trains at one global
// batch on one worker and on two. The ceiling is what two trainings that share nothing reach at the
// same time, against one alone: cores of one machine share its memory and its power.
//
// The three take turns, and ratios are taken within a turn, so that whatever else the machine does
// disturbs all alike. Where a step's time goes is told by the executors of one more run
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
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"
#include "graph/op.h"
#include "scheduler/cost/scoring.h"
#include "tests/end_to_end/cluster.h"

ABSL_FLAG(int, repetitions, 7, "turns of the three");
ABSL_FLAG(int, steps, 8, "steps of a turn that are measured; two before them are not");
ABSL_FLAG(int64_t, batch, 16, "sequences in a step, of all devices together");
ABSL_FLAG(int64_t, sequence, 128, "ids in a sequence");
ABSL_FLAG(int64_t, hidden, 128, "width of the model");
ABSL_FLAG(int64_t, ffn, 352, "width inside the feed-forward part");
ABSL_FLAG(int64_t, layers, 4, "blocks");

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmup = 2;
constexpr int64_t kVocabulary = 256;
// A profile is written after so many steps of a program.
constexpr int kProfiledSteps = 8;
// Losses of two plans differ by rounding only.
constexpr double kSameLoss = 1e-3;

struct Measured {
  absl::Status status;
  double step_s = 0;  // the median
  double loss = 0;    // of the last step
};

absl::StatusOr<std::unique_ptr<Cluster>> Workers(int count) {
  return Cluster::Start(
      {.workers = count, .devices_per_session = count, .device_memory = "2GiB", .threads = 1});
}

// A new session, from the same start and with the same batches each time. Every step's loss is
// read.
absl::Status Train(const Cluster& cluster, int steps, Measured& measured) {
  MOAI_ASSIGN_OR_RETURN(const Accelerator accelerator,
                        Accelerator::Connect({.server = cluster.address(), .log = false}));
  ManualSeed(1);
  models::Llama model({.vocabulary = kVocabulary,
                       .hidden = absl::GetFlag(FLAGS_hidden),
                       .ffn = absl::GetFlag(FLAGS_ffn),
                       .layers = absl::GetFlag(FLAGS_layers),
                       .sequence = absl::GetFlag(FLAGS_sequence)});
  optim::AdamW optimizer(model.NamedParameters(), {.learning_rate = 1e-3});
  const Shape shape = {absl::GetFlag(FLAGS_batch), absl::GetFlag(FLAGS_sequence)};
  std::mt19937 random(1);
  std::vector<double> seconds;
  for (int step = 0; step < kWarmup + steps; ++step) {
    std::vector<int32_t> ids(size_t(shape.elements())), labels(ids.size());
    for (int32_t& id : ids) id = int32_t(random() % kVocabulary);
    for (int32_t& label : labels) label = int32_t(random() % kVocabulary);
    const Clock::time_point begin = Clock::now();
    const Tensor loss = model.Loss(Tensor::FromData(ids, shape), Tensor::FromData(labels, shape));
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    MOAI_ASSIGN_OR_RETURN(measured.loss, loss.Item());
    if (step < kWarmup) continue;
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  measured.step_s = Median(std::move(seconds));
  return absl::OkStatus();
}

Measured TrainOn(const Cluster& cluster, int steps) {
  Measured measured;
  measured.status = Train(cluster, steps, measured);
  return measured;
}

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
  // One step more than the profile counts: it has been written when that one is read.
  const Measured measured = TrainOn(**cluster, kProfiledSteps + 1 - kWarmup);
  MOAI_RETURN_IF_ERROR(measured.status);
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
    const double step_ms = std::max(measured.step_s * 1e3, times.all_ms);
    breakdown.communication += 50 * times.collectives_ms / step_ms;
    breakdown.compute += 50 * (times.all_ms - times.collectives_ms) / step_ms;
    breakdown.idle += 50 * (step_ms - times.all_ms) / step_ms;
  }
  return breakdown;
}

absl::Status Run() {
  if (absl::GetFlag(FLAGS_repetitions) < 1 || absl::GetFlag(FLAGS_steps) < 1) {
    return absl::InvalidArgumentError("--repetitions and --steps must be at least 1");
  }
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> one, Workers(1));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> other, Workers(1));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Cluster> two, Workers(2));
  const int steps = absl::GetFlag(FLAGS_steps);
  std::vector<double> speedups, ceilings, ones, twos;
  absl::PrintF("turn   one worker, s/step   two workers   two apart   speedup   ceiling\n");
  for (int i = 0; i < absl::GetFlag(FLAGS_repetitions); ++i) {
    const Measured alone = TrainOn(*one, steps);
    const Measured together = TrainOn(*two, steps);
    Measured apart[2];
    std::thread beside([&] { apart[1] = TrainOn(*other, steps); });
    apart[0] = TrainOn(*one, steps);
    beside.join();
    for (const Measured* measured :
         std::initializer_list<const Measured*>{&alone, &together, &apart[0], &apart[1]}) {
      MOAI_RETURN_IF_ERROR(measured->status);
      if (std::abs(measured->loss - alone.loss) > kSameLoss * std::abs(alone.loss)) {
        return absl::InternalError(absl::StrCat("the runs came to different losses: ", alone.loss,
                                                " and ", measured->loss));
      }
    }
    ones.push_back(alone.step_s);
    twos.push_back(together.step_s);
    speedups.push_back(alone.step_s / together.step_s);
    // Two steps are done in the time of one.
    ceilings.push_back(alone.step_s / apart[0].step_s + alone.step_s / apart[1].step_s);
    absl::PrintF("%4d %20.4f %13.4f %11.4f %9.3f %9.3f\n", i + 1, alone.step_s, together.step_s,
                 (apart[0].step_s + apart[1].step_s) / 2, speedups.back(), ceilings.back());
    std::fflush(stdout);
  }
  MOAI_ASSIGN_OR_RETURN(const Breakdown breakdown, MeasureBreakdown());
  const double speedup = Median(speedups), ceiling = Median(ceilings);
  absl::PrintF(
      "speedup %.3f of a ceiling of %.3f; a step of two workers: compute %.1f %%, communication "
      "%.1f %%, idle %.1f %%\n",
      speedup, ceiling, breakdown.compute, breakdown.communication, breakdown.idle);
  absl::PrintF(
      "{\"speedup_2\": %.4f, \"ceiling_2\": %.4f, \"of_ceiling\": %.4f, \"compute_pct\": %.2f, "
      "\"communication_pct\": %.2f, \"idle_pct\": %.2f, \"one_step_s\": %.5f, \"two_step_s\": "
      "%.5f, \"batch\": %d}\n",
      speedup, ceiling, speedup / ceiling, breakdown.compute, breakdown.communication,
      breakdown.idle, Median(ones), Median(twos), absl::GetFlag(FLAGS_batch));
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
