// The ops of tensors. Operands broadcast by NumPy's rules and are promoted to a common dtype
// (float over integer over bool; of two 16-bit floats, or a 16-bit and a 32-bit one, f32; a rank 0
// tensor does not widen a tensor of the same kind). Numbers take the dtype of the tensor beside
// them, and stay out of the structure of graphs: a changed number costs nothing.
//
// Dims may be negative. What an op means at its corners is said in graph/op_table.def.
#ifndef MOAI_CLIENT_TENSOR_OPS_H_
#define MOAI_CLIENT_TENSOR_OPS_H_

#include <array>
#include <initializer_list>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "client/tensor/tensor.h"

namespace moai {

// ---- Pointwise

Tensor Neg(const Tensor& x);
Tensor Abs(const Tensor& x);
Tensor Sign(const Tensor& x);
Tensor Exp(const Tensor& x);
Tensor Expm1(const Tensor& x);
Tensor Log(const Tensor& x);
Tensor Log1p(const Tensor& x);
Tensor Sqrt(const Tensor& x);
Tensor Rsqrt(const Tensor& x);
Tensor Reciprocal(const Tensor& x);
Tensor Sin(const Tensor& x);
Tensor Cos(const Tensor& x);
Tensor Tanh(const Tensor& x);
Tensor Erf(const Tensor& x);
Tensor Sigmoid(const Tensor& x);
Tensor Relu(const Tensor& x);
Tensor Silu(const Tensor& x);
Tensor Gelu(const Tensor& x);
Tensor Floor(const Tensor& x);
Tensor Ceil(const Tensor& x);
Tensor Round(const Tensor& x);
Tensor IsNan(const Tensor& x);
Tensor IsFinite(const Tensor& x);
Tensor Not(const Tensor& x);

Tensor Add(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Sub(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Mul(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Div(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Mod(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Pow(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Maximum(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Minimum(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Eq(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Ne(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Lt(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Le(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Gt(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Ge(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor And(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Or(const Tensor& a, const Tensor& b, Location location = Location::current());
Tensor Xor(const Tensor& a, const Tensor& b, Location location = Location::current());

Tensor Add(const Tensor& a, double b);
Tensor Sub(const Tensor& a, double b);
Tensor Sub(double a, const Tensor& b);
Tensor Mul(const Tensor& a, double b);
Tensor Div(const Tensor& a, double b);
Tensor Div(double a, const Tensor& b);
Tensor Mod(const Tensor& a, double b);
Tensor Pow(const Tensor& a, double b);
Tensor Maximum(const Tensor& a, double b);
Tensor Minimum(const Tensor& a, double b);
Tensor Eq(const Tensor& a, double b);
Tensor Ne(const Tensor& a, double b);
Tensor Lt(const Tensor& a, double b);
Tensor Le(const Tensor& a, double b);
Tensor Gt(const Tensor& a, double b);
Tensor Ge(const Tensor& a, double b);

// condition ? a : b, element by element.
Tensor Where(const Tensor& condition, const Tensor& a, const Tensor& b,
             Location location = Location::current());
Tensor Clamp(const Tensor& x, double low, double high);

inline Tensor operator-(const Tensor& x) { return Neg(x); }
inline Tensor operator+(const Tensor& a, const Tensor& b) { return Add(a, b, {}); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return Sub(a, b, {}); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return Mul(a, b, {}); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return Div(a, b, {}); }
inline Tensor operator+(const Tensor& a, double b) { return Add(a, b); }
inline Tensor operator-(const Tensor& a, double b) { return Sub(a, b); }
inline Tensor operator*(const Tensor& a, double b) { return Mul(a, b); }
inline Tensor operator/(const Tensor& a, double b) { return Div(a, b); }
inline Tensor operator+(double a, const Tensor& b) { return Add(b, a); }
inline Tensor operator-(double a, const Tensor& b) { return Sub(a, b); }
inline Tensor operator*(double a, const Tensor& b) { return Mul(b, a); }
inline Tensor operator/(double a, const Tensor& b) { return Div(a, b); }
inline Tensor operator<(const Tensor& a, const Tensor& b) { return Lt(a, b, {}); }
inline Tensor operator<(const Tensor& a, double b) { return Lt(a, b); }
inline Tensor operator>(const Tensor& a, const Tensor& b) { return Gt(a, b, {}); }
inline Tensor operator>(const Tensor& a, double b) { return Gt(a, b); }
inline Tensor operator<=(const Tensor& a, const Tensor& b) { return Le(a, b, {}); }
inline Tensor operator<=(const Tensor& a, double b) { return Le(a, b); }
inline Tensor operator>=(const Tensor& a, const Tensor& b) { return Ge(a, b, {}); }
inline Tensor operator>=(const Tensor& a, double b) { return Ge(a, b); }

// ---- Creation

Tensor Full(const Shape& shape, double number, Dtype dtype = Dtype::kF32);
Tensor Zeros(const Shape& shape, Dtype dtype = Dtype::kF32);
Tensor Ones(const Shape& shape, Dtype dtype = Dtype::kF32);
Tensor ZerosLike(const Tensor& x);
Tensor OnesLike(const Tensor& x);
// 0, 1, ... along `dim`.
Tensor Iota(const Shape& shape, int dim, Dtype dtype = Dtype::kI64);
Tensor Arange(int64_t limit, Dtype dtype = Dtype::kI64);

// Random numbers: see random.h for seeds.
Tensor Uniform(const Shape& shape, Dtype dtype = Dtype::kF32);  // in [0, 1)
Tensor Normal(const Shape& shape, Dtype dtype = Dtype::kF32);   // mean 0, variance 1
Tensor Bernoulli(const Shape& shape, double probability, Dtype dtype = Dtype::kF32);

// ---- Movement (views are members of Tensor)

// Copies to the shape, NumPy's rules; a view as Expand is.
Tensor BroadcastTo(const Tensor& x, const Shape& shape, Location location = Location::current());
Tensor Flip(const Tensor& x, absl::Span<const int> dims, Location location = Location::current());
// `low` and `high` elements of `value` around each dim.
Tensor Pad(const Tensor& x, absl::Span<const int64_t> low, absl::Span<const int64_t> high,
           double value = 0, Location location = Location::current());
Tensor Concat(absl::Span<const Tensor> parts, int dim, Location location = Location::current());
Tensor Stack(absl::Span<const Tensor> parts, int dim, Location location = Location::current());
// x with `update` in place of the elements that start, start + step, ... name.
Tensor SliceUpdate(const Tensor& x, const Tensor& update, absl::Span<const int64_t> start,
                   absl::Span<const int64_t> step, Location location = Location::current());
Tensor Tril(const Tensor& x, int64_t diagonal = 0, Location location = Location::current());
Tensor Triu(const Tensor& x, int64_t diagonal = 0, Location location = Location::current());

// ---- Reductions

enum class Dims { kDrop, kKeep };

// Over the named dims; over all of them where none is named.
using DimList = std::initializer_list<int>;
Tensor Sum(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
           Location location = Location::current());
Tensor Mean(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
            Location location = Location::current());
Tensor Max(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
           Location location = Location::current());
Tensor Min(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
           Location location = Location::current());
Tensor Prod(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
            Location location = Location::current());
Tensor Any(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
           Location location = Location::current());
Tensor All(const Tensor& x, DimList dims = {}, Dims keep = Dims::kDrop,
           Location location = Location::current());
Tensor Argmax(const Tensor& x, int dim, Location location = Location::current());
Tensor Argmin(const Tensor& x, int dim, Location location = Location::current());

// ---- Order and prefix

struct Sorted {
  Tensor values;
  Tensor positions;  // i64
};
enum class Order { kAscending, kDescending };

Tensor Cumsum(const Tensor& x, int dim, Location location = Location::current());
Sorted Sort(const Tensor& x, int dim, Order order = Order::kAscending,
            Location location = Location::current());
Sorted TopK(const Tensor& x, int64_t k, int dim, Location location = Location::current());

// ---- Contractions

struct MatmulOptions {
  bool transpose_a = false;  // swap the last two dims first
  bool transpose_b = false;
};
// NumPy's matmul; leading dims broadcast. Runs in the dtype of an Autocast guard, if there is one.
Tensor Matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options = {},
              Location location = Location::current());

struct Window {
  std::array<int64_t, 2> stride = {1, 1};
  std::array<int64_t, 2> padding_low = {0, 0};
  std::array<int64_t, 2> padding_high = {0, 0};
  std::array<int64_t, 2> dilation = {1, 1};
  // The same padding on both sides of both dims.
  static Window Padded(int64_t padding, int64_t stride = 1) {
    return {.stride = {stride, stride},
            .padding_low = {padding, padding},
            .padding_high = {padding, padding}};
  }
};
// x [n c h w], weight [o c/groups p q] -> [n o h' w'].
Tensor Conv2d(const Tensor& x, const Tensor& weight, const Window& window = {}, int64_t groups = 1,
              Location location = Location::current());
Tensor MaxPool2d(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
                 Location location = Location::current());
Tensor AvgPool2d(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
                 Location location = Location::current());
// [n c h w] -> [n c p q h' w'], and its adjoint for an image of h w.
Tensor Unfold(const Tensor& x, std::array<int64_t, 2> size, const Window& window,
              Location location = Location::current());
Tensor Fold(const Tensor& x, std::array<int64_t, 2> image, const Window& window,
            Location location = Location::current());

// ---- Softmax, norms, attention

Tensor Softmax(const Tensor& x, int dim = -1, Location location = Location::current());
Tensor LogSoftmax(const Tensor& x, int dim = -1, Location location = Location::current());
Tensor LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5,
                 Location location = Location::current());
Tensor RmsNorm(const Tensor& x, const Tensor& weight, double eps = 1e-6,
               Location location = Location::current());
Tensor GroupNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups,
                 double eps = 1e-5, Location location = Location::current());
struct BatchNormResult {
  Tensor y;
  Tensor mean;      // of each channel; without history
  Tensor variance;  // biased
};
BatchNormResult BatchNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          double eps = 1e-5, Location location = Location::current());

struct AttentionOptions {
  bool causal = false;
  std::optional<double> scale;   // 1 / sqrt(head size) where absent
  const Tensor* mask = nullptr;  // added to the scores: b h s t, or 1 for b and h
};
// q [b s h d], k [b t g d], v [b t g e] -> [b s h e]; h is a multiple of g. No gradient for the
// mask.
Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const AttentionOptions& options = {}, Location location = Location::current());
// x [b s h d]; cosine, sine [s d/2].
Tensor Rotary(const Tensor& x, const Tensor& cosine, const Tensor& sine,
              Location location = Location::current());

// ---- Indexing. Positions are i32 or i64; one out of range is an error at the next read, and its
// step does not commit.

Tensor Embedding(const Tensor& table, const Tensor& ids, Location location = Location::current());
Tensor IndexSelect(const Tensor& x, int dim, const Tensor& ids,
                   Location location = Location::current());
Tensor IndexAdd(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
                Location location = Location::current());
Tensor Gather(const Tensor& x, int dim, const Tensor& ids, Location location = Location::current());
Tensor Scatter(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
               Location location = Location::current());
Tensor ScatterAdd(const Tensor& x, int dim, const Tensor& ids, const Tensor& updates,
                  Location location = Location::current());

// ---- Losses

// The loss of each row: logits [n v], labels [n]; f32. Rows of label `ignore_index` give 0.
Tensor CrossEntropyRows(const Tensor& logits, const Tensor& labels, int ignore_index = -100,
                        Location location = Location::current());

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_OPS_H_
