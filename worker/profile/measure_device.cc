#include "worker/profile/measure_device.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
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
    {.m = 512, .n = 512, .k = 512},  {.m = 64, .n = 64, .k = 64},
    {.m = 64, .n = 256, .k = 256},   {.m = 1024, .n = 1024, .k = 1024},
    {.m = 16, .n = 1024, .k = 1024}, {.m = 1024, .n = 1024, .k = 64},
    {.m = 1024, .n = 64, .k = 1024}, {.m = 4096, .n = 256, .k = 256},
    {.m = 128, .n = 512, .k = 512},  {.batch = 32, .m = 128, .n = 128, .k = 64},
};

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
  CapturedGraph Finish(std::initializer_list<ValueId> outputs) {
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

class Measurer {
 public:
  Measurer(KernelFactory factory, const DeviceShape& device, const MeasureOptions& options)
      : factory_(factory), device_(device), options_(options), end_(Now() + options.seconds) {}

  absl::StatusOr<DeviceProfileMeasurement> Run() {
    result_.processor = ProcessorName();
    result_.threads = device_.threads;
    MOAI_RETURN_IF_ERROR(MeasureMatmul(Dtype::kF32, kShapes[0]));
    MOAI_RETURN_IF_ERROR(MeasureStream());
    MOAI_RETURN_IF_ERROR(MeasureLaunch());
    MOAI_RETURN_IF_ERROR(MeasureVector());
    MeasureMatmul(Dtype::kBF16, kShapes[0]).IgnoreError();  // not every processor has a kernel
    MOAI_RETURN_IF_ERROR(MeasureAttention());
    MOAI_RETURN_IF_ERROR(MeasureConvolution());
    const bool bf16 = result_.matmuls.size() > 1;
    for (const MatmulMeasurement& shape : absl::MakeConstSpan(kShapes).subspan(1)) {
      for (Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
        if (dtype == Dtype::kBF16 && !bf16) continue;
        if (TimeLeft(shape)) {
          MOAI_RETURN_IF_ERROR(MeasureMatmul(dtype, shape));
        } else {
          result_.complete = false;
        }
      }
    }
    return std::move(result_);
  }

 private:
  static double Now() { return duration<double>(steady_clock::now().time_since_epoch()).count(); }

  // Whether the product is likely to be measured in time, by the slowest rate so far.
  bool TimeLeft(const MatmulMeasurement& shape) const {
    double slowest = result_.matmuls[0].gflops;
    for (const MatmulMeasurement& m : result_.matmuls) slowest = std::min(slowest, m.gflops);
    const double flops = 2.0 * static_cast<double>(shape.batch * shape.m * shape.n * shape.k);
    return Now() + options_.seconds_each + 3 * flops / (slowest * 1e9) < end_;
  }

  // With the device's threads or with one, whichever is faster: where other programs keep a thread
  // of the team from running, the others wait for it, and a figure that is kept for long would say
  // so.
  absl::StatusOr<double> Seconds(const CapturedGraph& captured) {
    MOAI_ASSIGN_OR_RETURN(double best, SecondsOn(captured, 1));
    if (device_.threads > 1) {
      MOAI_ASSIGN_OR_RETURN(const double seconds, SecondsOn(captured, device_.threads));
      best = std::min(best, seconds);
    }
    return best;
  }

  absl::StatusOr<double> SecondsOn(const CapturedGraph& captured, int threads) {
    MOAI_ASSIGN_OR_RETURN(auto program,
                          TimedProgram::Make(captured, factory_, {.threads = threads}));
    const double share = options_.seconds_each / (device_.threads > 1 ? 2 : 1);
    return program->BestSeconds(std::clamp(end_ - Now(), 0.0, share));
  }

  absl::Status MeasureMatmul(Dtype dtype, const MatmulMeasurement& shape) {
    Recording recording;
    const bool batched = shape.batch > 1;
    const ValueId a = recording.Input(
        dtype, batched ? Shape{shape.batch, shape.m, shape.k} : Shape{shape.m, shape.k});
    const ValueId b = recording.Input(
        dtype, batched ? Shape{shape.batch, shape.k, shape.n} : Shape{shape.k, shape.n});
    MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kMatmul, {a, b}, {0, 0}));
    const CapturedGraph captured = recording.Finish({y});
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(captured));
    MatmulMeasurement measured = shape;
    measured.dtype = dtype;
    measured.gflops = FlopsOf(captured) / seconds / 1e9;
    result_.matmuls.push_back(measured);
    return absl::OkStatus();
  }

  absl::Status MeasureStream() {
    constexpr int64_t kElements = int64_t{8} << 20;  // 96 MiB in all
    Recording recording;
    const ValueId a = recording.Input(Dtype::kF32, {kElements});
    const ValueId b = recording.Input(Dtype::kF32, {kElements});
    MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kAdd, {a, b}));
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(recording.Finish({y})));
    result_.stream_gb_per_s = 3.0 * 4 * kElements / seconds / 1e9;
    return absl::OkStatus();
  }

  // Kernels that do not fuse, one after the other.
  absl::Status MeasureLaunch() {
    constexpr int kKernels = 64;
    Recording recording;
    ValueId x = recording.Input(Dtype::kF32, {1, 8});
    for (int i = 0; i < kKernels; ++i) {
      MOAI_ASSIGN_OR_RETURN(x, recording.Add(Op::kSoftmax, {x}));
    }
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(recording.Finish({x})));
    result_.kernel_microseconds = seconds / kKernels * 1e6;
    return absl::OkStatus();
  }

  absl::Status MeasureVector() {
    Recording recording;
    const ValueId x = recording.Input(Dtype::kF32, {256, 256});
    MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(Op::kSoftmax, {x}));
    const CapturedGraph captured = recording.Finish({y});
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(captured));
    result_.vector_gflops = FlopsOf(captured) / seconds / 1e9;
    return absl::OkStatus();
  }

  absl::Status MeasureAttention() {
    const Shape shape = {1, 512, 8, 64};
    const std::vector<double> scale = {0.125};
    Recording forward;
    std::vector<ValueId> qkv;
    for (int i = 0; i < 3; ++i) qkv.push_back(forward.Input(Dtype::kF32, shape));
    MOAI_ASSIGN_OR_RETURN(const ValueId o, forward.Add(Op::kAttention, qkv, {0}, scale));
    const CapturedGraph captured = forward.Finish({o});
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(captured));
    result_.attention_gflops = FlopsOf(captured) / seconds / 1e9;

    Recording backward;
    std::vector<ValueId> inputs;
    for (int i = 0; i < 4; ++i) inputs.push_back(backward.Input(Dtype::kF32, shape));
    inputs.push_back(backward.Input(Dtype::kF32, {1, 8, 512}));
    inputs.push_back(backward.Input(Dtype::kF32, shape));
    MOAI_ASSIGN_OR_RETURN(const ValueId dq, backward.Add(Op::kAttentionGrad, inputs, {0}, scale));
    const CapturedGraph gradient = backward.Finish({dq, dq + 1, dq + 2});
    MOAI_ASSIGN_OR_RETURN(const double grad_seconds, Seconds(gradient));
    result_.attention_grad_gflops = FlopsOf(gradient) / grad_seconds / 1e9;
    return absl::OkStatus();
  }

  absl::Status MeasureConvolution() {
    const Shape image = {4, 32, 16, 16}, weight = {32, 32, 3, 3};
    const std::vector<int64_t> same = {1, 1, 1, 1, 1, 1, 1, 1, 1};  // the result has image's shape
    const auto record = [&](Op op, const Shape& second, int64_t height,
                            int64_t width) -> absl::StatusOr<CapturedGraph> {
      Recording recording;
      const ValueId a = recording.Input(Dtype::kF32, image);
      const ValueId b = recording.Input(Dtype::kF32, second);
      std::vector<int64_t> extents = same;
      if (op != Op::kConv2d) extents.insert(extents.end(), {height, width});
      MOAI_ASSIGN_OR_RETURN(const ValueId y, recording.Add(op, {a, b}, {}, {}, extents));
      return recording.Finish({y});
    };
    MOAI_ASSIGN_OR_RETURN(const CapturedGraph forward, record(Op::kConv2d, weight, 0, 0));
    MOAI_ASSIGN_OR_RETURN(const double seconds, Seconds(forward));
    result_.convolution_gflops = FlopsOf(forward) / seconds / 1e9;

    MOAI_ASSIGN_OR_RETURN(const CapturedGraph of_input,
                          record(Op::kConv2dGradInput, weight, image[2], image[3]));
    MOAI_ASSIGN_OR_RETURN(const CapturedGraph of_weight,
                          record(Op::kConv2dGradWeight, image, weight[2], weight[3]));
    MOAI_ASSIGN_OR_RETURN(const double input_seconds, Seconds(of_input));
    MOAI_ASSIGN_OR_RETURN(const double weight_seconds, Seconds(of_weight));
    result_.convolution_grad_gflops =
        (FlopsOf(of_input) + FlopsOf(of_weight)) / (input_seconds + weight_seconds) / 1e9;
    return absl::OkStatus();
  }

  const KernelFactory factory_;
  const DeviceShape device_;
  const MeasureOptions options_;
  const double end_;
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
