#include "graph/testing/random_node.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/testing/node_specs.h"

namespace moai {

int64_t RandomInt(std::mt19937_64& random, int64_t low, int64_t high) {
  // Not std::uniform_int_distribution: its results differ between standard libraries.
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

bool OneIn(std::mt19937_64& random, int n) { return random() % n == 0; }

namespace {

bool IsPlainPointwise(const OpEntry& entry) {
  return entry.op_class == OpClass::kPointwise && entry.dtype_rule != DtypeRule::kSpecial;
}

}  // namespace

std::vector<Dtype> DtypesOf(Op op) {
  const OpEntry& entry = Entry(op);
  std::vector<Dtype> dtypes;
  for (Dtype dtype : kAllDtypes) {
    bool takes = true;
    switch (entry.dtype_rule) {
      case DtypeRule::kSame:
      case DtypeRule::kCompare:
      case DtypeRule::kSelect:
        break;
      case DtypeRule::kSameFloat:
      case DtypeRule::kFloatTest:
        takes = IsFloat(dtype);
        break;
      case DtypeRule::kSameNumber:
      case DtypeRule::kIndexOf:
        takes = dtype != Dtype::kBool;
        break;
      case DtypeRule::kSameBits:
        takes = entry.op_class == OpClass::kReduce ? dtype == Dtype::kBool : !IsFloat(dtype);
        break;
      case DtypeRule::kAttribute:
        if (op == Op::kIota) takes = dtype != Dtype::kBool;
        if (op == Op::kRandomUniform || op == Op::kRandomNormal) takes = IsFloat(dtype);
        break;
      case DtypeRule::kSpecial:
        switch (op) {
          case Op::kSort:
          case Op::kTopK:
          case Op::kIndexAdd:
          case Op::kScatterAdd:
            takes = dtype != Dtype::kBool;
            break;
          case Op::kEmbedding:
          case Op::kIndexSelect:
          case Op::kGather:
          case Op::kScatter:
            break;
          default:
            takes = IsFloat(dtype);
        }
        break;
    }
    if (takes) dtypes.push_back(dtype);
  }
  return dtypes;
}

absl::StatusOr<NodeSpec> RandomNodeSpec(Op op, Dtype dtype, std::mt19937_64& random,
                                        const RandomNodeOptions& options) {
  testing_internal::SpecMaker maker(op, dtype, random, options);
  if (IsPlainPointwise(Entry(op))) return maker.Pointwise();
  if (maker.Movement() || maker.Reduction() || maker.Contraction() || maker.Whole() ||
      maker.Indexed()) {
    return maker.Take();
  }
  return absl::UnimplementedError(
      absl::StrCat("graph/testing/random_node knows no random ", Name(op)));
}

absl::StatusOr<CapturedGraph> RandomNodeGraph(Op op, Dtype dtype, std::mt19937_64& random,
                                              const RandomNodeOptions& options) {
  MOAI_ASSIGN_OR_RETURN(const NodeSpec spec, RandomNodeSpec(op, dtype, random, options));
  GraphBuilder builder;
  std::vector<ValueId> inputs;
  uint32_t value_count = 0;
  for (const TensorType& type : spec.inputs) {
    if (type.shape.rank() == 0 && OneIn(random, 2)) {
      inputs.push_back(builder.AddScalar(type.dtype));
    } else {
      inputs.push_back(builder.AddInput(InputKind::kValue, value_count++, type));
    }
  }
  MOAI_ASSIGN_OR_RETURN(const ValueId first,
                        builder.AddNode(op, inputs, spec.attributes, spec.extents, spec.numbers));
  for (int i = 0; i < Entry(op).outputs; ++i) builder.AddOutput(OutputKind::kValue, first + i);
  return builder.Finish();
}

}  // namespace moai
