#include "worker/executor/step_profile.h"

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

struct KindTimes {
  double mean = 0, least = 0;
  int64_t bytes = 0;
  int64_t count = 0;
  size_t first = 0;
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

void StepProfile::BeginStep() { last_ = std::chrono::steady_clock::now(); }

void StepProfile::Ran(size_t instruction) {
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  last_ = now;
  Times& times = times_[instruction];
  times.total += seconds;
  times.least = steps_ == 0 ? seconds : std::min(times.least, seconds);
}

void StepProfile::EndStep() {
  ++steps_;
  if (std::has_single_bit(uint64_t(steps_))) Write();
}

void StepProfile::Write() const {
  if (steps_ == 0) return;
  std::map<std::string, KindTimes> kinds;
  double mean = 0, least = 0;
  for (size_t i = 0; i < times_.size(); ++i) {
    KindTimes& kind = kinds[Kind(program_.instructions[i])];
    if (kind.count++ == 0) kind.first = i;
    kind.mean += times_[i].total / double(steps_);
    kind.least += times_[i].least;
    kind.bytes += Bytes(program_.instructions[i]);
    mean += times_[i].total / double(steps_);
    least += times_[i].least;
  }
  std::vector<std::pair<std::string, KindTimes>> rows(kinds.begin(), kinds.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.least > b.second.least; });
  std::ofstream file(path_);
  file << absl::StrFormat("%d steps, mean %.3f ms, sum of shortest %.3f ms, %d instructions\n",
                          steps_, mean * 1e3, least * 1e3, times_.size());
  file << "  shortest ms   mean ms  count     MB   GB/s  first  kind\n";
  for (const auto& [kind, times] : rows) {
    file << absl::StrFormat("%13.3f %9.3f %6d %6.1f %6.1f %6d  %s\n", times.least * 1e3,
                            times.mean * 1e3, times.count, double(times.bytes) / 1e6,
                            times.least > 0 ? double(times.bytes) / times.least / 1e9 : 0,
                            times.first, kind);
  }
  file << "\n" << Explain(program_);
}

}  // namespace moai
