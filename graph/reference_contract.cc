// Matrix products and sliding windows.
#include <algorithm>

#include "graph/reference_internal.h"
#include "graph/window.h"

namespace moai::reference {
namespace {

// Dense [rows, columns] from one that may be stored transposed.
template <typename T>
void Pack(const T* from, int64_t rows, int64_t columns, bool transposed, std::vector<T>& to) {
  to.resize(static_cast<size_t>(rows * columns));
  if (!transposed) {
    std::copy_n(from, rows * columns, to.begin());
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      to[row * columns + column] = from[column * rows + row];
    }
  }
}

// c += a b, where c is [m, n]; each element sums in order of k. A block of b stays in the cache,
// and four rows of it go into a row of c at a time: three times as fast as one by one.
template <typename T>
void Multiply(const T* a, const T* b, T* c, int64_t m, int64_t k, int64_t n) {
  constexpr int64_t kBlockK = 64, kBlockN = 256;
  for (int64_t n0 = 0; n0 < n; n0 += kBlockN) {
    const int64_t columns = std::min(kBlockN, n - n0);
    for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
      const int64_t k1 = std::min(k0 + kBlockK, k);
      for (int64_t i = 0; i < m; ++i) {
        T* row = c + i * n + n0;
        int64_t j = k0;
        for (; j + 4 <= k1; j += 4) {
          const T* f = a + i * k + j;
          const T* b0 = b + j * n + n0;
          const T *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
          const T f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
          for (int64_t x = 0; x < columns; ++x) {
            row[x] = row[x] + f0 * b0[x] + f1 * b1[x] + f2 * b2[x] + f3 * b3[x];
          }
        }
        for (; j < k1; ++j) {
          const T factor = a[i * k + j];
          const T* from = b + j * n + n0;
          for (int64_t x = 0; x < columns; ++x) row[x] += factor * from[x];
        }
      }
    }
  }
}

template <typename T>
void MultiplyBatches(const NodeRun& run, const T* a, const T* b, T* c) {
  const bool transpose_a = run.node.attributes[0] != 0, transpose_b = run.node.attributes[1] != 0;
  const int rank = run.out_shape().rank();
  const int64_t m = run.out_shape()[rank - 2], n = run.out_shape()[rank - 1];
  const int64_t k = run.in_shape(0)[transpose_a ? rank - 2 : rank - 1];
  int64_t batches = 1;
  for (int dim = 0; dim + 2 < rank; ++dim) batches *= run.out_shape()[dim];
  std::vector<T> packed_a, packed_b;
  for (int64_t batch = 0; batch < batches; ++batch) {
    Pack(a + batch * m * k, m, k, transpose_a, packed_a);
    Pack(b + batch * k * n, k, n, transpose_b, packed_b);
    Multiply(packed_a.data(), packed_b.data(), c + batch * m * n, m, k, n);
  }
}

// Calls visit(position in the windows tensor, position in the plane's tensor, or -1 for padding)
// for windows [n c p q h' w'] over [n c h w].
template <typename Visitor>
void ForEachWindowElement(const Shape& windows, const Shape& plane, const Window& window,
                          Visitor&& visit) {
  int64_t at = 0;
  for (int64_t image = 0; image < windows[0] * windows[1]; ++image) {
    for (int64_t p = 0; p < windows[2]; ++p) {
      for (int64_t q = 0; q < windows[3]; ++q) {
        for (int64_t y = 0; y < windows[4]; ++y) {
          const int64_t h = y * window.h.stride - window.h.low + p * window.h.dilation;
          for (int64_t x = 0; x < windows[5]; ++x) {
            const int64_t w = x * window.w.stride - window.w.low + q * window.w.dilation;
            const bool inside = h >= 0 && h < plane[2] && w >= 0 && w < plane[3];
            visit(at++, inside ? (image * plane[2] + h) * plane[3] + w : -1);
          }
        }
      }
    }
  }
}

}  // namespace

absl::Status RunMatmul(const NodeRun& run) {
  if (run.node.op != Op::kMatmul) return NotOfThisFamily(run);
  if (IsFloat(run.out().type.dtype)) {
    MultiplyBatches(run, run.in(0).floats.data(), run.in(1).floats.data(), run.out().floats.data());
    return absl::OkStatus();
  }
  // Unsigned, so that overflow is defined; the low bits of the result are those of the true sum.
  const auto bits = [](const std::vector<int64_t>& x) {
    return std::vector<uint64_t>(x.begin(), x.end());
  };
  const std::vector<uint64_t> a = bits(run.in(0).integers), b = bits(run.in(1).integers);
  std::vector<uint64_t> c(run.out().integers.size());
  MultiplyBatches(run, a.data(), b.data(), c.data());
  for (size_t i = 0; i < c.size(); ++i) run.out().integers[i] = Wrap(c[i], run.out().type.dtype);
  return absl::OkStatus();
}

absl::Status RunWindow(const NodeRun& run) {
  if (run.node.op != Op::kUnfold && run.node.op != Op::kFold) return NotOfThisFamily(run);
  const Shape& windows = run.node.op == Op::kUnfold ? run.out_shape() : run.in_shape(0);
  const Window window = ConvWindow(run.extents, windows[2], windows[3]);
  if (run.node.op == Op::kUnfold) {
    VisitElements(run.out(), [&](auto& out) {
      const auto& x = ElementsLike(out, run.in(0));
      const auto padding = ElementsLike(out, run.in(1))[0];
      ForEachWindowElement(windows, run.in_shape(0), window, [&](int64_t at, int64_t from) {
        out[at] = from < 0 ? padding : x[from];
      });
    });
    return absl::OkStatus();
  }
  ForEachWindowElement(windows, run.out_shape(), window, [&](int64_t at, int64_t to) {
    if (to >= 0) run.out().floats[to] += run.in(0).floats[at];
  });
  return absl::OkStatus();
}

}  // namespace moai::reference
