// Sizes of convolution and pooling.
#include <utility>

#include "base/status.h"
#include "graph/infer_internal.h"
#include "graph/op_schema.h"
#include "graph/window.h"

namespace moai::infer_internal {
namespace {

// Windows that reach further than any tensor are nonsense, and their reach could overflow.
constexpr int64_t kMaxWindowNumber = (int64_t{1} << 31) - 1;

absl::Status CheckWindowAxis(const NodeSizes& sizes, const WindowAxis& axis,
                             absl::string_view name) {
  constexpr int64_t kMost = kMaxWindowNumber;
  const std::pair<absl::string_view, int64_t> from_one[] = {
      {"window size", axis.size}, {"stride", axis.stride}, {"dilation", axis.dilation}};
  for (const auto& [what, number] : from_one) {
    if (number >= 1 && number <= kMost) continue;
    return sizes.Invalid(what, " ", name, " must be in [1, ", kMost, "], got ", number);
  }
  for (int64_t padding : {axis.low, axis.high}) {
    if (padding >= 0 && padding <= kMost) continue;
    return sizes.Invalid("padding ", name, " must be in [0, ", kMost, "], got ", padding);
  }
  return absl::OkStatus();
}

absl::Status CheckFits(const NodeSizes& sizes, const WindowAxis& axis, int64_t input,
                       absl::string_view name) {
  if (input < 0) return sizes.Invalid("extent ", name, " must be 0 or more, got ", input);
  if (axis.OutputExtent(input) > 0) return absl::OkStatus();
  return sizes.Invalid("a window that reaches over ", axis.Reach(), " in ", name,
                       " does not fit the padded extent ", axis.low + input + axis.high);
}

// Also that the window fits an input of h by w.
absl::Status CheckWindow(const NodeSizes& sizes, const Window& window, int64_t h, int64_t w) {
  MOAI_RETURN_IF_ERROR(CheckWindowAxis(sizes, window.h, "h"));
  MOAI_RETURN_IF_ERROR(CheckWindowAxis(sizes, window.w, "w"));
  MOAI_RETURN_IF_ERROR(CheckFits(sizes, window.h, h, "h"));
  return CheckFits(sizes, window.w, w, "w");
}

// `input` holds what windows over h by w give, in its dims from `first` on.
absl::Status ExpectOutputOf(const NodeSizes& sizes, const Window& window, int64_t h, int64_t w,
                            size_t input, int first) {
  MOAI_RETURN_IF_ERROR(
      sizes.ExpectExtent(input, first, window.h.OutputExtent(h), "the number of windows in h"));
  return sizes.ExpectExtent(input, first + 1, window.w.OutputExtent(w),
                            "the number of windows in w");
}

absl::Status CheckGroups(const NodeSizes& sizes, int64_t groups, int64_t input_channels,
                         int64_t output_channels) {
  if (groups < 1) return sizes.Invalid("groups must be 1 or more, got ", groups);
  if (input_channels % groups == 0 && output_channels % groups == 0) return absl::OkStatus();
  return sizes.Invalid(groups, " groups do not divide ", input_channels, " input and ",
                       output_channels, " output channels");
}

}  // namespace

absl::Status InferConv2d(const NodeSizes& sizes) {
  const Shape& x = sizes.in(0);
  const Shape& weight = sizes.in(1);
  const Window window = ConvWindow(sizes.extents, weight[2], weight[3]);
  MOAI_RETURN_IF_ERROR(CheckGroups(sizes, window.groups, x[1], weight[0]));
  MOAI_RETURN_IF_ERROR(
      sizes.ExpectExtent(1, 1, x[1] / window.groups, "channels of input 0 by groups"));
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, x[2], x[3]));
  sizes.out(0) = {x[0], weight[0], window.h.OutputExtent(x[2]), window.w.OutputExtent(x[3])};
  return absl::OkStatus();
}

absl::Status InferConv2dGradInput(const NodeSizes& sizes) {
  const Shape& dy = sizes.in(0);
  const Shape& weight = sizes.in(1);
  const int64_t h = sizes.extents[kConvExtents];
  const int64_t w = sizes.extents[kConvExtents + 1];
  const Window window = ConvWindow(sizes.extents, weight[2], weight[3]);
  if (window.groups < 1 || window.groups > kMaxWindowNumber || weight[1] > kMaxWindowNumber) {
    return sizes.Invalid("groups must be in [1, ", kMaxWindowNumber, "] and channels at most ",
                         kMaxWindowNumber, ", got ", window.groups, " and ", weight[1]);
  }
  const int64_t channels = weight[1] * window.groups;
  MOAI_RETURN_IF_ERROR(CheckGroups(sizes, window.groups, channels, weight[0]));
  MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(0, 1, weight[0], "dim 0 of input 1"));
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, h, w));
  MOAI_RETURN_IF_ERROR(ExpectOutputOf(sizes, window, h, w, 0, 2));
  sizes.out(0) = {dy[0], channels, h, w};
  return absl::OkStatus();
}

absl::Status InferConv2dGradWeight(const NodeSizes& sizes) {
  const Shape& dy = sizes.in(0);
  const Shape& x = sizes.in(1);
  const int64_t p = sizes.extents[kConvExtents];
  const int64_t q = sizes.extents[kConvExtents + 1];
  const Window window = ConvWindow(sizes.extents, p, q);
  MOAI_RETURN_IF_ERROR(CheckGroups(sizes, window.groups, x[1], dy[1]));
  MOAI_RETURN_IF_ERROR(sizes.ExpectExtent(1, 0, dy[0], "dim 0 of input 0"));
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, x[2], x[3]));
  MOAI_RETURN_IF_ERROR(ExpectOutputOf(sizes, window, x[2], x[3], 0, 2));
  sizes.out(0) = {dy[1], x[1] / window.groups, p, q};
  return absl::OkStatus();
}

absl::Status InferUnfold(const NodeSizes& sizes) {
  const Shape& x = sizes.in(0);
  const int64_t p = sizes.extents[kConvExtents];
  const int64_t q = sizes.extents[kConvExtents + 1];
  const Window window = ConvWindow(sizes.extents, p, q);
  if (window.groups != 1) return sizes.Invalid("groups must be 1, got ", window.groups);
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, x[2], x[3]));
  sizes.out(0) = {x[0], x[1], p, q, window.h.OutputExtent(x[2]), window.w.OutputExtent(x[3])};
  return absl::OkStatus();
}

absl::Status InferFold(const NodeSizes& sizes) {
  const Shape& x = sizes.in(0);
  const int64_t h = sizes.extents[kConvExtents];
  const int64_t w = sizes.extents[kConvExtents + 1];
  const Window window = ConvWindow(sizes.extents, x[2], x[3]);
  if (window.groups != 1) return sizes.Invalid("groups must be 1, got ", window.groups);
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, h, w));
  MOAI_RETURN_IF_ERROR(ExpectOutputOf(sizes, window, h, w, 0, 4));
  sizes.out(0) = {x[0], x[1], h, w};
  return absl::OkStatus();
}

absl::Status InferPool(const NodeSizes& sizes) {
  const Shape& x = sizes.in(0);
  const Window window = PoolWindow(sizes.extents);
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, x[2], x[3]));
  sizes.out(0) = {x[0], x[1], window.h.OutputExtent(x[2]), window.w.OutputExtent(x[3])};
  return absl::OkStatus();
}

absl::Status InferMaxPoolGrad(const NodeSizes& sizes) {
  const Shape& x = sizes.in(0);
  const Window window = PoolWindow(sizes.extents);
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, x[2], x[3]));
  const Shape y = {x[0], x[1], window.h.OutputExtent(x[2]), window.w.OutputExtent(x[3])};
  MOAI_RETURN_IF_ERROR(sizes.ExpectShape(1, y, "the pooled shape"));
  MOAI_RETURN_IF_ERROR(sizes.ExpectShape(2, y, "the pooled shape"));
  sizes.out(0) = x;
  return absl::OkStatus();
}

absl::Status InferAvgPoolGrad(const NodeSizes& sizes) {
  const Shape& dy = sizes.in(0);
  const int64_t h = sizes.extents[kPoolExtents + 2];
  const int64_t w = sizes.extents[kPoolExtents + 3];
  const Window window = PoolWindow(sizes.extents);
  MOAI_RETURN_IF_ERROR(CheckWindow(sizes, window, h, w));
  MOAI_RETURN_IF_ERROR(ExpectOutputOf(sizes, window, h, w, 0, 2));
  sizes.out(0) = {dy[0], dy[1], h, w};
  return absl::OkStatus();
}

}  // namespace moai::infer_internal
