// What signatures promise, tried out: a node that is split along a parallel or contracted index,
// and whose parts are put together again as the index's kind says, gives what the whole node gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/match.h"
#include "graph/interpreter.h"
#include "graph/signature.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

using Dims = absl::InlinedVector<int8_t, kMaxRank>;
using Tensors = std::vector<ReferenceTensor>;

// Outer and inner loop counts around one dim of a dense tensor.
struct Around {
  Around(const Shape& shape, int dim) {
    for (int i = 0; i < dim; ++i) outer *= shape[i];
    for (int i = dim + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  int64_t outer = 1;
  int64_t inner = 1;
};

template <typename T>
std::vector<T> Cut(const std::vector<T>& whole, const Shape& shape, int dim, int64_t begin,
                   int64_t end) {
  const Around around(shape, dim);
  std::vector<T> part;
  if (whole.empty()) return part;
  for (int64_t o = 0; o < around.outer; ++o) {
    const auto row = whole.begin() + o * shape[dim] * around.inner;
    part.insert(part.end(), row + begin * around.inner, row + end * around.inner);
  }
  return part;
}

template <typename T>
std::vector<T> Join(const std::vector<T>& a, const std::vector<T>& b, int64_t a_row,
                    int64_t b_row) {
  std::vector<T> joined;
  while (joined.size() < a.size() + b.size()) {
    const size_t row = joined.size() / (a_row + b_row);
    joined.insert(joined.end(), a.begin() + row * a_row, a.begin() + (row + 1) * a_row);
    joined.insert(joined.end(), b.begin() + row * b_row, b.begin() + (row + 1) * b_row);
  }
  return joined;
}

double Reduce(ReduceKind kind, double a, double b) {
  switch (kind) {
    case ReduceKind::kSum:
      return a + b;
    case ReduceKind::kMax:
      return std::max(a, b);
    case ReduceKind::kMin:
      return std::min(a, b);
    case ReduceKind::kProd:
      return a * b;
    case ReduceKind::kAnd:
      return a != 0 && b != 0;
    case ReduceKind::kOr:
      return a != 0 || b != 0;
    case ReduceKind::kNone:
      break;
  }
  ADD_FAILURE() << "nothing to reduce by";
  return 0;
}

// Where the index stands in an operand; -1 where it does not.
int DimOf(const Dims& dims, int index) {
  const auto at = std::find(dims.begin(), dims.end(), static_cast<int8_t>(index));
  return at == dims.end() ? -1 : static_cast<int>(at - dims.begin());
}

// One node, and one of its indices split in two.
class Split {
 public:
  Split(const CapturedGraph& captured, const IndexSignature& signature, int index)
      : captured_(captured), signature_(signature), index_(index) {
    const Node& node = captured.graph.nodes[0];
    extent_ = INT64_MAX;
    for (size_t i = 0; i < node.inputs.size(); ++i) Note(signature.inputs[i], node.inputs[i]);
    for (int i = 0; i < node.output_count; ++i) {
      Note(signature.outputs[i], node.first_output + i);
    }
  }

  bool possible() const { return extent_ >= 2 && extent_ < INT64_MAX; }

  absl::StatusOr<Tensors> Part(const Tensors& bindings, bool second) const {
    const Node& node = captured_.graph.nodes[0];
    GraphBuilder builder;
    std::vector<ValueId> inputs;
    Tensors parts;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      parts.push_back(PartOf(bindings[i], signature_.inputs[i], second));
      inputs.push_back(
          builder.AddInput(InputKind::kValue, static_cast<uint32_t>(i), parts.back().type));
    }
    const absl::StatusOr<ValueId> first =
        builder.AddNode(node.op, inputs, node.attributes, ExtentsOfPart(second), node.numbers);
    if (!first.ok()) return first.status();
    for (int i = 0; i < node.output_count; ++i) {
      builder.AddOutput(OutputKind::kValue, *first + i);
    }
    const CapturedGraph part = builder.Finish();
    return Interpret(part.graph, part.sizes, parts);
  }

  ReferenceTensor Combine(size_t output, const ReferenceTensor& a, const ReferenceTensor& b) const {
    ReferenceTensor whole = a;
    const int dim = DimOf(signature_.outputs[output], index_);
    if (dim >= 0) {
      const int64_t inner = Around(a.type.shape, dim).inner;
      const int64_t a_row = a.type.shape[dim] * inner, b_row = b.type.shape[dim] * inner;
      whole.type.shape[dim] += b.type.shape[dim];
      whole.floats = Join(a.floats, b.floats, a_row, b_row);
      whole.integers = Join(a.integers, b.integers, a_row, b_row);
      return whole;
    }
    if (index().kind == IndexKind::kParallel) return whole;
    for (size_t i = 0; i < whole.floats.size(); ++i) {
      whole.floats[i] = Reduce(index().reduce, a.floats[i], b.floats[i]);
    }
    for (size_t i = 0; i < whole.integers.size(); ++i) {
      whole.integers[i] = static_cast<int64_t>(Reduce(
          index().reduce, static_cast<double>(a.integers[i]), static_cast<double>(b.integers[i])));
    }
    return whole;
  }

 private:
  const Index& index() const { return signature_.indices[index_]; }

  void Note(const Dims& dims, ValueId value) {
    const int dim = DimOf(dims, index_);
    if (dim >= 0) extent_ = std::min(extent_, captured_.types[value].shape[dim]);
  }

  // Attention's heads: the larger extents are multiples of the smallest.
  std::pair<int64_t, int64_t> Range(int64_t whole, bool second) const {
    const int64_t middle = whole / extent_ * (extent_ / 2);
    return second ? std::pair(middle, whole) : std::pair(int64_t{0}, middle);
  }

  ReferenceTensor PartOf(const ReferenceTensor& whole, const Dims& dims, bool second) const {
    const int dim = DimOf(dims, index_);
    if (dim < 0) return whole;
    const auto [begin, end] = Range(whole.type.shape[dim], second);
    ReferenceTensor part = whole;
    part.type.shape[dim] = end - begin;
    part.floats = Cut(whole.floats, whole.type.shape, dim, begin, end);
    part.integers = Cut(whole.integers, whole.type.shape, dim, begin, end);
    return part;
  }

  // Extents that state a shape state the part's.
  std::vector<int64_t> ExtentsOfPart(bool second) const {
    const Node& node = captured_.graph.nodes[0];
    const absl::Span<const int64_t> whole = Extents(node, captured_.sizes);
    std::vector<int64_t> extents(whole.begin(), whole.end());
    const int dim = DimOf(signature_.outputs[0], index_);
    if (dim < 0) return extents;
    const absl::string_view meaning = Entry(node.op).extents;
    if (!absl::StartsWith(meaning, "shape") && node.op != Op::kSlice) return extents;
    int64_t& extent = extents[node.op == Op::kSlice ? 3 * dim + 1 : dim];
    const auto [begin, end] = Range(extent, second);
    extent = end - begin;
    return extents;
  }

  const CapturedGraph& captured_;
  const IndexSignature& signature_;
  int index_;
  int64_t extent_;
};

void ExpectNear(const ReferenceTensor& got, const ReferenceTensor& expected) {
  ASSERT_EQ(got.type, expected.type);
  EXPECT_EQ(got.integers, expected.integers);
  for (size_t i = 0; i < expected.floats.size(); ++i) {
    const double a = got.floats[i], b = expected.floats[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    ASSERT_NEAR(a, b, 1e-9 * (1 + std::abs(b)));
  }
}

TEST(SignatureSplitTest, PartsMakeTheWhole) {
  std::mt19937_64 random(1);
  std::map<IndexKind, int> splits;
  for (const OpEntry& entry : ClientOps()) {
    SCOPED_TRACE(std::string(entry.name));
    for (int draw = 0; draw < 25; ++draw) {
      const CapturedGraph captured =
          *RandomNodeGraph(entry.op, DtypesOf(entry.op)[0], random, {.max_extent = 5});
      const Node& node = captured.graph.nodes[0];
      std::vector<TensorType> inputs;
      for (ValueId input : node.inputs) inputs.push_back(captured.types[input]);
      const IndexSignature signature = *InstantiateSignature(
          node, inputs,
          absl::MakeConstSpan(captured.types).subspan(node.first_output, node.output_count));
      Tensors bindings;
      const std::vector<std::vector<std::byte>> bytes = RandomBindings(captured, random);
      for (size_t i = 0; i < bytes.size(); ++i) {
        bindings.push_back(ReferenceTensor::FromBytes(inputs[i], bytes[i]));
      }
      const absl::StatusOr<Tensors> whole = Interpret(captured.graph, captured.sizes, bindings);
      ASSERT_TRUE(whole.ok()) << whole.status();
      for (size_t i = 0; i < signature.indices.size(); ++i) {
        const Index& index = signature.indices[i];
        if (index.kind != IndexKind::kParallel && index.kind != IndexKind::kContract) continue;
        const Split split(captured, signature, static_cast<int>(i));
        if (!split.possible()) continue;
        SCOPED_TRACE("index " + index.name);
        const absl::StatusOr<Tensors> first = split.Part(bindings, /*second=*/false);
        const absl::StatusOr<Tensors> second = split.Part(bindings, /*second=*/true);
        ASSERT_TRUE(first.ok() && second.ok()) << first.status() << " " << second.status();
        for (size_t output = 0; output < whole->size(); ++output) {
          ExpectNear(split.Combine(output, (*first)[output], (*second)[output]), (*whole)[output]);
        }
        ++splits[index.kind];
      }
    }
  }
  EXPECT_GT(splits[IndexKind::kParallel], 1000);
  EXPECT_GT(splits[IndexKind::kContract], 100);
}

}  // namespace
}  // namespace moai
