// CPU kernels against this machine's limits, measured in the same run with the same threads: matrix
// products and attention against oneDNN's own best f32 rate, the rest against memory bandwidth.
//
//   kernels_benchmark [threads] [repetitions]
//
// Each repetition measures the limit and then the kernel; a ratio is the median over repetitions.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "graph/builder.h"
#include "program/compile.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

double SecondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The shorter of two calls: the first may find its data out of every cache.
double BestOf(const std::function<void()>& work) {
  return std::min(SecondsOf(work), SecondsOf(work));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "kernels_benchmark: %s\n", status.ToString().c_str());
  std::exit(1);
}

// ---- Limits
// ---------------------------------------------------------------------------------------

// a[i] = b[i] + s c[i] over arrays that no cache holds; bytes moved a second, three arrays counted.
class Bandwidth {
 public:
  explicit Bandwidth(int threads)
      : threads_(threads), a_(new float[kCount]), b_(new float[kCount]), c_(new float[kCount]) {
    std::fill_n(a_.get(), kCount, 1.0f);
    std::fill_n(b_.get(), kCount, 2.0f);
    std::fill_n(c_.get(), kCount, 3.0f);
  }
  double BytesPerSecond() const {
    return 3.0 * sizeof(float) * kCount / BestOf([this] { Triad(); });
  }

 private:
  static constexpr int64_t kCount = 16 << 20;

  void Triad() const {
    float* __restrict a = a_.get();
    const float* __restrict b = b_.get();
    const float* __restrict c = c_.get();
#pragma omp parallel for simd num_threads(threads_) schedule(static)
    for (int64_t i = 0; i < kCount; ++i) a[i] = b[i] + 3.0f * c[i];
  }

  int threads_;
  std::unique_ptr<float[]> a_, b_, c_;
};

// oneDNN's product of two matrices of 1024 x 1024, in the layouts that it likes best.
class MatmulPeak {
 public:
  // Null where oneDNN has no such product for this processor: bf16 without AVX-512.
  static std::unique_ptr<MatmulPeak> Make(dnnl::memory::data_type type) {
    try {
      return std::make_unique<MatmulPeak>(type);
    } catch (const dnnl::error&) {
      return nullptr;
    }
  }
  explicit MatmulPeak(dnnl::memory::data_type type)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const dnnl::memory::desc any({kSize, kSize}, type, dnnl::memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(any, any, any), engine_);
    primitive_ = dnnl::matmul(description);
    arguments_ = {{DNNL_ARG_SRC, Zeros(description.src_desc())},
                  {DNNL_ARG_WEIGHTS, Zeros(description.weights_desc())},
                  {DNNL_ARG_DST, Zeros(description.dst_desc())}};
  }
  double FlopsPerSecond() {
    return 2.0 * kSize * kSize * kSize / BestOf([this] {
             for (int i = 0; i < 2; ++i) primitive_.execute(stream_, arguments_);
             stream_.wait();
           }) *
           2;
  }

 private:
  static constexpr int64_t kSize = 1024;

  dnnl::memory Zeros(const dnnl::memory::desc& desc) {
    dnnl::memory memory(desc, engine_);
    std::memset(memory.get_data_handle(), 0, desc.get_size());
    return memory;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// ---- Kernels
// --------------------------------------------------------------------------------------

enum class Limit { kMatmulF32, kMatmulBF16, kBandwidth };

struct Case {
  std::string group;  // which ratio of the last line it counts for; empty: table only
  std::string name;
  Limit limit;
  double work;  // floating point operations, or bytes read and written once
  std::unique_ptr<ProgramRunner> runner;
  std::vector<double> rates, ratios;
};

// Small numbers everywhere: what normal activations look like.
void FillInputs(ProgramRunner& runner) {
  std::mt19937 random(1);
  const Program& program = runner.program();
  for (uint32_t i = 0; i < program.value_types.size(); ++i) {
    const TensorType& type = program.value_types[i];
    const absl::Span<std::byte> memory = runner.Memory(BufferKind::kValue, i);
    for (int64_t e = 0; e < type.shape.elements() && !memory.empty(); ++e) {
      const float value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
      std::byte* at = memory.data() + e * ByteSize(type.dtype);
      if (type.dtype == Dtype::kF32) {
        std::memcpy(at, &value, sizeof(value));
      } else if (type.dtype == Dtype::kBF16) {
        std::memcpy(at, reinterpret_cast<const std::byte*>(&value) + 2, 2);
      } else {
        const int32_t id = static_cast<int32_t>(random() % 8192);
        std::memcpy(at, &id, sizeof(id));
      }
    }
  }
}

class Cases {
 public:
  explicit Cases(int threads) : device_{.threads = threads} {}

  void AddInstruction(const std::string& group, const std::string& name, Limit limit, double work,
                      const InstructionSpec& spec) {
    Add(group, name, limit, work, MakeInstructionProgram(spec, device_));
  }

  void AddMatmul(const std::string& group, const std::string& name, Dtype dtype, int64_t m,
                 int64_t n, int64_t k, bool transpose_a, bool transpose_b) {
    const Shape a = transpose_a ? Shape{k, m} : Shape{m, k};
    const Shape b = transpose_b ? Shape{n, k} : Shape{k, n};
    AddInstruction(group, name, dtype == Dtype::kF32 ? Limit::kMatmulF32 : Limit::kMatmulBF16,
                   2.0 * m * n * k,
                   {.op = Op::kMatmul,
                    .inputs = {{dtype, a}, {dtype, b}},
                    .outputs = {{dtype, {m, n}}},
                    .attributes = {transpose_a, transpose_b}});
  }

  // Batch b of sequences s with h heads, g key heads and head size 64.
  void AddAttention(const std::string& group, const std::string& name, Dtype dtype, int64_t b,
                    int64_t s, int64_t h, int64_t g, bool causal) {
    const int64_t d = 64;
    const TensorType q{dtype, {b, s, h, d}}, kv{dtype, {b, s, g, d}}, lse{Dtype::kF32, {b, h, s}};
    // Two products of s x s x d each forward, five for the gradient; a causal mask halves them.
    const double product = 2.0 * b * h * s * s * d * (causal ? 0.5 * (s + 1) / s : 1.0);
    const std::vector<double> scale = {1 / std::sqrt(double(d))};
    const Limit limit = dtype == Dtype::kF32 ? Limit::kMatmulF32 : Limit::kMatmulBF16;
    AddInstruction(group, name, limit, 2 * product,
                   {.op = Op::kAttention,
                    .inputs = {q, kv, kv},
                    .outputs = {q, lse},
                    .attributes = {causal},
                    .numbers = scale});
    AddInstruction(group, name + " grad", limit, 5 * product,
                   {.op = Op::kAttentionGrad,
                    .inputs = {q, kv, kv, q, lse, q},
                    .outputs = {q, kv, kv},
                    .attributes = {causal},
                    .numbers = scale});
  }

  void AddGraph(const std::string& group, const std::string& name, double bytes,
                const CapturedGraph& captured) {
    auto program = CompileProgram(captured.graph, captured.sizes, device_);
    if (!program.ok()) Fail(program.status());
    Add(group, name, Limit::kBandwidth, bytes, *std::move(program));
  }

  std::vector<Case>& cases() { return cases_; }

 private:
  void Add(const std::string& group, const std::string& name, Limit limit, double work,
           Program program) {
    auto runner = ProgramRunner::Make(std::move(program), MakeCpuKernel, device_);
    if (!runner.ok()) Fail(runner.status());
    FillInputs(**runner);
    cases_.push_back({group, name, limit, work, *std::move(runner), {}, {}});
  }

  DeviceShape device_;
  std::vector<Case> cases_;
};

void AddMatmuls(Cases& cases) {
  const int64_t tokens = 2048;
  const std::pair<int64_t, int64_t> layers[] = {
      {384, 384}, {128, 384}, {1024, 384}, {384, 1024}, {8192, 384}};
  for (Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    const std::string group = dtype == Dtype::kF32 ? "matmul" : "matmul_bf16";
    for (auto [n, k] : layers) {
      const std::string layer =
          std::string(Name(dtype)) + " matmul " + std::to_string(k) + " -> " + std::to_string(n);
      cases.AddMatmul(group, layer, dtype, tokens, n, k, false, true);
      cases.AddMatmul(group, layer + " dx", dtype, tokens, k, n, false, false);
      cases.AddMatmul(group, layer + " dw", dtype, n, k, tokens, true, false);
    }
  }
}

void AddAttentions(Cases& cases) {
  cases.AddAttention("attention", "f32 attention s 256", Dtype::kF32, 8, 256, 6, 2, false);
  cases.AddAttention("attention", "f32 attention s 1024", Dtype::kF32, 2, 1024, 6, 2, false);
  cases.AddAttention("", "f32 attention s 256 causal", Dtype::kF32, 8, 256, 6, 2, true);
  cases.AddAttention("", "f32 attention s 1024 causal", Dtype::kF32, 2, 1024, 6, 2, true);
  cases.AddAttention("attention_bf16", "bf16 attention s 256", Dtype::kBF16, 8, 256, 6, 2, false);
  cases.AddAttention("", "bf16 attention s 1024 causal", Dtype::kBF16, 2, 1024, 6, 2, true);
}

void AddRows(Cases& cases, Dtype dtype) {
  const std::string prefix = std::string(Name(dtype)) + " ";
  const std::string suffix = dtype == Dtype::kF32 ? "" : "_bf16";
  const int64_t rows = 16384, width = 1024;
  const TensorType x{dtype, {rows, width}}, weight{dtype, {width}}, row{Dtype::kF32, {rows}};
  const double bytes = static_cast<double>(x.bytes());
  cases.AddInstruction("softmax" + suffix, prefix + "softmax", Limit::kBandwidth, 2 * bytes,
                       {.op = Op::kSoftmax, .inputs = {x}, .outputs = {x}});
  cases.AddInstruction("softmax" + suffix, prefix + "softmax grad", Limit::kBandwidth, 3 * bytes,
                       {.op = Op::kSoftmaxGrad, .inputs = {x, x}, .outputs = {x}});
  cases.AddInstruction(
      "norm" + suffix, prefix + "rms_norm", Limit::kBandwidth, 2 * bytes,
      {.op = Op::kRmsNorm, .inputs = {x, weight}, .outputs = {x, row}, .numbers = {1e-5}});
  cases.AddInstruction(
      "norm" + suffix, prefix + "rms_norm grad", Limit::kBandwidth, 3 * bytes,
      {.op = Op::kRmsNormGrad, .inputs = {x, weight, row, x}, .outputs = {x, weight}});
  cases.AddInstruction("norm" + suffix, prefix + "layer_norm", Limit::kBandwidth, 2 * bytes,
                       {.op = Op::kLayerNorm,
                        .inputs = {x, weight, weight},
                        .outputs = {x, row, row},
                        .numbers = {1e-5}});
  cases.AddInstruction("norm" + suffix, prefix + "layer_norm grad", Limit::kBandwidth, 3 * bytes,
                       {.op = Op::kLayerNormGrad,
                        .inputs = {x, weight, row, row, x},
                        .outputs = {x, weight, weight}});
  const TensorType logits{dtype, {2048, 8192}}, labels{Dtype::kI32, {2048}},
      loss{Dtype::kF32, {2048}};
  cases.AddInstruction("", prefix + "cross_entropy", Limit::kBandwidth, double(logits.bytes()),
                       {.op = Op::kCrossEntropy,
                        .inputs = {logits, labels},
                        .outputs = {loss, loss},
                        .attributes = {-1}});
  cases.AddInstruction("", prefix + "cross_entropy grad", Limit::kBandwidth, 2.0 * logits.bytes(),
                       {.op = Op::kCrossEntropyGrad,
                        .inputs = {logits, labels, loss, loss},
                        .outputs = {logits},
                        .attributes = {-1}});
}

CapturedGraph PointwiseChain(const TensorType& type, absl::Span<const Op> ops) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, type);
  const ValueId y = builder.AddInput(InputKind::kValue, 1, type);
  ValueId value = x;
  for (Op op : ops) {
    const bool unary = op == Op::kSilu;
    auto next = unary ? builder.AddNode(op, {value}) : builder.AddNode(op, {value, y});
    if (!next.ok()) Fail(next.status());
    value = *next;
  }
  builder.AddOutput(OutputKind::kValue, value);
  return builder.Finish();
}

void AddPointwise(Cases& cases) {
  const TensorType type{Dtype::kF32, {16384, 1024}};
  const double bytes = 3.0 * type.bytes();
  cases.AddGraph("pointwise", "f32 x + y", bytes, PointwiseChain(type, {Op::kAdd}));
  cases.AddGraph("pointwise", "f32 silu(x) * y", bytes,
                 PointwiseChain(type, {Op::kSilu, Op::kMul}));
  cases.AddGraph("pointwise", "f32 (x * y + y) * y - y", bytes,
                 PointwiseChain(type, {Op::kMul, Op::kAdd, Op::kMul, Op::kSub}));
}

// Geometric mean over the cases of a group; nothing where none has a limit.
std::optional<double> GroupRatio(const std::vector<Case>& cases, const std::string& group) {
  double logarithms = 0;
  int count = 0;
  for (const Case& c : cases) {
    if (c.group != group || c.ratios.empty()) continue;
    logarithms += std::log(Median(c.ratios));
    ++count;
  }
  if (count == 0) return std::nullopt;
  return std::exp(logarithms / count);
}

void Measure(Cases& cases, int threads, int repetitions) {
  const Bandwidth bandwidth(threads);
  const auto f32 = MatmulPeak::Make(dnnl::memory::data_type::f32);
  const auto bf16 = MatmulPeak::Make(dnnl::memory::data_type::bf16);
  std::printf("%-32s %14s %14s %7s\n", "kernel", "reached", "limit", "ratio");
  for (Case& c : cases.cases()) {
    MatmulPeak* const peak = c.limit == Limit::kMatmulF32 ? f32.get() : bf16.get();
    if (c.limit != Limit::kBandwidth && peak == nullptr) {
      std::printf("%-32s oneDNN has no such product here\n", c.name.c_str());
      continue;
    }
    std::vector<double> limits;
    c.runner->RunUnchecked();
    for (int r = 0; r < repetitions; ++r) {
      const double limit =
          c.limit == Limit::kBandwidth ? bandwidth.BytesPerSecond() : peak->FlopsPerSecond();
      const double rate = c.work / BestOf([&] { c.runner->RunUnchecked(); });
      limits.push_back(limit);
      c.rates.push_back(rate);
      c.ratios.push_back(rate / limit);
    }
    const char* unit = c.limit == Limit::kBandwidth ? "GB/s" : "GFLOP/s";
    std::printf("%-32s %7.1f %-7s %7.1f %-7s %6.2f\n", c.name.c_str(), Median(c.rates) / 1e9, unit,
                Median(limits) / 1e9, unit, Median(c.ratios));
    std::fflush(stdout);
  }
}

int Main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_num_procs();
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 5;
  if (threads < 1 || repetitions < 1) {
    std::fprintf(stderr, "usage: kernels_benchmark [threads] [repetitions]\n");
    return 2;
  }
  omp_set_num_threads(threads);
  Cases cases(threads);
  AddMatmuls(cases);
  AddPointwise(cases);
  AddRows(cases, Dtype::kF32);
  AddRows(cases, Dtype::kBF16);
  AddAttentions(cases);
  Measure(cases, threads, repetitions);
  std::string json = "{";
  bool missing = false;
  for (const char* group : {"matmul", "pointwise", "softmax", "norm", "attention", "matmul_bf16",
                            "softmax_bf16", "norm_bf16", "attention_bf16"}) {
    const std::optional<double> ratio = GroupRatio(cases.cases(), group);
    json += absl::StrFormat("\"%s_ratio\": %s, ", group,
                            ratio.has_value() ? absl::StrFormat("%.3f", *ratio) : "null");
    missing |= !ratio.has_value();
  }
  if (missing) json += "\"why\": \"oneDNN has no bf16 product for this processor\", ";
  std::printf("%s\"threads\": %d}\n", json.c_str(), threads);
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
