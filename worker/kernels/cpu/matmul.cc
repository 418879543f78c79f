// matmul: oneDNN for f32 and, where the processor has AVX-512, bf16; blocks of f32 for 16-bit
// floats otherwise (matmul_blocks.cc); plain loops for the other dtypes.
//
// Operands go to oneDNN as they lie, transposed or not. Packing the weights first gains nothing:
// measured on two cores of a Zen 5 over M = 2048 and N, K in {128, 384, 1024, 8192}, forward and
// both gradients, plain layouts reach 95 to 102 % of packed ones (f32 200-230, bf16 390-450
// GFLOP/s), which would have to be packed again in every step.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <dnnl.hpp>

#include "absl/strings/str_cat.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/matmul_blocks.h"
#include "worker/kernels/cpu/matmul_shape.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

// Reads an operand as matrices; Unimplemented where its batch dims are not dense.
absl::StatusOr<Matrix> ReadMatrix(const Operand& operand, bool transpose) {
  const int rank = operand.shape.rank();
  Matrix matrix{operand.shape[rank - 2], operand.shape[rank - 1],
                operand.shape[rank - 2] * operand.shape[rank - 1], operand.strides[rank - 2],
                operand.strides[rank - 1]};
  int64_t expected = matrix.batch_stride;
  for (int d = rank - 3; d >= 0; --d) {
    if (operand.shape[d] != 1 && operand.strides[d] != expected && operand.shape.elements() != 0) {
      return absl::UnimplementedError(absl::StrCat("matmul operand ", ToString(operand.type()),
                                                   " with strides ", ToString(operand.strides),
                                                   ": only its last two dims may be out of order"));
    }
    expected *= operand.shape[d];
  }
  if (transpose) {
    std::swap(matrix.rows, matrix.columns);
    std::swap(matrix.row_stride, matrix.column_stride);
  }
  return matrix;
}

absl::StatusOr<MatmulShape> ReadShape(const Instruction& instruction) {
  MatmulShape shape;
  auto a = ReadMatrix(instruction.inputs[0], instruction.attributes[0] != 0);
  if (!a.ok()) return a.status();
  auto b = ReadMatrix(instruction.inputs[1], instruction.attributes[1] != 0);
  if (!b.ok()) return b.status();
  auto c = ReadMatrix(instruction.outputs[0], false);
  if (!c.ok()) return c.status();
  shape.a = *a, shape.b = *b, shape.c = *c;
  shape.m = c->rows, shape.n = c->columns, shape.k = a->columns;
  const Shape& out = instruction.outputs[0].shape;
  for (int d = 0; d + 2 < out.rank(); ++d) shape.batch *= out[d];
  return shape;
}

// ---- oneDNN
// ---------------------------------------------------------------------------------------

dnnl::engine& Engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::memory::desc Describe(const MatmulShape& shape, Matrix matrix, dnnl::memory::data_type type) {
  // A stride along an extent of 1 means nothing, but oneDNN looks at it.
  if (matrix.rows == 1 && matrix.column_stride == 1) matrix.row_stride = matrix.columns;
  if (matrix.columns == 1 && matrix.row_stride == 1) matrix.column_stride = matrix.rows;
  if (shape.batch == 1) {
    return dnnl::memory::desc({matrix.rows, matrix.columns}, type,
                              dnnl::memory::dims{matrix.row_stride, matrix.column_stride});
  }
  return dnnl::memory::desc(
      {shape.batch, matrix.rows, matrix.columns}, type,
      dnnl::memory::dims{matrix.batch_stride, matrix.row_stride, matrix.column_stride});
}

// Keeps the primitive and its memory objects; Run only exchanges their addresses.
class DnnlMatmul final : public Kernel {
 public:
  // Throws dnnl::error.
  DnnlMatmul(const KernelContext& context, const MatmulShape& shape)
      : a_(In(context, 0)),
        b_(In(context, 1)),
        c_(Out(context, 0)),
        threads_(context.device.threads) {
    omp_set_num_threads(threads_);  // oneDNN lays its work out for the team it finds here
    const auto type = context.input_dtype(0) == Dtype::kF32 ? dnnl::memory::data_type::f32
                                                            : dnnl::memory::data_type::bf16;
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(
        dnnl::matmul::desc(Describe(shape, shape.a, type), Describe(shape, shape.b, type),
                           Describe(shape, shape.c, type)),
        attributes, Engine());
    // Equal descriptions share one compiled primitive in oneDNN's own cache.
    primitive_ = dnnl::matmul(description);
    stream_ = dnnl::stream(Engine());
    const auto memory = [](const dnnl::memory::desc& desc) {
      return dnnl::memory(desc, Engine(), nullptr);
    };
    scratch_bytes_ = description.scratchpad_desc().get_size();
    arguments_ = {{DNNL_ARG_SRC, memory(description.src_desc())},
                  {DNNL_ARG_WEIGHTS, memory(description.weights_desc())},
                  {DNNL_ARG_DST, memory(description.dst_desc())},
                  {DNNL_ARG_SCRATCHPAD, memory(description.scratchpad_desc())}};
  }

  int64_t scratch_bytes() const { return scratch_bytes_; }
  void set_scratch(const Address& scratch) { scratch_ = scratch; }

  void Run(const KernelArguments& arguments) override {
    if (omp_get_max_threads() != threads_) omp_set_num_threads(threads_);
    arguments_[DNNL_ARG_SRC].set_data_handle(a_.at<void>(arguments));
    arguments_[DNNL_ARG_WEIGHTS].set_data_handle(b_.at<void>(arguments));
    arguments_[DNNL_ARG_DST].set_data_handle(c_.at<void>(arguments));
    if (scratch_bytes_ > 0) {
      arguments_[DNNL_ARG_SCRATCHPAD].set_data_handle(scratch_.at<void>(arguments));
    }
    primitive_.execute(stream_, arguments_);
  }

 private:
  Address a_, b_, c_, scratch_;
  int threads_;
  int64_t scratch_bytes_ = 0;
  dnnl::matmul primitive_;
  dnnl::stream stream_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// ---- Loops
// ----------------------------------------------------------------------------------------

// Rows [begin, end) of batch * m. A row of C is summed in pieces on the stack, so that rows of B
// are read along memory where B is not transposed.
template <class T>
void MatmulRows(const MatmulShape& s, const T* a, const T* b, T* c, int64_t begin, int64_t end) {
  using Sum = std::conditional_t<kIsFloatType<T>, ComputeType<T>, uint64_t>;  // integers wrap
  constexpr int64_t kPiece = 256;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t batch = r / s.m, row = r % s.m;
    const T* a_row = a + batch * s.a.batch_stride + row * s.a.row_stride;
    const T* b_matrix = b + batch * s.b.batch_stride;
    for (int64_t column = 0; column < s.n; column += kPiece) {
      const int64_t count = std::min(kPiece, s.n - column);
      Sum sums[kPiece] = {};
      for (int64_t k = 0; k < s.k; ++k) {
        const Sum left = static_cast<Sum>(a_row[k * s.a.column_stride]);
        const T* b_row = b_matrix + k * s.b.row_stride + column * s.b.column_stride;
        for (int64_t i = 0; i < count; ++i) {
          sums[i] += left * static_cast<Sum>(b_row[i * s.b.column_stride]);
        }
      }
      T* out = c + r * s.n + column;
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(sums[i]);
    }
  }
}

KernelOr MakeLoops(const KernelContext& context, const MatmulShape& shape) {
  KernelOr kernel = UnsupportedTypes(context);
  VisitNumber(context.input_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([shape, a = In(context, 0), b = In(context, 1), c = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      const int64_t rows = shape.batch * shape.m;
      ParallelFor(threads, rows, GrainFor(rows, shape.n * shape.k),
                  [&](int64_t begin, int64_t end, int) {
                    MatmulRows(shape, a.at<const T>(arguments), b.at<const T>(arguments),
                               c.at<T>(arguments), begin, end);
                  });
    });
  });
  return kernel;
}

// Null where oneDNN does not take the dtype on this processor, or wants more scratch than the
// workspace table gives: both are what the other ways are for.
std::unique_ptr<Kernel> MakeDnnl(const KernelContext& context, const MatmulShape& shape) {
  const Dtype dtype = context.input_dtype(0);
  // An empty sum is 0, which the loops write.
  if ((dtype != Dtype::kF32 && dtype != Dtype::kBF16) || shape.k == 0) return nullptr;
  try {
    auto kernel = std::make_unique<DnnlMatmul>(context, shape);
    auto scratch = ScratchFor(context, kernel->scratch_bytes());
    if (!scratch.ok()) return nullptr;
    kernel->set_scratch(*scratch);
    return kernel;
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace

KernelOr MakeMatmulKernel(const KernelContext& context) {
  auto shape = ReadShape(context.instruction);
  if (!shape.ok()) return shape.status();
  if (shape->empty()) return MakeKernel([](const KernelArguments&) {});
  if (std::unique_ptr<Kernel> library = MakeDnnl(context, *shape)) return library;
  const bool narrow = IsFloat(context.input_dtype(0)) && ByteSize(context.input_dtype(0)) == 2;
  return narrow && shape->k > 0 ? MakeMatmulBlocksKernel(context, *shape)
                                : MakeLoops(context, *shape);
}

}  // namespace moai
