// Contractions, norms, attention, lookups.
#include <algorithm>

#include "graph/testing/node_specs.h"
#include "graph/window.h"

namespace moai::testing_internal {
namespace {

struct DrawnAxis {
  WindowAxis window;
  int64_t input = 0;
};

}  // namespace

void SpecMaker::Convolution() {
  const auto draw_axis = [&] {
    DrawnAxis axis;
    axis.window = {.size = Few(3),
                   .stride = Int(1, 3),
                   .low = Int(0, 2),
                   .high = Int(0, 2),
                   .dilation = Int(1, 2)};
    const int64_t least = axis.window.Reach() - axis.window.low - axis.window.high;
    axis.input = std::max<int64_t>(least, 1) + Int(0, std::min<int64_t>(options_.max_extent, 5));
    return axis;
  };
  const DrawnAxis h = draw_axis(), w = draw_axis();
  const bool grouped = spec_.op != Op::kUnfold && spec_.op != Op::kFold;
  const int64_t groups = grouped && OneOf(2) ? Int(2, 3) : 1;
  const int64_t n = Extent();
  const int64_t c = groups * (options_.allow_empty && OneOf(24) ? 0 : Few(3));
  const int64_t o = groups * Few(3);
  const int64_t p = h.window.size, q = w.window.size;
  const Shape x = {n, c, h.input, w.input};
  const Shape weight = {o, c / groups, p, q};
  const int64_t out_h = h.window.OutputExtent(h.input), out_w = w.window.OutputExtent(w.input);
  const Shape y = {n, o, out_h, out_w};
  Extents({h.window.stride, w.window.stride, h.window.low, h.window.high, w.window.low,
           w.window.high, h.window.dilation, w.window.dilation});
  Extents({groups});
  switch (spec_.op) {
    case Op::kConv2d:
      Input(x);
      Input(weight);
      return;
    case Op::kConv2dGradInput:
      Input(y);
      Input(weight);
      Extents({h.input, w.input});
      return;
    case Op::kConv2dGradWeight:
      Input(y);
      Input(x);
      Extents({p, q});
      return;
    case Op::kUnfold:
      Input(x);
      Input(Shape());
      Extents({p, q});
      return;
    default:  // fold
      Input({n, c, p, q, out_h, out_w});
      Extents({h.input, w.input});
  }
}

void SpecMaker::Pooling() {
  const auto draw_axis = [&] {
    DrawnAxis axis;
    axis.window = {.size = Few(3), .stride = Int(1, 3), .dilation = Int(1, 2)};
    // Less padding than the window is long, so that most windows see the input.
    axis.window.low = Int(0, axis.window.size / 2);
    axis.window.high = Int(0, axis.window.size / 2);
    axis.input = axis.window.Reach() + Int(0, std::min<int64_t>(options_.max_extent, 5));
    return axis;
  };
  const DrawnAxis h = draw_axis(), w = draw_axis();
  const Shape x = {Extent(), Extent(), h.input, w.input};
  const Shape y = {x[0], x[1], h.window.OutputExtent(h.input), w.window.OutputExtent(w.input)};
  Extents({h.window.stride, w.window.stride, h.window.low, h.window.high, w.window.low,
           w.window.high, h.window.dilation, w.window.dilation});
  Extents({h.window.size, w.window.size});
  if (spec_.op == Op::kAvgPool2dGrad) {
    Input(y);
    Extents({h.input, w.input});
    return;
  }
  Input(x);
  if (spec_.op == Op::kMaxPool2dGrad) {
    Input(y);
    Input(y);
  }
}

bool SpecMaker::Contraction() {
  switch (spec_.op) {
    case Op::kMatmul: {
      Shape a = RandomShape(0, 2);
      Shape b = a;
      const int64_t m = Extent(), k = Extent(), n = Extent();
      const bool transpose_a = OneOf(2), transpose_b = OneOf(2);
      a.push_back(transpose_a ? k : m);
      a.push_back(transpose_a ? m : k);
      b.push_back(transpose_b ? n : k);
      b.push_back(transpose_b ? k : n);
      Input(a);
      Input(b);
      Attributes({transpose_a, transpose_b});
      return true;
    }
    case Op::kConv2d:
    case Op::kConv2dGradInput:
    case Op::kConv2dGradWeight:
    case Op::kUnfold:
    case Op::kFold:
      Convolution();
      return true;
    case Op::kMaxPool2d:
    case Op::kMaxPool2dGrad:
    case Op::kAvgPool2d:
    case Op::kAvgPool2dGrad:
      Pooling();
      return true;
    default:
      return false;
  }
}

void SpecMaker::Attention() {
  const int64_t b = Few(2), s = Extent(), t = Extent(), d = Extent(), e = Extent();
  const int64_t key_heads = Few(2), heads = key_heads * Few(3);
  const Shape q = {b, s, heads, d};
  const Shape o = {b, s, heads, e};
  Input(q);
  Input({b, t, key_heads, d});
  Input({b, t, key_heads, e});
  if (spec_.op == Op::kAttentionGrad) {
    Input(o);
    Input(Statistic(), {b, heads, s});
    Input(o);
  }
  if (OneOf(2)) Input(Mixed(), {OneOf(2) ? 1 : b, OneOf(2) ? 1 : heads, s, t});
  Attributes({Int(0, 1)});
  spec_.numbers = {OneOf(2) ? 1.0 : 0.375};
}

bool SpecMaker::Whole() {
  const double eps = OneOf(2) ? 1e-5 : 0.03125;
  switch (spec_.op) {
    case Op::kSoftmax:
    case Op::kLogSoftmax:
      Input(RandomShape(1, 4));
      return true;
    case Op::kSoftmaxGrad:
    case Op::kLogSoftmaxGrad: {
      const Shape shape = RandomShape(1, 4);
      Input(shape);
      Input(shape);
      return true;
    }
    case Op::kLayerNorm:
    case Op::kLayerNormGrad:
    case Op::kRmsNorm:
    case Op::kRmsNormGrad: {
      const Shape x = RandomShape(1, 4);
      Shape rows = x;
      rows.Erase(x.rank() - 1);
      const bool layer = spec_.op == Op::kLayerNorm || spec_.op == Op::kLayerNormGrad;
      const Dtype weight = Mixed();
      Input(x);
      Input(weight, {x.back()});
      if (spec_.op == Op::kLayerNorm) Input(weight, {x.back()});
      if (spec_.op == Op::kLayerNorm || spec_.op == Op::kRmsNorm) {
        spec_.numbers = {eps};
        return true;
      }
      Input(Statistic(), rows);
      if (layer) Input(Statistic(), rows);
      Input(x);
      return true;
    }
    case Op::kGroupNorm:
    case Op::kGroupNormGrad:
    case Op::kBatchNorm:
    case Op::kBatchNormGrad: {
      const bool group = spec_.op == Op::kGroupNorm || spec_.op == Op::kGroupNormGrad;
      const int64_t groups = group ? Few(3) : 1;
      const int64_t channels = groups * Few(3);
      Shape x = {Extent(), channels};
      for (int64_t extent : RandomShape(0, 2)) x.push_back(extent);
      // Of a group of one element the gradient is zero, and what is computed is rounding alone.
      if (spec_.op == Op::kGroupNormGrad && x.elements() == x[0] * groups) x.push_back(2);
      const Dtype weight = Mixed();
      Input(x);
      Input(weight, {channels});
      const Shape statistics = group ? Shape{x[0], groups} : Shape{channels};
      if (spec_.op == Op::kGroupNorm || spec_.op == Op::kBatchNorm) {
        Input(weight, {channels});
      } else {
        Input(Statistic(), statistics);
        Input(Statistic(), statistics);
        Input(x);
      }
      if (group) Extents({groups});
      if (spec_.op != Op::kGroupNormGrad) spec_.numbers = {eps};
      return true;
    }
    case Op::kAttention:
    case Op::kAttentionGrad:
      Attention();
      return true;
    case Op::kRotary: {
      const int64_t s = Extent(), half = Few(4);
      const Dtype table = Mixed();
      Input({Extent(), s, Extent(), 2 * half});
      Input(table, {s, half});
      Input(table, {s, half});
      Attributes({Int(0, 1)});
      return true;
    }
    case Op::kAdamW: {
      const Shape shape = RandomShape(0, 3);
      Input(shape);
      Input(OneOf(2) ? dtype_ : FloatDtype(), shape);
      Input(shape);
      Input(shape);
      for (int i = 4; i < 12; ++i) Input(Statistic(), {});
      return true;
    }
    default:
      return false;
  }
}

// Where a table of `rows` rows, or none, begins in a larger one, and how many rows that has.
void SpecMaker::Window(int64_t rows) {
  const int64_t first = Int(0, 3);
  Extents({first, std::max<int64_t>(1, first + rows + Int(0, 3))});
}

bool SpecMaker::Indexed() {
  // Rows to look up exist, or every id would be out of range.
  const int64_t rows = Few(options_.max_extent);
  switch (spec_.op) {
    case Op::kEmbedding: {
      const bool window = OneOf(2);
      const int64_t held = window && options_.allow_empty && OneOf(6) ? 0 : rows;
      Input({held, Extent()});
      Input(IdDtype(), RandomShape(0, 3));
      if (window) Window(held);
      return true;
    }
    case Op::kEmbeddingGrad: {
      Shape dy = RandomShape(0, 3);
      Input(IdDtype(), dy);
      dy.push_back(Extent());
      Input(dy);
      Attributes({static_cast<int64_t>(OneOf(2) ? dtype_ : FloatDtype())});
      Extents({rows});
      if (OneOf(2)) Window(rows);
      return true;
    }
    case Op::kIndexSelect:
    case Op::kIndexAdd: {
      Shape x = RandomShape(1, 4);
      const int axis = static_cast<int>(Int(0, x.rank() - 1));
      x[axis] = rows;
      Shape updates = x;
      updates[axis] = Extent();
      Input(x);
      Input(IdDtype(), {updates[axis]});
      if (spec_.op == Op::kIndexAdd) Input(updates);
      Attributes({axis});
      return true;
    }
    case Op::kGather:
    case Op::kScatter:
    case Op::kScatterAdd: {
      Shape x = RandomShape(1, 4);
      const int axis = static_cast<int>(Int(0, x.rank() - 1));
      x[axis] = rows;
      Shape ids = x;
      ids[axis] = Extent();
      Input(x);
      Input(IdDtype(), ids);
      if (spec_.op != Op::kGather) Input(ids);
      Attributes({axis});
      return true;
    }
    case Op::kCrossEntropy:
    case Op::kCrossEntropyGrad: {
      const int64_t n = Extent();
      Input({n, rows});
      Input(IdDtype(), {n});
      if (spec_.op == Op::kCrossEntropyGrad) {
        Input(Statistic(), {n});
        Input(Statistic(), {n});
      }
      Attributes({OneOf(2) ? -100 : Int(0, rows - 1)});
      return true;
    }
    default:
      return false;
  }
}

}  // namespace moai::testing_internal
