#include "client/autograd/gradient_rule.h"

#include <array>
#include <initializer_list>

#include "client/autograd/gradients.h"

namespace moai {
namespace {

constexpr uint16_t kInput0 = 1, kInput1 = 2, kInput2 = 4, kInput3 = 8;
constexpr uint8_t kOutput0 = 1, kOutput1 = 2, kOutput2 = 4;

struct Entry {
  Op op;
  GradientRule rule;
};

constexpr Entry kDifferentiable[] = {
    {Op::kNeg, {.function = gradients::Neg}},
    {Op::kAbs, {.function = gradients::Abs, .saved_inputs = kInput0}},
    {Op::kExp, {.function = gradients::Exp, .saved_outputs = kOutput0}},
    {Op::kExpm1, {.function = gradients::Expm1, .saved_outputs = kOutput0}},
    {Op::kLog, {.function = gradients::Log, .saved_inputs = kInput0}},
    {Op::kLog1p, {.function = gradients::Log1p, .saved_inputs = kInput0}},
    {Op::kSqrt, {.function = gradients::Sqrt, .saved_outputs = kOutput0}},
    {Op::kRsqrt, {.function = gradients::Rsqrt, .saved_outputs = kOutput0}},
    {Op::kReciprocal, {.function = gradients::Reciprocal, .saved_outputs = kOutput0}},
    {Op::kSin, {.function = gradients::Sin, .saved_inputs = kInput0}},
    {Op::kCos, {.function = gradients::Cos, .saved_inputs = kInput0}},
    {Op::kTanh, {.function = gradients::Tanh, .saved_outputs = kOutput0}},
    {Op::kErf, {.function = gradients::Erf, .saved_inputs = kInput0}},
    {Op::kSigmoid, {.function = gradients::Sigmoid, .saved_outputs = kOutput0}},
    {Op::kRelu, {.function = gradients::Relu, .saved_outputs = kOutput0}},
    {Op::kSilu, {.function = gradients::Silu, .saved_inputs = kInput0}},
    {Op::kGelu, {.function = gradients::Gelu, .saved_inputs = kInput0}},
    {Op::kCast, {.function = gradients::Cast, .needs_sizes = true}},
    {Op::kAdd, {.function = gradients::Add}},
    {Op::kSub, {.function = gradients::Sub}},
    {Op::kMul,
     {.function = gradients::Mul, .saved_inputs = kInput0 | kInput1, .saves_for_others = true}},
    {Op::kDiv, {.function = gradients::Div, .saved_inputs = kInput1, .saved_outputs = kOutput0}},
    {Op::kMod, {.function = gradients::Mod, .saved_inputs = kInput0 | kInput1}},
    {Op::kPow,
     {.function = gradients::Pow, .saved_inputs = kInput0 | kInput1, .saved_outputs = kOutput0}},
    {Op::kMaximum, {.function = gradients::Maximum, .saved_inputs = kInput0 | kInput1}},
    {Op::kMinimum, {.function = gradients::Minimum, .saved_inputs = kInput0 | kInput1}},
    {Op::kSelect, {.function = gradients::Select, .saved_inputs = kInput0}},
    {Op::kClamp, {.function = gradients::Clamp, .saved_inputs = kInput0 | kInput1 | kInput2}},

    {Op::kReshape, {.function = gradients::Reshape, .needs_sizes = true}},
    {Op::kTranspose, {.function = gradients::Transpose}},
    {Op::kBroadcast, {.function = gradients::Broadcast, .needs_sizes = true}},
    {Op::kSlice, {.function = gradients::Slice, .needs_sizes = true}},
    {Op::kFlip, {.function = gradients::Flip}},
    {Op::kSliceUpdate, {.function = gradients::SliceUpdate, .needs_sizes = true}},
    {Op::kPad, {.function = gradients::Pad, .needs_sizes = true}},
    {Op::kConcat, {.function = gradients::Concat, .needs_sizes = true}},
    {Op::kFill, {.function = gradients::Fill}},
    {Op::kTril, {.function = gradients::Tril, .needs_sizes = true}},
    {Op::kTriu, {.function = gradients::Triu, .needs_sizes = true}},

    {Op::kReduceSum, {.function = gradients::ReduceSum, .needs_sizes = true}},
    {Op::kReduceMean, {.function = gradients::ReduceMean, .needs_sizes = true}},
    {Op::kReduceMax,
     {.function = gradients::ReduceExtreme, .saved_inputs = kInput0, .saved_outputs = kOutput0}},
    {Op::kReduceMin,
     {.function = gradients::ReduceExtreme, .saved_inputs = kInput0, .saved_outputs = kOutput0}},
    {Op::kReduceProd, {.function = gradients::ReduceProd, .saved_inputs = kInput0}},
    {Op::kCumsum, {.function = gradients::Cumsum}},
    {Op::kSort, {.function = gradients::Sort, .saved_outputs = kOutput1, .needs_sizes = true}},
    {Op::kTopK, {.function = gradients::Sort, .saved_outputs = kOutput1, .needs_sizes = true}},

    {Op::kMatmul,
     {.function = gradients::Matmul, .saved_inputs = kInput0 | kInput1, .saves_for_others = true}},
    {Op::kConv2d,
     {.function = gradients::Conv2d,
      .saved_inputs = kInput0 | kInput1,
      .needs_sizes = true,
      .saves_for_others = true}},
    {Op::kUnfold, {.function = gradients::Unfold, .needs_sizes = true}},
    {Op::kFold, {.function = gradients::Fold, .needs_sizes = true}},
    {Op::kMaxPool2d,
     {.function = gradients::MaxPool2d,
      .saved_inputs = kInput0,
      .saved_outputs = kOutput0,
      .needs_sizes = true}},
    {Op::kAvgPool2d, {.function = gradients::AvgPool2d, .needs_sizes = true}},

    {Op::kSoftmax, {.function = gradients::Softmax, .saved_outputs = kOutput0}},
    {Op::kLogSoftmax, {.function = gradients::LogSoftmax, .saved_outputs = kOutput0}},
    {Op::kLayerNorm,
     {.function = gradients::LayerNorm,
      .saved_inputs = kInput0 | kInput1,
      .saved_outputs = kOutput1 | kOutput2}},
    {Op::kRmsNorm,
     {.function = gradients::RmsNorm,
      .saved_inputs = kInput0 | kInput1,
      .saved_outputs = kOutput1}},
    {Op::kGroupNorm,
     {.function = gradients::GroupNorm,
      .saved_inputs = kInput0 | kInput1,
      .saved_outputs = kOutput1 | kOutput2,
      .needs_sizes = true}},
    {Op::kBatchNorm,
     {.function = gradients::BatchNorm,
      .saved_inputs = kInput0 | kInput1,
      .saved_outputs = kOutput1 | kOutput2}},
    {Op::kAttention,
     {.function = gradients::Attention,
      .saved_inputs = kInput0 | kInput1 | kInput2 | kInput3,
      .saved_outputs = kOutput0 | kOutput1}},
    {Op::kRotary, {.function = gradients::Rotary, .saved_inputs = kInput1 | kInput2}},
    {Op::kCrossEntropy,
     {.function = gradients::CrossEntropy,
      .saved_inputs = kInput0 | kInput1,
      .saved_outputs = kOutput1}},

    {Op::kEmbedding,
     {.function = gradients::Embedding, .saved_inputs = kInput1, .needs_sizes = true}},
    {Op::kIndexSelect,
     {.function = gradients::IndexSelect, .saved_inputs = kInput1, .needs_sizes = true}},
    {Op::kIndexAdd, {.function = gradients::IndexAdd, .saved_inputs = kInput1}},
    {Op::kGather, {.function = gradients::Gather, .saved_inputs = kInput1, .needs_sizes = true}},
    {Op::kScatter, {.function = gradients::Scatter, .saved_inputs = kInput1, .needs_sizes = true}},
    {Op::kScatterAdd, {.function = gradients::ScatterAdd, .saved_inputs = kInput1}},
};

// Flat almost everywhere, not floating, made from nothing, or themselves gradients (there are no
// gradients of gradients) and updates.
constexpr Op kNotDifferentiable[] = {
    Op::kSign,
    Op::kFloor,
    Op::kCeil,
    Op::kRound,
    Op::kIsNan,
    Op::kIsFinite,
    Op::kNot,
    Op::kEq,
    Op::kNe,
    Op::kLt,
    Op::kLe,
    Op::kGt,
    Op::kGe,
    Op::kAnd,
    Op::kOr,
    Op::kXor,
    Op::kIota,
    Op::kRandomUniform,
    Op::kRandomNormal,
    Op::kRandomBernoulli,
    Op::kReduceAny,
    Op::kReduceAll,
    Op::kArgmax,
    Op::kArgmin,
    Op::kConv2dGradInput,
    Op::kConv2dGradWeight,
    Op::kMaxPool2dGrad,
    Op::kAvgPool2dGrad,
    Op::kSoftmaxGrad,
    Op::kLogSoftmaxGrad,
    Op::kLayerNormGrad,
    Op::kRmsNormGrad,
    Op::kGroupNormGrad,
    Op::kBatchNormGrad,
    Op::kAttentionGrad,
    Op::kEmbeddingGrad,
    Op::kCrossEntropyGrad,
    Op::kAdamW,
};

struct Table {
  std::array<GradientRule, kOpCount + 1> rules;
  std::array<bool, kOpCount + 1> listed = {};
};

const Table& Rules() {
  static const Table* const kTable = [] {
    Table* table = new Table();
    for (const Entry& entry : kDifferentiable) {
      table->rules[static_cast<size_t>(entry.op)] = entry.rule;
      table->listed[static_cast<size_t>(entry.op)] = true;
    }
    for (Op op : kNotDifferentiable) table->listed[static_cast<size_t>(op)] = true;
    return table;
  }();
  return *kTable;
}

}  // namespace

const GradientRule& GradientRuleOf(Op op) { return Rules().rules[static_cast<size_t>(op)]; }

bool HasGradientEntry(Op op) { return Rules().listed[static_cast<size_t>(op)]; }

}  // namespace moai
