// Shapes beyond one block, operands seen transposed, and the bound on oneDNN's scratch.
// all_ops_test covers the small shapes and the other dtypes.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <dnnl.hpp>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/cpu/float_types.h"
#include "worker/kernels/testing/library_bf16.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

struct MatmulCase {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b;  // the op's attributes
  bool view_a, view_b;            // the operand is a view whose last two dims are swapped

  bool a_by_columns() const { return transpose_a != view_a; }
  bool b_by_columns() const { return transpose_b != view_b; }
};

// The shape that the op sees.
Shape Seen(int64_t batch, int64_t rows, int64_t columns, bool transposed) {
  return transposed ? Shape{batch, columns, rows} : Shape{batch, rows, columns};
}

void SwapLastTwo(Operand& operand) {
  const Shape& shape = operand.shape;
  operand.strides = {shape[1] * shape[2], 1, shape[1]};
}

InstructionSpec SpecOf(const MatmulCase& c, Dtype dtype) {
  return {.op = Op::kMatmul,
          .inputs = {{dtype, Seen(c.batch, c.m, c.k, c.transpose_a)},
                     {dtype, Seen(c.batch, c.k, c.n, c.transpose_b)}},
          .outputs = {{dtype, {c.batch, c.m, c.n}}},
          .attributes = {c.transpose_a, c.transpose_b}};
}

// Fills with small numbers and returns them as they were rounded.
template <class T>
std::vector<double> Fill(absl::Span<std::byte> memory, std::mt19937& random) {
  std::vector<double> values(memory.size() / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T value(static_cast<float>(random() % 2001) / 1000.0f - 1.0f);
    std::memcpy(memory.data() + i * sizeof(T), &value, sizeof(T));
    values[i] = static_cast<float>(value);
  }
  return values;
}

template <class T>
void ExpectProduct(const MatmulCase& c, Dtype dtype, double tolerance) {
  SCOPED_TRACE(testing::Message() << Name(dtype) << " b " << c.batch << " m " << c.m << " n " << c.n
                                  << " k " << c.k << " transposes " << c.transpose_a
                                  << c.transpose_b << " views " << c.view_a << c.view_b);
  const DeviceShape device{.threads = 2};
  Program program = MakeInstructionProgram(SpecOf(c, dtype), device);
  if (c.view_a) SwapLastTwo(program.instructions[0].inputs[0]);
  if (c.view_b) SwapLastTwo(program.instructions[0].inputs[1]);
  auto runner = ProgramRunner::Make(std::move(program), MakeCpuKernel, device);
  ASSERT_TRUE(runner.ok()) << runner.status();
  std::mt19937 random(c.m * 31 + c.n * 7 + c.k);
  const std::vector<double> a = Fill<T>((*runner)->Memory(BufferKind::kValue, 0), random);
  const std::vector<double> b = Fill<T>((*runner)->Memory(BufferKind::kValue, 1), random);
  ASSERT_EQ((*runner)->Run(), absl::OkStatus());
  const T* got = reinterpret_cast<const T*>((*runner)->Memory(BufferKind::kOutput, 0).data());
  for (int64_t i = 0; i < c.batch * c.m * c.n; ++i) {
    const int64_t batch = i / (c.m * c.n), row = i / c.n % c.m, column = i % c.n;
    double want = 0;
    for (int64_t k = 0; k < c.k; ++k) {
      const int64_t a_at = c.a_by_columns() ? k * c.m + row : row * c.k + k;
      const int64_t b_at = c.b_by_columns() ? column * c.k + k : k * c.n + column;
      want += a[batch * c.m * c.k + a_at] * b[batch * c.k * c.n + b_at];
    }
    ASSERT_NEAR(static_cast<float>(got[i]), want, tolerance * (1 + std::abs(want)))
        << "element " << i;
  }
}

TEST(MatmulTest, EveryLayoutOfOddShapes) {
  const int64_t shapes[][4] = {{1, 70, 33, 129}, {3, 17, 65, 20}, {1, 1, 200, 65},
                               {2, 130, 1, 31},  {1, 5, 5, 1},    {1, 140, 70, 300},
                               {1, 64, 48, 0}};
  for (const auto& [batch, m, n, k] : shapes) {
    for (int bits = 0; bits < 16; ++bits) {
      const MatmulCase c{batch,          m, n, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0,
                         (bits & 8) != 0};
      ExpectProduct<float>(c, Dtype::kF32, 1e-5);
      ExpectProduct<BFloat16>(c, Dtype::kBF16, 5e-3);
      ExpectProduct<Float16>(c, Dtype::kF16, 1e-3);
      if (HasFatalFailure()) return;
    }
  }
}

// If oneDNN wanted more scratch than the planner counts, such products would fall back to loops.
TEST(MatmulTest, ScratchIsWithinTheWorkspaceTable) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  std::mt19937 random(11);
  const auto extent = [&] { return std::max<int64_t>(1, std::exp2(random() % 1300 / 100.0)); };
  for (int draw = 0; draw < 300; ++draw) {
    const int threads = draw % 3 == 0 ? 1 : draw % 3 == 1 ? 2 : 8;
    omp_set_num_threads(threads);
    const MatmulCase c{random() % 4 == 0 ? 1 + int64_t(random() % 8) : 1,
                       extent(),
                       extent(),
                       extent(),
                       random() % 2 == 0,
                       random() % 2 == 0,
                       false,
                       false};
    const Dtype dtype = draw % 2 == 0 || !LibraryHasBf16() ? Dtype::kF32 : Dtype::kBF16;
    const auto type =
        dtype == Dtype::kF32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
    const auto describe = [&](int64_t rows, int64_t columns, bool by_columns) {
      const dnnl::memory::dims strides = {rows * columns, by_columns ? 1 : columns,
                                          by_columns ? rows : 1};
      return dnnl::memory::desc({c.batch, rows, columns}, type, strides);
    };
    const dnnl::matmul::primitive_desc description(
        dnnl::matmul::desc(describe(c.m, c.k, c.transpose_a), describe(c.k, c.n, c.transpose_b),
                           describe(c.m, c.n, false)),
        attributes, engine);
    const Program program = MakeInstructionProgram(SpecOf(c, dtype), {.threads = threads});
    EXPECT_LE(static_cast<int64_t>(description.scratchpad_desc().get_size()),
              CpuWorkspaceBytes(program.instructions[0], {.threads = threads}))
        << c.batch << " x " << c.m << " x " << c.n << " x " << c.k << ", " << threads << " threads";
  }
}

}  // namespace
}  // namespace moai
