#include "worker/profile/timed_program.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "base/status.h"
#include "program/compile.h"

namespace moai {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

// Repeated, about 0.01 as f32 and as bf16: no infinity, nothing that slows arithmetic down.
constexpr int kContents = 0x3c;

// More than the caches that a core has for itself.
constexpr size_t kSweepBytes = 4 << 20;
constexpr size_t kLineBytes = 64;

// Of the calling thread, while it runs: it does its share of every kernel, and what other processes
// take from it does not count.
double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void TimedProgram::Free::operator()(std::byte* memory) const { std::free(memory); }

TimedProgram::Memory TimedProgram::Allocate(int64_t bytes) {
  const size_t rounded =
      static_cast<size_t>((bytes + kBufferAlignment) / kBufferAlignment * kBufferAlignment);
  Memory memory(static_cast<std::byte*>(std::aligned_alloc(kBufferAlignment, rounded)));
  if (memory != nullptr) std::memset(memory.get(), kContents, rounded);
  return memory;
}

absl::StatusOr<std::unique_ptr<TimedProgram>> TimedProgram::Make(const CapturedGraph& captured,
                                                                 KernelFactory factory,
                                                                 const DeviceShape& device) {
  if (captured.graph.scalar_count > 0) {
    return absl::UnimplementedError("programs with scalars are not timed");
  }
  std::unique_ptr<TimedProgram> timed(new TimedProgram());
  MOAI_ASSIGN_OR_RETURN(timed->program_, CompileProgram(captured.graph, captured.sizes, device));
  const Program& program = timed->program_;
  // A binding may have several buffers, which look at the same memory.
  std::map<std::pair<BufferKind, uint32_t>, int64_t> bindings;
  for (const Buffer& buffer : program.buffers) {
    if (InArena(buffer)) continue;
    int64_t& bytes = bindings[{buffer.kind, buffer.index}];
    bytes = std::max(bytes, buffer.bytes);
  }
  std::map<std::pair<BufferKind, uint32_t>, std::byte*> places;
  const auto allocate = [&](int64_t bytes) -> std::byte* {
    timed->memory_.push_back(Allocate(bytes));
    return timed->memory_.back().get();
  };
  std::byte* const arena = allocate(program.memory.arena);
  for (const auto& [binding, bytes] : bindings) places[binding] = allocate(bytes);
  for (const Memory& memory : timed->memory_) {
    if (memory == nullptr) return absl::ResourceExhaustedError("no memory to measure with");
  }
  for (const Buffer& buffer : program.buffers) {
    timed->addresses_.push_back(InArena(buffer) ? arena + buffer.offset
                                                : places[{buffer.kind, buffer.index}]);
  }
  for (uint32_t i = 0; i < program.instructions.size(); ++i) {
    MOAI_ASSIGN_OR_RETURN(auto kernel, factory(program, i, device));
    timed->kernels_.push_back(std::move(kernel));
  }
  return timed;
}

double TimedProgram::RunOnce() {
  const KernelArguments arguments{addresses_.data(), &errors_};
  const double begin = ThreadSeconds();
  for (const std::unique_ptr<Kernel>& kernel : kernels_) kernel->Run(arguments);
  return ThreadSeconds() - begin;
}

double TimedProgram::RunOnceCold() {
  const KernelArguments arguments{addresses_.data(), &errors_};
  sweep_.resize(kSweepBytes);
  double sum = 0;
  for (const std::unique_ptr<Kernel>& kernel : kernels_) {
    for (size_t i = 0; i < kSweepBytes; i += kLineBytes) sweep_[i] ^= std::byte{1};
    const double begin = ThreadSeconds();
    kernel->Run(arguments);
    sum += ThreadSeconds() - begin;
  }
  return sum;
}

double TimedProgram::BestSeconds(double seconds) {
  return BestOf(seconds, [this] { return RunOnce(); });
}

double TimedProgram::BestColdSeconds(double seconds) {
  return BestOf(seconds, [this] { return RunOnceCold(); });
}

template <class Run>
double TimedProgram::BestOf(double seconds, const Run& run) {
  const auto begin = steady_clock::now();
  run();
  double best = run();
  while (duration<double>(steady_clock::now() - begin).count() < seconds) {
    best = std::min(best, run());
  }
  // The clock has steps of a nanosecond; what is shorter is one.
  return std::max(best, 1e-9);
}

}  // namespace moai
