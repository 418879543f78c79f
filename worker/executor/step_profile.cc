#include "worker/executor/step_profile.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "program/explain.h"

namespace moai {
namespace {

int64_t Bytes(const Operand& operand) {
  int64_t elements = 1;
  for (int d = 0; d < operand.shape.rank(); ++d) {
    if (operand.strides[d] != 0) elements *= operand.shape[d];
  }
  return elements * ByteSize(operand.dtype);
}

int64_t Bytes(const Instruction& instruction) {
  int64_t bytes = 0;
  for (const Operand& operand : instruction.inputs) bytes += Bytes(operand);
  for (const Operand& operand : instruction.outputs) bytes += Bytes(operand);
  return bytes;
}

// What instructions of one kind have in common: the op, or the results of a fused kernel.
std::string Kind(const Instruction& instruction) {
  std::string kind(instruction.op == Op::kInvalid ? absl::string_view("fused")
                                                  : Name(instruction.op));
  for (const Operand& operand : instruction.inputs) {
    absl::StrAppend(&kind, " ", ToString(operand.type()));
  }
  absl::StrAppend(&kind, " ->");
  for (const Operand& operand : instruction.outputs) {
    absl::StrAppend(&kind, " ", ToString(operand.type()));
  }
  return kind;
}

double Seconds(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}

struct KindTimes {
  double mean = 0, least = 0;          // seconds that passed
  double cpu_mean = 0, cpu_least = 0;  // of processors
  int64_t bytes = 0;
  int64_t count = 0;
  size_t first = 0;

  void Add(const KindTimes& other) {
    mean += other.mean, least += other.least;
    cpu_mean += other.cpu_mean, cpu_least += other.cpu_least;
    bytes += other.bytes, count += other.count;
  }
};

}  // namespace

std::unique_ptr<StepProfile> StepProfile::Make(const Program& program) {
  const char* path = std::getenv("MOAI_PROFILE");
  if (path == nullptr || *path == '\0') return nullptr;
  static std::atomic<int> next = 0;
  return std::unique_ptr<StepProfile>(
      new StepProfile(program, absl::StrCat(path, ".", getpid(), ".", next++)));
}

StepProfile::StepProfile(const Program& program, std::string path)
    : program_(program), path_(std::move(path)), times_(program.instructions.size()) {}

StepProfile::Clocks StepProfile::Now() {
  return {Seconds(CLOCK_MONOTONIC), Seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

void StepProfile::BeginStep() { last_ = Now(); }

void StepProfile::Ran(size_t instruction) {
  const Clocks now = Now();
  const Clocks spent = {now.wall - last_.wall, now.cpu - last_.cpu};
  last_ = now;
  Times& times = times_[instruction];
  if (steps_ == 0) times.least = spent;
  times.total = {times.total.wall + spent.wall, times.total.cpu + spent.cpu};
  times.least = {std::min(times.least.wall, spent.wall), std::min(times.least.cpu, spent.cpu)};
}

void StepProfile::EndStep() {
  ++steps_;
  if (std::has_single_bit(uint64_t(steps_))) Write();
}

void StepProfile::Write() const {
  if (steps_ == 0) return;
  std::map<std::string, KindTimes> kinds;
  KindTimes all;
  for (size_t i = 0; i < times_.size(); ++i) {
    const Times& times = times_[i];
    const KindTimes one = {.mean = times.total.wall / double(steps_),
                           .least = times.least.wall,
                           .cpu_mean = times.total.cpu / double(steps_),
                           .cpu_least = times.least.cpu,
                           .bytes = Bytes(program_.instructions[i]),
                           .count = 1};
    KindTimes& kind = kinds[Kind(program_.instructions[i])];
    if (kind.count == 0) kind.first = i;
    kind.Add(one);
    all.Add(one);
  }
  std::vector<std::pair<std::string, KindTimes>> rows(kinds.begin(), kinds.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.cpu_least > b.second.cpu_least; });
  std::ofstream file(path_);
  file << absl::StrFormat("%d steps of %d instructions; ms, least: of the fastest step of each\n",
                          steps_, times_.size());
  file << "cpu least  cpu mean     least      mean  count      MB   GB/s  first  kind\n";
  const auto write = [&file](const std::string& kind, const KindTimes& times) {
    file << absl::StrFormat("%9.3f %9.3f %9.3f %9.3f %6d %7.1f %6.1f %6d  %s\n",
                            times.cpu_least * 1e3, times.cpu_mean * 1e3, times.least * 1e3,
                            times.mean * 1e3, times.count, double(times.bytes) / 1e6,
                            times.least > 0 ? double(times.bytes) / times.least / 1e9 : 0,
                            times.first, kind);
  };
  write("all", all);
  for (const auto& [kind, times] : rows) write(kind, times);
  file << "\n" << Explain(program_);
}

}  // namespace moai
