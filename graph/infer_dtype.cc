// Dtype rules of the op table.
#include "absl/strings/str_cat.h"
#include "graph/infer_kinds.h"
#include "graph/op_schema.h"

namespace moai {
namespace {

absl::Status WrongDtype(const Node& node, size_t input, absl::string_view expected, Dtype got) {
  return absl::InvalidArgumentError(absl::StrCat(
      Name(node.op), ": input ", input, " must have dtype ", expected, ", got ", Name(got)));
}

// Collects the first broken rule over the inputs of one node.
class DtypeCheck {
 public:
  DtypeCheck(const Node& node, const Kinds& inputs) : node_(node), inputs_(inputs) {}

  DtypeCheck& Equal(size_t first, size_t last, Dtype expected) {
    for (size_t i = first; i < last && ok(); ++i) {
      if (inputs_.dtype(i) != expected) Fail(i, Name(expected));
    }
    return *this;
  }
  // Input i has `expected`, or f32 where precision is mixed.
  DtypeCheck& EqualOrF32(size_t i, Dtype expected) {
    if (ok() && inputs_.dtype(i) != expected && inputs_.dtype(i) != Dtype::kF32) {
      Fail(i, expected == Dtype::kF32 ? "f32" : absl::StrCat(Name(expected), " or f32"));
    }
    return *this;
  }
  DtypeCheck& Float(size_t i) {
    if (ok() && !IsFloat(inputs_.dtype(i))) Fail(i, "f32, bf16, f16 or f64");
    return *this;
  }
  DtypeCheck& Number(size_t i) {
    if (ok() && inputs_.dtype(i) == Dtype::kBool) Fail(i, "other than bool");
    return *this;
  }
  DtypeCheck& Bits(size_t i) {
    if (ok() && IsFloat(inputs_.dtype(i))) Fail(i, "bool, i32, i64 or u8");
    return *this;
  }
  // Positions in a tensor.
  DtypeCheck& Ids(size_t i) {
    if (ok() && inputs_.dtype(i) != Dtype::kI32 && inputs_.dtype(i) != Dtype::kI64) {
      Fail(i, "i32 or i64");
    }
    return *this;
  }

  bool ok() const { return status_.ok(); }
  absl::Status status() { return std::move(status_); }

 private:
  void Fail(size_t i, absl::string_view expected) {
    status_ = WrongDtype(node_, i, expected, inputs_.dtype(i));
  }

  const Node& node_;
  const Kinds& inputs_;
  absl::Status status_;
};

Dtype DtypeAttribute(const Node& node) {
  return static_cast<Dtype>(node.attributes[Schema(node.op).dtype_attribute]);
}

absl::Status AttributeMustBe(const Node& node, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(Name(node.op), ": attribute dtype must be ",
                                                 expected, ", got ", Name(DtypeAttribute(node))));
}

absl::Status InferAttributeDtype(const Node& node, const Kinds& inputs, absl::Span<Value> outputs) {
  const Dtype dtype = DtypeAttribute(node);
  outputs[0].dtype = dtype;
  DtypeCheck check(node, inputs);
  switch (node.op) {
    case Op::kIota:
      if (dtype == Dtype::kBool) return AttributeMustBe(node, "other than bool");
      return absl::OkStatus();
    case Op::kRandomUniform:
    case Op::kRandomNormal:
      if (!IsFloat(dtype)) return AttributeMustBe(node, "f32, bf16, f16 or f64");
      return check.Equal(0, 2, Dtype::kI64).status();
    case Op::kRandomBernoulli:
      return check.Equal(0, 2, Dtype::kI64).Equal(2, 3, Dtype::kF32).status();
    default:
      return absl::OkStatus();
  }
}

// Input 0 and the inputs from `first_like_x` on have one float dtype, input 1 (the weight) that or
// f32, the statistics between `first_statistic` and `first_like_x` their own. With a bias, input 2
// is like the weight.
absl::Status CheckNorm(const Node& node, const Kinds& inputs, bool bias, size_t first_statistic,
                       size_t first_like_x) {
  const Dtype x = inputs.dtype(0);
  DtypeCheck check(node, inputs);
  check.Float(0).EqualOrF32(1, x);
  if (bias) check.Equal(2, 3, inputs.dtype(1));
  return check.Equal(first_statistic, first_like_x, StatisticDtype(x))
      .Equal(first_like_x, inputs.size(), x)
      .status();
}

// Collectives combine what the reductions of one device combine: truths or numbers.
void CheckReduction(int32_t reduce, DtypeCheck& check) {
  const ReduceKind kind = static_cast<ReduceKind>(reduce);
  if (kind == ReduceKind::kAnd || kind == ReduceKind::kOr) {
    check.Equal(0, 1, Dtype::kBool);
  } else {
    check.Number(0);
  }
}

absl::Status InferSpecialDtypes(const Node& node, const Kinds& inputs, absl::Span<Value> outputs) {
  const Dtype x = inputs.dtype(0);
  const size_t count = inputs.size();
  for (Value& output : outputs) output.dtype = x;
  DtypeCheck check(node, inputs);
  switch (node.op) {
    case Op::kSort:
    case Op::kTopK:
      outputs[1].dtype = Dtype::kI64;
      return check.Number(0).status();
    case Op::kLayerNorm:
    case Op::kGroupNorm:
    case Op::kBatchNorm:
      outputs[1].dtype = outputs[2].dtype = StatisticDtype(x);
      return CheckNorm(node, inputs, /*bias=*/true, 3, 3);
    case Op::kRmsNorm:
      outputs[1].dtype = StatisticDtype(x);
      return CheckNorm(node, inputs, /*bias=*/false, 2, 2);
    case Op::kLayerNormGrad:
    case Op::kGroupNormGrad:
    case Op::kBatchNormGrad:
      outputs[1].dtype = outputs[2].dtype = inputs.dtype(1);
      return CheckNorm(node, inputs, /*bias=*/false, 2, 4);
    case Op::kRmsNormGrad:
      outputs[1].dtype = inputs.dtype(1);
      return CheckNorm(node, inputs, /*bias=*/false, 2, 3);
    case Op::kAttention:
      outputs[1].dtype = StatisticDtype(x);
      check.Float(0).Equal(1, 3, x);
      if (count > 3) check.EqualOrF32(3, x);
      return check.status();
    case Op::kAttentionGrad:
      check.Float(0).Equal(1, 4, x).Equal(4, 5, StatisticDtype(x)).Equal(5, 6, x);
      if (count > 6) check.EqualOrF32(6, x);
      return check.status();
    case Op::kRotary:
      return check.Float(0).EqualOrF32(1, x).Equal(2, 3, inputs.dtype(1)).status();
    case Op::kEmbedding:
    case Op::kIndexSelect:
    case Op::kGather:
      return check.Ids(1).status();
    case Op::kEmbeddingGrad:
      outputs[0].dtype = DtypeAttribute(node);
      if (!IsFloat(outputs[0].dtype)) return AttributeMustBe(node, "f32, bf16, f16 or f64");
      return check.Ids(0).Float(1).status();
    case Op::kScatter:
      return check.Ids(1).Equal(2, 3, x).status();
    case Op::kIndexAdd:
    case Op::kScatterAdd:
      return check.Number(0).Ids(1).Equal(2, 3, x).status();
    case Op::kCrossEntropy:
      outputs[0].dtype = outputs[1].dtype = StatisticDtype(x);
      return check.Float(0).Ids(1).status();
    case Op::kCrossEntropyGrad:
      return check.Float(0).Ids(1).Equal(2, 4, StatisticDtype(x)).status();
    case Op::kSend:
      outputs[0].dtype = Dtype::kU8;
      return absl::OkStatus();
    case Op::kAdamW:
      return check.Float(0).Float(1).Equal(2, 4, x).Equal(4, count, StatisticDtype(x)).status();
    default:
      return absl::UnimplementedError(
          absl::StrCat(Name(node.op), ": the op table gives no dtype rule"));
  }
}

}  // namespace

absl::Status InferDtypes(const Node& node, const Kinds& inputs, absl::Span<Value> outputs) {
  const OpEntry& entry = Entry(node.op);
  const size_t count = inputs.size();
  DtypeCheck check(node, inputs);
  switch (entry.dtype_rule) {
    case DtypeRule::kAttribute:
      return InferAttributeDtype(node, inputs, outputs);
    case DtypeRule::kSpecial:
      return InferSpecialDtypes(node, inputs, outputs);
    case DtypeRule::kSelect:
      outputs[0].dtype = inputs.dtype(1);
      return check.Equal(0, 1, Dtype::kBool).Equal(2, 3, inputs.dtype(1)).status();
    case DtypeRule::kIndexOf:
      outputs[0].dtype = Dtype::kI64;
      return check.Number(0).status();
    case DtypeRule::kCompare:
      outputs[0].dtype = Dtype::kBool;
      return check.Equal(1, count, inputs.dtype(0)).status();
    case DtypeRule::kFloatTest:
      outputs[0].dtype = Dtype::kBool;
      return check.Float(0).status();
    case DtypeRule::kSame:
      if (const int reduce = Schema(node.op).reduce_attribute; reduce >= 0) {
        CheckReduction(node.attributes[reduce], check);
      }
      break;
    case DtypeRule::kSameFloat:
      check.Float(0);
      break;
    case DtypeRule::kSameNumber:
      check.Number(0);
      break;
    case DtypeRule::kSameBits:
      check.Bits(0);
      // Any and all are questions, not arithmetic.
      if (entry.op_class == OpClass::kReduce) check.Equal(0, 1, Dtype::kBool);
      break;
  }
  const Dtype dtype = inputs.dtype(0);
  for (Value& output : outputs) output.dtype = dtype;
  return check.Equal(1, count, dtype).status();
}

}  // namespace moai
