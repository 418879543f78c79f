// Convolutions of the sizes that networks have, where oneDNN works, against the loops in f64.
// all_ops_test covers the odd shapes.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kernels/cpu/conv_library.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/library_bf16.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

// stride, padding and dilation are those of both dims.
struct ConvCase {
  int64_t n, c, h, w, o, window, stride, padding, dilation, groups;

  int64_t Output(int64_t input) const {
    return (input + 2 * padding - dilation * (window - 1) - 1) / stride + 1;
  }
};

const ConvCase kCases[] = {
    {2, 3, 34, 30, 16, 7, 2, 3, 1, 1},   {2, 32, 14, 14, 48, 3, 1, 1, 1, 1},
    {1, 64, 9, 11, 32, 1, 2, 0, 1, 1},   {2, 32, 12, 12, 32, 3, 1, 2, 2, 4},
    {2, 24, 10, 10, 24, 3, 1, 1, 1, 24}, {3, 17, 8, 8, 19, 3, 2, 1, 1, 1},
};

// Images no larger than their windows, at the end of small networks: oneDNN would keep more copies
// of a weight's gradient than a program has scratch for.
const ConvCase kSmallImages[] = {
    {16, 64, 2, 2, 128, 3, 1, 1, 1, 1},
    {4, 40, 1, 1, 24, 3, 1, 1, 1, 1},
    {3, 32, 2, 1, 48, 5, 1, 2, 1, 2},
};

// Layers of ResNet-18 and of a depthwise network: made, not run.
const ConvCase kLayers[] = {
    {8, 3, 224, 224, 64, 7, 2, 3, 1, 1}, {8, 64, 56, 56, 64, 3, 1, 1, 1, 1},
    {8, 64, 56, 56, 128, 3, 2, 1, 1, 1}, {8, 128, 28, 28, 128, 3, 1, 1, 1, 1},
    {8, 64, 56, 56, 128, 1, 2, 0, 1, 1}, {8, 256, 14, 14, 256, 3, 1, 1, 1, 1},
    {8, 512, 7, 7, 512, 3, 1, 1, 1, 1},  {8, 96, 28, 28, 96, 3, 1, 1, 1, 96},
};

InstructionSpec SpecOf(Op op, const ConvCase& c, Dtype dtype) {
  const TensorType x{dtype, {c.n, c.c, c.h, c.w}};
  const TensorType weight{dtype, {c.o, c.c / c.groups, c.window, c.window}};
  const TensorType y{dtype, {c.n, c.o, c.Output(c.h), c.Output(c.w)}};
  InstructionSpec spec{.op = op,
                       .extents = {c.stride, c.stride, c.padding, c.padding, c.padding, c.padding,
                                   c.dilation, c.dilation, c.groups}};
  switch (op) {
    case Op::kConv2d:
      spec.inputs = {x, weight};
      spec.outputs = {y};
      break;
    case Op::kConv2dGradInput:
      spec.inputs = {y, weight};
      spec.outputs = {x};
      spec.extents.insert(spec.extents.end(), {c.h, c.w});
      break;
    default:
      spec.inputs = {y, x};
      spec.outputs = {weight};
      spec.extents.insert(spec.extents.end(), {c.window, c.window});
  }
  return spec;
}

double Read(Dtype dtype, const std::byte* from, int64_t i) {
  double value = 0;
  VisitFloat(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    value = static_cast<ComputeType<T>>(reinterpret_cast<const T*>(from)[i]);
  });
  return value;
}

// Multiples of 1/8 are exact in every dtype.
std::vector<double> RunCase(const InstructionSpec& spec, int threads) {
  const DeviceShape device{.threads = threads};
  auto runner = ProgramRunner::Make(MakeInstructionProgram(spec, device), MakeCpuKernel, device);
  EXPECT_TRUE(runner.ok()) << runner.status();
  std::mt19937 random(5);
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    std::byte* memory = (*runner)->Memory(BufferKind::kValue, i).data();
    VisitFloat(spec.inputs[i].dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t e = 0; e < spec.inputs[i].shape.elements(); ++e) {
        reinterpret_cast<T*>(memory)[e] = T(static_cast<float>(int(random() % 17) - 8) / 8);
      }
    });
  }
  EXPECT_EQ((*runner)->Run(), absl::OkStatus());
  std::vector<double> result;
  const std::byte* out = (*runner)->Memory(BufferKind::kOutput, 0).data();
  for (int64_t e = 0; e < spec.outputs[0].shape.elements(); ++e) {
    result.push_back(Read(spec.outputs[0].dtype, out, e));
  }
  return result;
}

TEST(ConvTest, AgreesWithLoopsInDouble) {
  std::vector<ConvCase> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kSmallImages), std::end(kSmallImages));
  for (Op op : {Op::kConv2d, Op::kConv2dGradInput, Op::kConv2dGradWeight}) {
    for (const ConvCase& c : cases) {
      const std::vector<double> want = RunCase(SpecOf(op, c, Dtype::kF64), 1);
      for (Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
        for (int threads : {1, 2}) {
          const std::vector<double> got = RunCase(SpecOf(op, c, dtype), threads);
          ASSERT_EQ(got.size(), want.size());
          const double tolerance = dtype == Dtype::kF32 ? 1e-5 : 8e-3;
          for (size_t i = 0; i < got.size(); ++i) {
            ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::abs(want[i])))
                << Name(op) << " " << Name(dtype) << " channels " << c.c << " element " << i;
          }
        }
      }
    }
  }
}

// A convolution that a network has must not fall back to loops for want of scratch.
TEST(ConvTest, TheLibraryTakesTheSizesOfNetworks) {
  std::vector<ConvCase> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kLayers), std::end(kLayers));
  for (Op op : {Op::kConv2d, Op::kConv2dGradInput, Op::kConv2dGradWeight}) {
    for (const ConvCase& c : cases) {
      for (Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
        if (dtype == Dtype::kBF16 && !LibraryHasBf16()) continue;
        for (int threads : {1, 2, 4}) {
          const DeviceShape device{.threads = threads};
          const Program program = MakeInstructionProgram(SpecOf(op, c, dtype), device);
          EXPECT_NE(MakeLibraryConvKernel({program, 0, program.instructions[0], device}), nullptr)
              << Name(op) << " " << Name(dtype) << " channels " << c.c << " to " << c.o
              << " window " << c.window << " groups " << c.groups << " threads " << threads;
        }
      }
    }
  }
}

}  // namespace
}  // namespace moai
