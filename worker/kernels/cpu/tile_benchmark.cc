// Fused kernels against the memory's own speed: each case is timed in turn with a plain triad
// (a = b + 3 c) on the same threads, and prints the ratio of their bytes per second.
//
//   tools/bazel run //worker/kernels/cpu:tile_benchmark -- [threads] [repetitions] [rows]
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "graph/builder.h"
#include "program/compile.h"
#include "worker/kernels/cpu/tile_kernel.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

// Of every matrix. Few rows stay in the cache and show what the code itself costs.
int64_t rows = 16384;
constexpr int64_t kCols = 1024;

// Processor time for one thread, which a busy machine disturbs less; else wall time.
bool use_processor_time = false;

double Now() {
  timespec now;
  clock_gettime(use_processor_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Seconds(const auto& function) {
  const double start = Now();
  function();
  return Now() - start;
}

class Triad {
 public:
  explicit Triad(int threads) : threads_(threads) {
    for (auto& array : arrays_) {
      array.reset(new float[count_]);
      std::fill_n(array.get(), count_, 1.0f);
    }
  }
  double BytesPerSecond() const {
    return 3.0 * sizeof(float) * count_ / Seconds([this] {
             float* __restrict a = arrays_[0].get();
             const float* __restrict b = arrays_[1].get();
             const float* __restrict c = arrays_[2].get();
#pragma omp parallel for simd num_threads(threads_) schedule(static)
             for (int64_t i = 0; i < count_; ++i) a[i] = b[i] + 3.0f * c[i];
           });
  }

 private:
  const int64_t count_ = rows * kCols;
  int threads_;
  std::unique_ptr<float[]> arrays_[3];
};

struct Case {
  std::string name;
  CapturedGraph graph;
  double bytes = 0;  // that must move at least
};

TensorType Matrix() { return {Dtype::kF32, {rows, kCols}}; }
TensorType Half() { return {Dtype::kBF16, {rows, kCols}}; }

ValueId Add(GraphBuilder& b, Op op, std::vector<ValueId> inputs,
            std::vector<int32_t> attributes = {}, std::vector<int64_t> extents = {}) {
  auto value = b.AddNode(op, inputs, attributes, extents);
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
    std::exit(1);
  }
  return *value;
}

Case Finish(std::string name, GraphBuilder& builder, double matrices_f32, double matrices_bf16) {
  return {std::move(name), builder.Finish(),
          matrices_f32 * Matrix().bytes() + matrices_bf16 * Half().bytes()};
}

Case AddCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  const ValueId y = b.AddInput(InputKind::kFeed, 1, Matrix());
  b.AddOutput(OutputKind::kValue, Add(b, Op::kAdd, {x, y}));
  return Finish("x + y", b, 3, 0);
}

Case SwigluCase(const TensorType& type, const char* name) {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, type);
  const ValueId y = b.AddInput(InputKind::kFeed, 1, type);
  b.AddOutput(OutputKind::kValue, Add(b, Op::kMul, {Add(b, Op::kSilu, {x}), y}));
  const bool f32 = type.dtype == Dtype::kF32;
  return Finish(name, b, f32 ? 3 : 0, f32 ? 0 : 3);
}

Case SwigluGradCase() {
  GraphBuilder b;
  const ValueId gate = b.AddInput(InputKind::kFeed, 0, Matrix());
  const ValueId up = b.AddInput(InputKind::kFeed, 1, Matrix());
  const ValueId dy = b.AddInput(InputKind::kFeed, 2, Matrix());
  const ValueId one = b.AddScalar(Dtype::kF32);
  const ValueId s = Add(b, Op::kSigmoid, {gate});
  const ValueId act = Add(b, Op::kMul, {gate, s});
  const ValueId slope =
      Add(b, Op::kMul, {s, Add(b, Op::kAdd, {Add(b, Op::kSub, {gate, act}), one})});
  b.AddOutput(OutputKind::kValue, Add(b, Op::kMul, {Add(b, Op::kMul, {dy, up}), slope}));
  b.AddOutput(OutputKind::kValue, Add(b, Op::kMul, {dy, act}));
  return Finish("swiglu gradient", b, 5, 0);
}

Case BiasCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  const ValueId y = b.AddInput(InputKind::kFeed, 1, Matrix());
  const ValueId bias = b.AddInput(InputKind::kFeed, 2, {Dtype::kF32, {kCols}});
  const ValueId wide = Add(b, Op::kBroadcast, {bias}, {2, 1}, {rows, kCols});
  b.AddOutput(OutputKind::kValue, Add(b, Op::kAdd, {Add(b, Op::kAdd, {x, wide}), y}));
  return Finish("x + bias + residual", b, 3, 0);
}

Case AdamWCase(Dtype gradient) {
  GraphBuilder b;
  std::vector<ValueId> inputs = {b.AddInput(InputKind::kSlot, 0, Matrix()),
                                 b.AddInput(InputKind::kFeed, 0, {gradient, Matrix().shape}),
                                 b.AddInput(InputKind::kSlot, 1, Matrix()),
                                 b.AddInput(InputKind::kSlot, 2, Matrix())};
  for (int i = 0; i < 8; ++i) inputs.push_back(b.AddScalar(Dtype::kF32));
  const ValueId updated = Add(b, Op::kAdamW, inputs);
  for (uint32_t i = 0; i < 3; ++i) b.AddOutput(OutputKind::kSlot, updated + i, i);
  return gradient == Dtype::kF32 ? Finish("adamw", b, 7, 0)
                                 : Finish("adamw, bf16 gradient", b, 6, 1);
}

Case ReduceCase(const char* name, std::vector<int32_t> axes) {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  b.AddOutput(OutputKind::kValue, Add(b, Op::kReduceSum, {Add(b, Op::kMul, {x, x})}, axes));
  return Finish(name, b, 1, 0);
}

Case CastCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  b.AddOutput(OutputKind::kValue, Add(b, Op::kCast, {x}, {static_cast<int32_t>(Dtype::kBF16)}));
  return Finish("cast to bf16", b, 1, 1);
}

Case DropoutCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  const ValueId seed = b.AddScalar(Dtype::kI64), offset = b.AddScalar(Dtype::kI64);
  const ValueId keep = b.AddScalar(Dtype::kF32);
  const ValueId mask = Add(b, Op::kRandomBernoulli, {seed, offset, keep},
                           {static_cast<int32_t>(Dtype::kF32), 1, 2}, {rows, kCols});
  b.AddOutput(OutputKind::kValue, Add(b, Op::kMul, {x, mask}));
  return Finish("dropout", b, 2, 0);
}

Case ReluGradCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  const ValueId dy = b.AddInput(InputKind::kFeed, 1, Matrix());
  const ValueId zero = b.AddScalar(Dtype::kF32);
  b.AddOutput(OutputKind::kValue, Add(b, Op::kSelect, {Add(b, Op::kGt, {x, zero}), dy, zero}));
  return Finish("relu gradient (select)", b, 3, 0);
}

Case TransposeCase() {
  GraphBuilder b;
  const ValueId x = b.AddInput(InputKind::kFeed, 0, Matrix());
  b.AddOutput(OutputKind::kValue, Add(b, Op::kTranspose, {x}, {1, 0}));
  return Finish("transpose", b, 2, 0);
}

int Main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_num_procs();
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 7;
  if (argc > 3) rows = std::atoi(argv[3]);
  use_processor_time = threads == 1;
  const Triad triad(threads);
  std::vector<Case> cases;
  cases.push_back(AddCase());
  cases.push_back(SwigluCase(Matrix(), "silu(x) * y"));
  cases.push_back(SwigluCase(Half(), "silu(x) * y, bf16"));
  cases.push_back(SwigluGradCase());
  cases.push_back(BiasCase());
  cases.push_back(AdamWCase(Dtype::kF32));
  cases.push_back(AdamWCase(Dtype::kBF16));
  cases.push_back(CastCase());
  cases.push_back(ReduceCase("sum of squares", {0, 1}));
  cases.push_back(ReduceCase("column sums", {0}));
  cases.push_back(ReduceCase("row sums", {1}));
  cases.push_back(ReluGradCase());
  cases.push_back(DropoutCase());
  cases.push_back(TransposeCase());
  for (Case& c : cases) {
    const DeviceShape device{.threads = threads};
    auto program = CompileProgram(c.graph.graph, c.graph.sizes, device);
    if (!program.ok()) return 1;
    const size_t kernels = program->instructions.size();
    auto runner = ProgramRunner::Make(*std::move(program), MakeTileKernel, device);
    if (!runner.ok()) return 1;
    (*runner)->RunUnchecked();
    double best = 1e30, limit = 0;
    for (int i = 0; i < repetitions; ++i) {
      best = std::min(best, Seconds([&] { (*runner)->RunUnchecked(); }));
      limit = std::max(limit, triad.BytesPerSecond());
    }
    std::printf("%-26s %zu kernel%s %6.1f GB/s of %6.1f GB/s, ratio %.2f\n", c.name.c_str(),
                kernels, kernels == 1 ? " " : "s", c.bytes / best / 1e9, limit / 1e9,
                c.bytes / best / limit);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
