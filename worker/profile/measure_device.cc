#include "worker/profile/measure_device.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/builder.h"
#include "graph/cost.h"
#include "worker/profile/timed_program.h"

namespace moai {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

// From the shapes that decide a training step to those that show how rates fall: a large product
// first; thin and short ones; small ones; a batch of small ones, as in attention without a kernel.
constexpr MatmulMeasurement kShapes[] = {
    {.m = 512, .n = 512, .k = 512},
    {.m = 64, .n = 64, .k = 64},
    {.m = 64, .n = 256, .k = 256},
    {.m = 1024, .n = 1024, .k = 1024},
    {.m = 16, .n = 1024, .k = 1024},
    {.m = 1024, .n = 1024, .k = 64},
    {.m = 1024, .n = 64, .k = 1024},
    {.m = 4096, .n = 256, .k = 256},
    {.m = 128, .n = 512, .k = 512},
    {.m = 256, .n = 128, .k = 128},
    {.m = 64, .n = 512, .k = 128},
    {.m = 128, .n = 128, .k = 512},
    {.batch = 32, .m = 128, .n = 128, .k = 64},
};

// A step reads each weight once and comes back to it when the caches have forgotten it: products
// are measured with so many bytes of weights, one after the other, and no more results than that.
constexpr int64_t kWeightBytes = 2 << 20;
constexpr int64_t kMostWeights = 32;

// Everything is measured so many times, each after all the rest: what other programs do to the
// machine lasts for longer than a measurement, and would change one rate against another.
constexpr int kPasses = 3;

// One graph, made of value inputs and nodes. Every graph here is valid: an error is a bug, and says
// so in the status of the measurement.
class Recording {
 public:
  ValueId Input(Dtype dtype, const Shape& shape) {
    return builder_.AddInput(InputKind::kValue, inputs_++, {dtype, shape});
  }
  absl::StatusOr<ValueId> Add(Op op, const std::vector<ValueId>& inputs,
                              const std::vector<int32_t>& attributes = {},
                              const std::vector<double>& numbers = {},
                              const std::vector<int64_t>& extents = {}) {
    return builder_.AddNode(op, inputs, attributes, extents, numbers);
  }
  CapturedGraph Finish(const std::vector<ValueId>& outputs) {
    for (ValueId value : outputs) builder_.AddOutput(OutputKind::kValue, value);
    return builder_.Finish();
  }

 private:
  GraphBuilder builder_;
  uint32_t inputs_ = 0;
};

double FlopsOf(const CapturedGraph& captured) {
  double flops = 0;
  for (const Node& node : captured.graph.nodes) {
    std::vector<TensorType> inputs;
    for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
    flops +=
        CostOf(node, inputs,
               absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count))
            .flops;
  }
  return flops;
}

// Something whose time is measured.
struct Figure {
  double flops = 0;
  // With the device's threads and with one, whichever is faster: where other programs keep a thread
  // of the team from running, the others wait for it, and a figure that is kept for long would say
  // so.
  std::vector<std::unique_ptr<TimedProgram>> programs;
  bool cold = false;   // TimedProgram::BestColdSeconds
  double seconds = 0;  // of the fastest run so far

  double gflops() const { return flops / seconds / 1e9; }
};

class Measurer {
 public:
  Measurer(KernelFactory factory, const DeviceShape& device, const MeasureOptions& options)
      : factory_(factory), device_(device), options_(options), end_(Now() + options.seconds) {}

  absl::StatusOr<DeviceProfileMeasurement> Run() {
    MOAI_RETURN_IF_ERROR(AddMatmul(Dtype::kF32, kShapes[0]));
    MOAI_RETURN_IF_ERROR(AddOthers());
    // Not every processor has a kernel.
    const bool bf16 = AddMatmul(Dtype::kBF16, kShapes[0]).ok();
    for (const MatmulMeasurement& shape : absl::MakeConstSpan(kShapes).subspan(1)) {
      for (Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
        if (dtype == Dtype::kBF16 && !bf16) continue;
        if (TimeLeft(shape)) {
          MOAI_RETURN_IF_ERROR(AddMatmul(dtype, shape));
        } else {
          result_.complete = false;
        }
      }
    }
    for (int pass = 1; pass < kPasses; ++pass) {
      for (const std::unique_ptr<Figure>& figure : figures_) {
        if (Now() < end_) Measure(*figure);
      }
    }
    return Result();
  }

 private:
  static double Now() { return duration<double>(steady_clock::now().time_since_epoch()).count(); }

  // Whether the product is likely to be measured in time, by the slowest rate so far.
  bool TimeLeft(const MatmulMeasurement& shape) const {
    double slowest = matmuls_[0].second->gflops();
    for (const auto& [_, figure] : matmuls_) slowest = std::min(slowest, figure->gflops());
    const double flops = 2.0 * static_cast<double>(shape.batch * shape.m * shape.n * shape.k);
    const double runs = 3 * static_cast<double>(WeightsOf(shape, Dtype::kF32));
    return Now() + options_.seconds_each / kPasses + runs * flops / (slowest * 1e9) < end_;
  }

  void Measure(Figure& figure) {
    const double share = options_.seconds_each / kPasses / double(figure.programs.size());
    for (const std::unique_ptr<TimedProgram>& program : figure.programs) {
      const double most = std::clamp(end_ - Now(), 0.0, share);
      const double seconds =
          figure.cold ? program->BestColdSeconds(most) : program->BestSeconds(most);
      figure.seconds = figure.seconds > 0 ? std::min(figure.seconds, seconds) : seconds;
    }
  }

  // Measures it once.
  absl::StatusOr<Figure*> Add(const CapturedGraph& captured, bool cold = false) {
    auto figure = std::make_unique<Figure>();
    figure->flops = FlopsOf(captured);
    figure->cold = cold;
    std::vector<int> teams = {1};
    if (device_.threads > 1) teams.push_back(device_.threads);
    for (const int threads : teams) {
      MOAI_ASSIGN_OR_RETURN(auto program,
                            TimedProgram::Make(captured, factory_, {.threads = threads}));
      figure->programs.push_back(std::move(program));
    }
    Measure(*figure);
    figures_.push_back(std::move(figure));
    return figures_.back().get();
  }

  // How many products in a row are one run.
  static int64_t WeightsOf(const MatmulMeasurement& shape, Dtype dtype) {
    const int64_t element = ByteSize(dtype) * shape.batch;
    const int64_t most = kMostWeights;
    return std::max<int64_t>(1, std::min({kWeightBytes / (element * shape.k * shape.n),
                                          kWeightBytes / (element * shape.m * shape.n), most}));
  }

  absl::Status AddMatmul(Dtype dtype, const MatmulMeasurement& shape) {
    Recording recording;
    const bool batched = shape.batch > 1;
    const ValueId a = recording.Input(
        dtype, batched ? Shape{shape.batch, shape.m, shape.k} : Shape{shape.m, shape.k});
    std::vector<ValueId> results;
    for (int64_t i = 0; i < WeightsOf(shape, dtype); ++i) {
      const ValueId b = recording.Input(
          dtype, batched ? Shape{shape.batch, shape.k, shape.n} : Shape{shape.k, shape.n});
      MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kMatmul, {a, b}, {0, 0}));
      results.push_back(y);
    }
    MOAI_ASSIGN_OR_RETURN(Figure * figure, Add(recording.Finish(results)));
    MatmulMeasurement measured = shape;
    measured.dtype = dtype;
    matmuls_.emplace_back(measured, figure);
    return absl::OkStatus();
  }

  absl::Status AddOthers() {
    MOAI_RETURN_IF_ERROR(AddStream());
    MOAI_RETURN_IF_ERROR(AddLaunch());
    MOAI_RETURN_IF_ERROR(AddVector());
    MOAI_RETURN_IF_ERROR(AddAttention());
    return AddConvolution();
  }

  absl::Status AddStream() {
    Recording recording;
    const ValueId a = recording.Input(Dtype::kF32, {kStreamElements});
    const ValueId b = recording.Input(Dtype::kF32, {kStreamElements});
    MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kAdd, {a, b}));
    MOAI_ASSIGN_OR_RETURN(stream_, Add(recording.Finish({y})));
    return absl::OkStatus();
  }

  // Kernels that do not fuse, of the library and our own by turns, with next to no work.
  absl::Status AddLaunch() {
    Recording recording;
    ValueId x = recording.Input(Dtype::kF32, {8, 8});
    for (int i = 0; i < kLaunches; i += 2) {
      MOAI_ASSIGN_OR_RETURN(x, recording.Add(Op::kMatmul, {x, x}, {0, 0}));
      MOAI_ASSIGN_OR_RETURN(x, recording.Add(Op::kSoftmax, {x}));
    }
    MOAI_ASSIGN_OR_RETURN(launch_, Add(recording.Finish({x}), /*cold=*/true));
    return absl::OkStatus();
  }

  absl::Status AddVector() {
    Recording recording;
    const ValueId x = recording.Input(Dtype::kF32, {256, 256});
    MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kSoftmax, {x}));
    MOAI_ASSIGN_OR_RETURN(vector_, Add(recording.Finish({y})));
    return absl::OkStatus();
  }

  absl::Status AddAttention() {
    const Shape shape = {1, 512, 8, 64};
    const std::vector<double> scale = {0.125};
    Recording forward;
    std::vector<ValueId> qkv;
    for (int i = 0; i < 3; ++i) qkv.push_back(forward.Input(Dtype::kF32, shape));
    MOAI_ASSIGN_OR_RETURN(const ValueId o, forward.Add(Op::kAttention, qkv, {0}, scale));
    MOAI_ASSIGN_OR_RETURN(attention_, Add(forward.Finish({o})));

    Recording backward;
    std::vector<ValueId> inputs;
    for (int i = 0; i < 4; ++i) inputs.push_back(backward.Input(Dtype::kF32, shape));
    inputs.push_back(backward.Input(Dtype::kF32, {1, 8, 512}));
    inputs.push_back(backward.Input(Dtype::kF32, shape));
    MOAI_ASSIGN_OR_RETURN(const ValueId dq, backward.Add(Op::kAttentionGrad, inputs, {0}, scale));
    MOAI_ASSIGN_OR_RETURN(attention_grad_, Add(backward.Finish({dq, dq + 1, dq + 2})));
    return absl::OkStatus();
  }

  absl::Status AddConvolution() {
    const Shape image = {4, 32, 16, 16}, weight = {32, 32, 3, 3};
    const std::vector<int64_t> same = {1, 1, 1, 1, 1, 1, 1, 1, 1};  // the result has image's shape
    const auto record = [&](Op op, const Shape& second, int64_t height,
                            int64_t width) -> absl::StatusOr<Figure*> {
      Recording recording;
      const ValueId a = recording.Input(Dtype::kF32, image);
      const ValueId b = recording.Input(Dtype::kF32, second);
      std::vector<int64_t> extents = same;
      if (op != Op::kConv2d) extents.insert(extents.end(), {height, width});
      MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(op, {a, b}, {}, {}, extents));
      return Add(recording.Finish({y}));
    };
    MOAI_ASSIGN_OR_RETURN(convolution_, record(Op::kConv2d, weight, 0, 0));
    MOAI_ASSIGN_OR_RETURN(convolution_grads_[0],
                          record(Op::kConv2dGradInput, weight, image[2], image[3]));
    MOAI_ASSIGN_OR_RETURN(convolution_grads_[1],
                          record(Op::kConv2dGradWeight, image, weight[2], weight[3]));
    return absl::OkStatus();
  }

  DeviceProfileMeasurement Result() {
    result_.processor = ProcessorName();
    result_.threads = device_.threads;
    for (const auto& [shape, figure] : matmuls_) {
      result_.matmuls.push_back(shape);
      result_.matmuls.back().gflops = figure->gflops();
    }
    result_.stream_gb_per_s = 3.0 * 4 * kStreamElements / stream_->seconds / 1e9;
    result_.kernel_microseconds = launch_->seconds / kLaunches * 1e6;
    result_.vector_gflops = vector_->gflops();
    result_.attention_gflops = attention_->gflops();
    result_.attention_grad_gflops = attention_grad_->gflops();
    result_.convolution_gflops = convolution_->gflops();
    const auto& [of_input, of_weight] = convolution_grads_;
    result_.convolution_grad_gflops =
        (of_input->flops + of_weight->flops) / (of_input->seconds + of_weight->seconds) / 1e9;
    return std::move(result_);
  }

  static constexpr int64_t kStreamElements = int64_t{8} << 20;  // 96 MiB in all
  static constexpr int kLaunches = 64;

  const KernelFactory factory_;
  const DeviceShape device_;
  const MeasureOptions options_;
  const double end_;
  std::vector<std::unique_ptr<Figure>> figures_;
  std::vector<std::pair<MatmulMeasurement, const Figure*>> matmuls_;
  const Figure* stream_ = nullptr;
  const Figure* launch_ = nullptr;
  const Figure* vector_ = nullptr;
  const Figure* attention_ = nullptr;
  const Figure* attention_grad_ = nullptr;
  const Figure* convolution_ = nullptr;
  std::array<const Figure*, 2> convolution_grads_ = {};
  DeviceProfileMeasurement result_;
};

}  // namespace

absl::StatusOr<DeviceProfileMeasurement> MeasureDevice(KernelFactory factory,
                                                       const DeviceShape& device,
                                                       const MeasureOptions& options) {
  // Kernels set the size of the OpenMP team of the thread that runs them.
  absl::StatusOr<DeviceProfileMeasurement> result = absl::UnknownError("not measured");
  std::thread([&] { result = Measurer(factory, device, options).Run(); }).join();
  return result;
}

}  // namespace moai
