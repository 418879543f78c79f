#include "graph/testing/saved_results.h"

#include <algorithm>
#include <cmath>

#include "graph/window.h"

namespace moai::testing_internal {
namespace {

using Content = std::vector<double>;

constexpr double kEps = 1e-5;

double LogSumExp(const double* row, int64_t count) {
  double largest = -INFINITY;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, row[i]);
  if (largest == -INFINITY) return largest;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(row[i] - largest);
  return largest + std::log(sum);
}

struct Moments {
  double mean = 0;
  double variance = 0;
  double mean_square = 0;
};

// Of the elements at offset(0) .. offset(count - 1).
template <typename Offset>
Moments MomentsOf(const Content& x, int64_t count, Offset offset) {
  Moments moments;
  for (int64_t i = 0; i < count; ++i) moments.mean += x[offset(i)];
  moments.mean /= static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i) {
    const double value = x[offset(i)];
    moments.variance += (value - moments.mean) * (value - moments.mean);
    moments.mean_square += value * value;
  }
  moments.variance /= static_cast<double>(count);
  moments.mean_square /= static_cast<double>(count);
  return moments;
}

double ReciprocalRoot(double square) { return 1 / std::sqrt(square + kEps); }

// The operands of one node.
struct Operands {
  const CapturedGraph& captured;
  const Node& node;
  std::vector<Content>& contents;

  const Shape& shape(size_t i) const { return captured.types[node.inputs[i]].shape; }
  Content& content(size_t i) const { return contents[node.inputs[i]]; }
};

// Rows are contiguous: the last dim, or the channels of a group with all that lies behind them.
void RowStatistics(const Operands& at, size_t mean, size_t rstd) {
  const int64_t rows = at.shape(rstd).elements();
  const int64_t count = rows == 0 ? 0 : at.shape(0).elements() / rows;
  for (int64_t row = 0; row < rows; ++row) {
    const Moments moments =
        MomentsOf(at.content(0), count, [&](int64_t i) { return row * count + i; });
    if (mean != 0) at.content(mean)[row] = moments.mean;
    at.content(rstd)[row] = ReciprocalRoot(mean != 0 ? moments.variance : moments.mean_square);
  }
}

void ChannelStatistics(const Operands& at) {
  const Shape& x = at.shape(0);
  const int64_t batch = x[0], channels = x[1];
  int64_t spatial = 1;
  for (int dim = 2; dim < x.rank(); ++dim) spatial *= x[dim];
  for (int64_t c = 0; c < channels; ++c) {
    const Moments moments = MomentsOf(at.content(0), batch * spatial, [&](int64_t i) {
      return (i / spatial * channels + c) * spatial + i % spatial;
    });
    at.content(2)[c] = moments.mean;
    at.content(3)[c] = moments.variance;
  }
}

void PooledMaximum(const Operands& at) {
  const Shape& x = at.shape(0);
  const Shape& y = at.shape(1);
  const Window window = PoolWindow(Extents(at.node, at.captured.sizes));
  Content& out = at.content(1);
  for (int64_t i = 0; i < y.elements(); ++i) {
    const int64_t column = i % y[3], row = i / y[3] % y[2], plane = i / (y[3] * y[2]);
    double largest = -INFINITY;
    for (int64_t p = 0; p < window.h.size; ++p) {
      for (int64_t q = 0; q < window.w.size; ++q) {
        const int64_t h = row * window.h.stride - window.h.low + p * window.h.dilation;
        const int64_t w = column * window.w.stride - window.w.low + q * window.w.dilation;
        if (h < 0 || h >= x[2] || w < 0 || w >= x[3]) continue;
        largest = std::max(largest, at.content(0)[(plane * x[2] + h) * x[3] + w]);
      }
    }
    out[i] = largest;
  }
}

void LossLogSumExp(const Operands& at) {
  const Shape& logits = at.shape(0);
  for (int64_t row = 0; row < logits[0]; ++row) {
    at.content(2)[row] = LogSumExp(at.content(0).data() + row * logits[1], logits[1]);
  }
}

// Scores of query (b, h, i) against every key.
Content AttentionScores(const Operands& at, int64_t b, int64_t h, int64_t i) {
  const Shape& q = at.shape(0);
  const Shape& k = at.shape(1);
  const int64_t keys = k[1], size = q[3];
  const int64_t key_head = h / (q[2] / k[2]);
  Content scores(keys);
  for (int64_t j = 0; j < keys; ++j) {
    double dot = 0;
    for (int64_t d = 0; d < size; ++d) {
      dot += at.content(0)[((b * q[1] + i) * q[2] + h) * size + d] *
             at.content(1)[((b * keys + j) * k[2] + key_head) * size + d];
    }
    scores[j] = dot * at.node.numbers[0];
    if (at.node.inputs.size() > 6) {
      const Shape& mask = at.shape(6);
      const int64_t mask_b = mask[0] == 1 ? 0 : b, mask_h = mask[1] == 1 ? 0 : h;
      scores[j] += at.content(6)[((mask_b * mask[1] + mask_h) * mask[2] + i) * mask[3] + j];
    }
    if (at.node.attributes[0] != 0 && j > i + keys - q[1]) scores[j] = -INFINITY;
  }
  return scores;
}

void AttentionResult(const Operands& at) {
  const Shape& q = at.shape(0);
  const Shape& v = at.shape(2);
  const int64_t keys = v[1], size = v[3];
  for (int64_t b = 0; b < q[0]; ++b) {
    for (int64_t i = 0; i < q[1]; ++i) {
      for (int64_t h = 0; h < q[2]; ++h) {
        const Content scores = AttentionScores(at, b, h, i);
        const double lse = LogSumExp(scores.data(), keys);
        at.content(4)[(b * q[2] + h) * q[1] + i] = lse;
        for (int64_t e = 0; e < size; ++e) {
          double sum = 0;
          for (int64_t j = 0; j < keys && lse != -INFINITY; ++j) {
            sum += std::exp(scores[j] - lse) *
                   at.content(2)[((b * keys + j) * v[2] + h / (q[2] / v[2])) * size + e];
          }
          at.content(3)[((b * q[1] + i) * q[2] + h) * size + e] = sum;
        }
      }
    }
  }
}

}  // namespace

void ComputeSavedResults(const CapturedGraph& captured, const Node& node,
                         std::vector<std::vector<double>>& contents) {
  const Operands at{captured, node, contents};
  switch (node.op) {
    case Op::kLayerNormGrad:
    case Op::kGroupNormGrad:
      return RowStatistics(at, 2, 3);
    case Op::kRmsNormGrad:
      return RowStatistics(at, 0, 2);
    case Op::kBatchNormGrad:
      return ChannelStatistics(at);
    case Op::kMaxPool2dGrad:
      return PooledMaximum(at);
    case Op::kCrossEntropyGrad:
      return LossLogSumExp(at);
    case Op::kAttentionGrad:
      return AttentionResult(at);
    default:
      return;
  }
}

}  // namespace moai::testing_internal
