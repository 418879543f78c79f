#include "graph/testing/random_bindings.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "graph/half.h"
#include "graph/parts.h"
#include "graph/testing/random_node.h"
#include "graph/testing/saved_results.h"

namespace moai {
namespace {

template <typename T>
void Put(T value, std::byte* destination) {
  std::memcpy(destination, &value, sizeof(T));
}

template <typename T>
T Get(const std::byte* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

}  // namespace

void StoreElement(Dtype dtype, double value, std::byte* destination) {
  switch (dtype) {
    case Dtype::kF32:
      return Put(static_cast<float>(value), destination);
    case Dtype::kBF16:
      return Put(FloatToBfloat16(static_cast<float>(value)), destination);
    case Dtype::kF16:
      return Put(FloatToHalf(static_cast<float>(value)), destination);
    case Dtype::kF64:
      return Put(value, destination);
    case Dtype::kI32:
      return Put(static_cast<int32_t>(value), destination);
    case Dtype::kI64:
      return Put(static_cast<int64_t>(value), destination);
    case Dtype::kU8:
      return Put(static_cast<uint8_t>(value), destination);
    case Dtype::kBool:
      return Put(static_cast<uint8_t>(value != 0), destination);
  }
}

double LoadElement(Dtype dtype, const std::byte* source) {
  switch (dtype) {
    case Dtype::kF32:
      return Get<float>(source);
    case Dtype::kBF16:
      return Bfloat16ToFloat(Get<uint16_t>(source));
    case Dtype::kF16:
      return HalfToFloat(Get<uint16_t>(source));
    case Dtype::kF64:
      return Get<double>(source);
    case Dtype::kI32:
      return Get<int32_t>(source);
    case Dtype::kI64:
      return static_cast<double>(Get<int64_t>(source));
    case Dtype::kU8:
    case Dtype::kBool:
      return Get<uint8_t>(source);
  }
  return 0;
}

Scalar ScalarFromBytes(Dtype dtype, absl::Span<const std::byte> bytes) {
  Scalar scalar{};
  if (IsFloat(dtype)) {
    scalar.f64 = LoadElement(dtype, bytes.data());
  } else if (dtype == Dtype::kI64) {
    scalar.i64 = Get<int64_t>(bytes.data());
  } else {
    scalar.i64 = static_cast<int64_t>(LoadElement(dtype, bytes.data()));
  }
  return scalar;
}

namespace {

// Draws single elements.
class Numbers {
 public:
  explicit Numbers(std::mt19937_64& random) : random_(random) {}

  double Between(double low, double high) {
    return low + (high - low) * (static_cast<double>(random_() >> 11) * 0x1p-53);
  }
  double Int(int64_t low, int64_t high) {
    return static_cast<double>(RandomInt(random_, low, high));
  }
  bool OneOf(int n) { return OneIn(random_, n); }

  // A moderate number of any dtype. `ties`: equal ones are frequent.
  double Any(Dtype dtype, bool ties) {
    if (dtype == Dtype::kBool) return Int(0, 1);
    if (dtype == Dtype::kU8) return Int(0, ties ? 4 : 10);
    if (!IsFloat(dtype)) return ties ? Int(-2, 2) : Int(-5, 5);
    return ties ? Int(-3, 3) / 2 : Between(-2, 2);
  }

 private:
  std::mt19937_64& random_;
};

// What an operand of a node holds: `position` among the node's inputs.
struct Reader {
  const Node* node = nullptr;
  size_t position = 0;
};

// How many rows the ids of an indexed op may name; 0 where the operand is no ids.
int64_t IdLimit(const CapturedGraph& captured, const Reader& reader) {
  const Node& node = *reader.node;
  const Shape& first = captured.types[node.inputs[0]].shape;
  const absl::Span<const int64_t> extents = Extents(node, captured.sizes);
  const bool second = reader.position == 1;
  switch (node.op) {
    case Op::kEmbedding:
      return second ? WindowOfTable(first[0], extents).whole : 0;
    case Op::kEmbeddingGrad:
      return reader.position == 0 ? WindowOfTable(extents[0], extents.subspan(1)).whole : 0;
    case Op::kIndexSelect:
    case Op::kIndexAdd:
    case Op::kGather:
    case Op::kScatter:
    case Op::kScatterAdd:
      return second ? first[node.attributes[0]] : 0;
    case Op::kCrossEntropy:
    case Op::kCrossEntropyGrad:
      return second ? first[1] : 0;
    default:
      return 0;
  }
}

double DrawId(const Node& node, int64_t limit, Numbers& numbers) {
  const bool loss = node.op == Op::kCrossEntropy || node.op == Op::kCrossEntropyGrad;
  if (loss && numbers.OneOf(4)) return node.attributes[0];
  return numbers.Int(0, limit - 1);
}

double DrawAdamW(size_t position, Numbers& numbers) {
  switch (position) {
    case 3:
      return numbers.Between(0, 0.5);  // v, a mean of squares
    case 4:
      return numbers.Between(1e-3, 0.1);
    case 5:
    case 6:
      return numbers.Between(0.8, 0.999);
    case 7:
      return 1e-8;
    case 8:
      return numbers.Between(0, 0.1);
    case 9:
    case 10:
      return numbers.Between(0.05, 1);
    case 11:
      return numbers.Between(0.25, 2);
    default:
      return numbers.Between(-1, 1);
  }
}

// Saturation, NaN and infinities where the op has a stated answer to them.
double DrawCast(Dtype dtype, Numbers& numbers) {
  if (!IsFloat(dtype) || !numbers.OneOf(8)) return numbers.Any(dtype, numbers.OneOf(2));
  const double extremes[] = {300, -300, 3e9, -3e9, 1e19, -1e19, 0, std::nan(""), INFINITY};
  return extremes[static_cast<size_t>(numbers.Int(0, 8))];
}

double DrawFloat(const Reader& reader, Dtype dtype, Numbers& numbers) {
  const size_t position = reader.position;
  switch (reader.node->op) {
    case Op::kLog:
    case Op::kSqrt:
    case Op::kRsqrt:
      return numbers.OneOf(16) ? numbers.Between(-1, 0) : numbers.Between(0.01, 4);
    case Op::kLog1p:
      return numbers.OneOf(16) ? numbers.Between(-2, -1) : numbers.Between(-0.9, 3);
    case Op::kPow:
      return position == 1 || numbers.OneOf(16) ? numbers.Between(-2, 2) : numbers.Between(0.1, 3);
    case Op::kIsNan:
    case Op::kIsFinite: {
      const double specials[] = {std::nan(""), INFINITY, -INFINITY};
      if (numbers.OneOf(3)) return specials[static_cast<size_t>(numbers.Int(0, 2))];
      return numbers.Between(-2, 2);
    }
    case Op::kReduceProd:
      return numbers.Between(0.5, 1.5);
    case Op::kRandomBernoulli:
      return numbers.Between(0, 1);
    case Op::kSoftmaxGrad:
      return position == 0 ? numbers.Between(0, 1) : numbers.Between(-1, 1);
    case Op::kLogSoftmaxGrad:
      return position == 0 ? numbers.Between(-3, 0) : numbers.Between(-1, 1);
    case Op::kRotary:
      return position == 0 ? numbers.Between(-2, 2) : numbers.Between(-1, 1);
    case Op::kAttention:
    case Op::kAttentionGrad: {
      const size_t mask = reader.node->op == Op::kAttention ? 3 : 6;
      if (position == mask && numbers.OneOf(3)) return -INFINITY;
      return numbers.Between(-1.5, 1.5);
    }
    case Op::kLayerNormGrad:
    case Op::kGroupNormGrad:
    case Op::kBatchNormGrad:
      return position == 3 ? numbers.Between(0.25, 2) : numbers.Between(-2, 2);
    case Op::kRmsNormGrad:
      return position == 2 ? numbers.Between(0.25, 2) : numbers.Between(-2, 2);
    case Op::kAdamW:
      return DrawAdamW(position, numbers);
    default:
      return numbers.Any(dtype, /*ties=*/false);
  }
}

bool TiesMatter(const Node& node) {
  switch (node.op) {
    case Op::kFloor:
    case Op::kCeil:
    case Op::kRound:
    case Op::kSign:
    case Op::kRelu:
    case Op::kAbs:
    case Op::kNot:
    case Op::kMod:
    case Op::kMaximum:
    case Op::kMinimum:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kArgmax:
    case Op::kArgmin:
    case Op::kMaxPool2d:
    case Op::kMaxPool2dGrad:
      return true;
    default:
      return Entry(node.op).dtype_rule == DtypeRule::kCompare ||
             Entry(node.op).op_class == OpClass::kOrder;
  }
}

std::vector<double> DrawContent(const CapturedGraph& captured, const Reader& reader,
                                const TensorType& type, std::mt19937_64& random) {
  Numbers numbers(random);
  std::vector<double> content(type.shape.elements());
  const Node* node = reader.node;
  const bool ties = node != nullptr && TiesMatter(*node) && numbers.OneOf(2);
  const int64_t id_limit = node != nullptr ? IdLimit(captured, reader) : 0;
  for (double& element : content) {
    if (id_limit > 0) {
      element = DrawId(*node, id_limit, numbers);
    } else if (node == nullptr) {
      element = numbers.Any(type.dtype, false);
    } else if (node->op == Op::kCast) {
      element = DrawCast(type.dtype, numbers);
    } else if (node->op == Op::kClamp && type.dtype != Dtype::kU8 && reader.position > 0) {
      // low <= high: the other order has no stated meaning.
      element = reader.position == 1 ? -1 : 1;
      if (IsFloat(type.dtype)) element *= numbers.Between(0.25, 1.5);
    } else if (node->op == Op::kClamp && reader.position > 0) {
      element = reader.position == 1 ? numbers.Int(0, 3) : numbers.Int(3, 8);
    } else if (IsFloat(type.dtype) && !ties) {
      element = DrawFloat(reader, type.dtype, numbers);
    } else {
      element = numbers.Any(type.dtype, ties);
    }
  }
  return content;
}

std::vector<Reader> FirstReaders(const Graph& graph) {
  std::vector<Reader> readers(graph.values.size());
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      Reader& reader = readers[node.inputs[i]];
      if (reader.node == nullptr) reader = {&node, i};
    }
  }
  return readers;
}

// Random seeds and offsets use all their bits.
bool TakesAllBits(const Reader& reader) {
  if (reader.node == nullptr || reader.position > 1) return false;
  const Op op = reader.node->op;
  return op == Op::kRandomUniform || op == Op::kRandomNormal || op == Op::kRandomBernoulli;
}

}  // namespace

std::vector<std::vector<std::byte>> RandomBindings(const CapturedGraph& captured,
                                                   std::mt19937_64& random) {
  const Graph& graph = captured.graph;
  const std::vector<Reader> readers = FirstReaders(graph);
  // By value; only graph inputs have content.
  std::vector<std::vector<double>> contents(graph.values.size());
  std::vector<std::vector<std::byte>> bindings;
  const auto store = [&](ValueId value, std::vector<std::byte>& bytes) {
    const Dtype dtype = captured.types[value].dtype;
    bytes.resize(captured.types[value].bytes());
    for (size_t i = 0; i < contents[value].size(); ++i) {
      std::byte* element = bytes.data() + i * ByteSize(dtype);
      StoreElement(dtype, contents[value][i], element);
      contents[value][i] = LoadElement(dtype, element);
    }
  };
  for (const Input& input : graph.inputs) {
    const TensorType& type = captured.types[input.value];
    contents[input.value] = DrawContent(captured, readers[input.value], type, random);
    store(input.value, bindings.emplace_back());
    if (TakesAllBits(readers[input.value])) Put(random(), bindings.back().data());
  }
  // What a forward op would have saved for its gradient.
  std::vector<bool> is_input(graph.values.size(), false);
  for (const Input& input : graph.inputs) is_input[input.value] = true;
  for (const Node& node : graph.nodes) {
    if (!std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId value) { return is_input[value]; })) {
      continue;
    }
    testing_internal::ComputeSavedResults(captured, node, contents);
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    if (TakesAllBits(readers[graph.inputs[i].value])) continue;
    store(graph.inputs[i].value, bindings[i]);
  }
  return bindings;
}

}  // namespace moai
