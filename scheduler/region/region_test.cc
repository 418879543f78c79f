// Random graphs, cut in two as a program does that reads a value in the middle of its step: joined
// again they compute the same, and so do the two parts that the joined graph is split into.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "graph/builder.h"
#include "graph/infer.h"
#include "graph/interpreter.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_graph.h"
#include "graph/testing/random_node.h"
#include "scheduler/partition/testing/run_on_devices.h"
#include "scheduler/region/join_graphs.h"
#include "scheduler/region/split_graph.h"

namespace moai {
namespace {

constexpr uint32_t kOwn = RegionBindings::kOwn;
using Binding = std::pair<InputKind, uint32_t>;
using Contents = std::map<Binding, ReferenceTensor>;

// One of the two graphs while it is recorded.
struct Piece {
  GraphBuilder builder;
  std::map<ValueId, ValueId> values;                // of the whole graph: here
  std::map<InputKind, std::vector<ValueId>> bound;  // by position: the whole graph's value
  Contents contents;
  std::vector<ValueId> outputs;  // value outputs, of the whole graph
};

// A graph cut before one of its nodes.
struct CutGraph {
  CapturedGraph first, second;
  RegionBindings bindings;
  Contents first_contents, second_contents;
  std::vector<size_t> outputs;  // of the joined graph, as positions among the whole graph's
};

class Cutter {
 public:
  Cutter(const CapturedGraph& whole, const std::vector<ReferenceTensor>& contents, size_t nodes)
      : whole_(whole), graph_(whole.graph), contents_(contents), nodes_(nodes) {}

  CutGraph Cut(std::mt19937_64& random) {
    for (const Input& input : graph_.inputs) inputs_[input.value] = &input;
    for (size_t i = 0; i < graph_.nodes.size(); ++i) Record(i < nodes_ ? first_ : second_, i);
    CutGraph cut;
    RecordOutputs();
    for (const ValueId value : first_.outputs) {
      first_.builder.AddOutput(OutputKind::kValue, Here(first_, value));
      // Wanted by the second, or by the program, or by both.
      const bool wanted = OutputOf(value) != kOwn;
      cut.bindings.keep.push_back(wanted);
      if (wanted) cut.outputs.push_back(OutputOf(value));
    }
    for (const size_t output : second_outputs_) cut.outputs.push_back(output);
    Describe(cut, random);
    cut.first_contents = std::move(first_.contents);
    cut.second_contents = std::move(second_.contents);
    cut.first = first_.builder.Finish();
    cut.second = second_.builder.Finish();
    return cut;
  }

 private:
  uint32_t OutputOf(ValueId value) const {
    for (uint32_t i = 0; i < graph_.outputs.size(); ++i) {
      const Output& output = graph_.outputs[i];
      if (output.kind == OutputKind::kValue && output.value == value) return i;
    }
    return kOwn;
  }

  ValueId Bind(Piece& piece, InputKind kind, ValueId value, const ReferenceTensor& content) {
    std::vector<ValueId>& bound = piece.bound[kind];
    const uint32_t index = uint32_t(bound.size());
    bound.push_back(value);
    const TensorType& type = whole_.types[value];
    const ValueId here = kind == InputKind::kScalar ? piece.builder.AddScalar(type.dtype)
                                                    : piece.builder.AddInput(kind, index, type);
    piece.contents[{kind, index}] = content;
    piece.values[value] = here;
    return here;
  }

  // A value of the whole graph in one of the two.
  ValueId Here(Piece& piece, ValueId value) {
    if (const auto found = piece.values.find(value); found != piece.values.end()) {
      return found->second;
    }
    if (const auto input = inputs_.find(value); input != inputs_.end()) {
      const size_t position = size_t(input->second - graph_.inputs.data());
      return Bind(piece, input->second->kind, value, contents_[position]);
    }
    // Made by the first.
    if (std::find(first_.outputs.begin(), first_.outputs.end(), value) == first_.outputs.end()) {
      first_.outputs.push_back(value);
    }
    return Bind(piece, InputKind::kValue, value, {});
  }

  void Record(Piece& piece, size_t i) {
    const Node& node = graph_.nodes[i];
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(Here(piece, input));
    const auto first = piece.builder.AddNode(node.op, inputs, node.attributes,
                                             Extents(node, whole_.sizes), node.numbers);
    ASSERT_TRUE(first.ok()) << first.status();
    for (uint32_t k = 0; k < node.output_count; ++k) {
      piece.values[node.first_output + k] = *first + k;
    }
  }

  // What the first makes for the program comes from it; slots are written by the second.
  void RecordOutputs() {
    for (uint32_t i = 0; i < graph_.outputs.size(); ++i) {
      const Output& output = graph_.outputs[i];
      const bool of_first = first_.values.contains(output.value) && !inputs_.contains(output.value);
      if (output.kind == OutputKind::kValue && of_first && OutputOf(output.value) == i) {
        std::vector<ValueId>& outputs = first_.outputs;
        if (std::find(outputs.begin(), outputs.end(), output.value) == outputs.end()) {
          outputs.push_back(output.value);
        }
        continue;
      }
      const ValueId value = Here(second_, output.value);
      uint32_t index = 0;
      if (output.kind == OutputKind::kSlot) index = SlotOf(output.index);
      second_.builder.AddOutput(output.kind, value, index);
      second_outputs_.push_back(i);
    }
  }

  // The second's position of a slot of the whole graph.
  uint32_t SlotOf(uint32_t slot) {
    std::vector<ValueId>& bound = second_.bound[InputKind::kSlot];
    for (const Input& input : graph_.inputs) {
      if (input.kind != InputKind::kSlot || input.index != slot) continue;
      const auto found = std::find(bound.begin(), bound.end(), input.value);
      if (found != bound.end()) return uint32_t(found - bound.begin());
      // Written without being read: it may be one that the first reads.
      bound.push_back(input.value);
      return uint32_t(bound.size() - 1);
    }
    bound.push_back(kOwn);  // created
    return uint32_t(bound.size() - 1);
  }

  static std::vector<uint32_t> Same(const std::vector<ValueId>& second,
                                    const std::vector<ValueId>& first) {
    std::vector<uint32_t> same;
    for (const ValueId value : second) {
      const auto found = std::find(first.begin(), first.end(), value);
      same.push_back(value == kOwn || found == first.end() ? kOwn
                                                           : uint32_t(found - first.begin()));
    }
    return same;
  }

  void Describe(CutGraph& cut, std::mt19937_64& random) {
    cut.bindings.slots = Same(second_.bound[InputKind::kSlot], first_.bound[InputKind::kSlot]);
    cut.bindings.feeds = Same(second_.bound[InputKind::kFeed], first_.bound[InputKind::kFeed]);
    cut.bindings.values = Same(second_.bound[InputKind::kValue], first_.bound[InputKind::kValue]);
    cut.bindings.outputs = Same(second_.bound[InputKind::kValue], first_.outputs);
    for (uint32_t& feed : cut.bindings.feeds) {
      if (OneIn(random, 4)) feed = kOwn;  // sent again, as far as anybody knows
    }
  }

  const CapturedGraph& whole_;
  const Graph& graph_;
  const std::vector<ReferenceTensor>& contents_;
  const size_t nodes_;
  std::map<ValueId, const Input*> inputs_;
  Piece first_, second_;
  std::vector<size_t> second_outputs_;
};

// What the joined graph binds, of what the two do.
Contents JoinContents(const CutGraph& cut, const JoinedGraph& joined) {
  Contents contents = cut.first_contents;
  for (const auto& [binding, content] : cut.second_contents) {
    uint32_t index = binding.second;
    if (binding.first == InputKind::kSlot) index = joined.slots[index];
    if (binding.first == InputKind::kFeed) index = joined.feeds[index];
    if (binding.first == InputKind::kValue) index = joined.values[index];
    if (binding.first == InputKind::kScalar) index += cut.first.graph.scalar_count;
    if (index != kOwn) contents[{binding.first, index}] = content;
  }
  return contents;
}

std::vector<ReferenceTensor> InOrder(const Graph& graph, const Contents& contents) {
  std::vector<ReferenceTensor> bindings;
  for (const Input& input : graph.inputs) {
    bindings.push_back(contents.at({input.kind, input.index}));
  }
  return bindings;
}

LateBindings DrawLate(const CutGraph& cut, const JoinedGraph& joined, std::mt19937_64& random) {
  LateBindings late;
  const auto own = [](uint32_t first, uint32_t all) {
    std::vector<bool> flags(all, false);
    for (uint32_t i = first; i < all; ++i) flags[i] = true;
    return flags;
  };
  late.values = own(cut.first.graph.value_count, joined.graph.value_count);
  late.feeds = own(cut.first.graph.feed_count, joined.graph.feed_count);
  late.scalars = own(cut.first.graph.scalar_count, joined.graph.scalar_count);
  late.slots = own(cut.first.graph.slot_count, joined.graph.slot_count);
  for (auto* flags : {&late.scalars, &late.slots}) {
    for (size_t i = 0; i < flags->size(); ++i) (*flags)[i] = (*flags)[i] && OneIn(random, 2);
  }
  return late;
}

Contents HalfContents(const RegionHalf& half, const Contents& joined,
                      const std::vector<ReferenceTensor>& crossing) {
  Contents contents;
  for (uint32_t i = 0; i < half.slots.size(); ++i) {
    const auto found = joined.find({InputKind::kSlot, half.slots[i]});
    if (found != joined.end()) contents[{InputKind::kSlot, i}] = found->second;
  }
  for (uint32_t i = 0; i < half.feeds.size(); ++i) {
    contents[{InputKind::kFeed, i}] = joined.at({InputKind::kFeed, half.feeds[i]});
  }
  for (uint32_t i = 0; i < half.scalars.size(); ++i) {
    contents[{InputKind::kScalar, i}] = joined.at({InputKind::kScalar, half.scalars[i]});
  }
  for (uint32_t i = 0; i < half.values.size(); ++i) {
    const auto& [source, index] = half.values[i];
    contents[{InputKind::kValue, i}] =
        source == RegionHalf::Source::kCrossing
            ? crossing[index]
            : joined.at({source == RegionHalf::Source::kFeed ? InputKind::kFeed : InputKind::kValue,
                         index});
  }
  return contents;
}

void ExpectEqual(const ReferenceTensor& got, const ReferenceTensor& want, size_t output) {
  ASSERT_EQ(got.type, want.type) << "output " << output;
  ASSERT_EQ(got.integers, want.integers) << "output " << output;
  for (size_t k = 0; k < want.floats.size(); ++k) {
    const double a = got.floats[k], b = want.floats[k];
    ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b)))
        << "output " << output << " element " << k << ": " << a << ", not " << b;
  }
}

class RegionTest : public ::testing::Test {
 protected:
  struct Seen {
    int graphs = 0, crossing = 0, kept = 0, late_slots = 0, same_feeds = 0, same_slots = 0;
  };

  void Check(const CapturedGraph& whole, std::mt19937_64& random) {
    std::vector<ReferenceTensor> bindings;
    const auto bytes = RandomBindings(whole, random);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bindings.push_back(
          ReferenceTensor::FromBytes(whole.types[whole.graph.inputs[i].value], bytes[i]));
    }
    const auto want = Interpret(whole.graph, whole.sizes, bindings);
    if (!want.ok()) return;  // an index out of its range: nothing to compare
    ++seen_.graphs;
    const size_t nodes = size_t(RandomInt(random, 0, int64_t(whole.graph.nodes.size())));
    const CutGraph cut = Cutter(whole, bindings, nodes).Cut(random);
    const auto joined =
        JoinGraphs({&cut.first.graph, cut.first.sizes, cut.first.types},
                   {&cut.second.graph, cut.second.sizes, cut.second.types}, cut.bindings);
    ASSERT_TRUE(joined.ok()) << joined.status();
    const Contents contents = JoinContents(cut, *joined);
    const auto got = Interpret(joined->graph, joined->sizes, InOrder(joined->graph, contents));
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(got->size(), cut.outputs.size());
    for (size_t i = 0; i < got->size(); ++i) ExpectEqual((*got)[i], (*want)[cut.outputs[i]], i);
    for (const bool keep : cut.bindings.keep) seen_.kept += keep;
    for (const uint32_t feed : cut.bindings.feeds) seen_.same_feeds += feed != kOwn;
    for (const uint32_t slot : cut.bindings.slots) seen_.same_slots += slot != kOwn;
    if (!HasFatalFailure()) CheckHalves(cut, *joined, contents, *got, random);
  }

  void CheckHalves(const CutGraph& cut, const JoinedGraph& joined, const Contents& contents,
                   const std::vector<ReferenceTensor>& want, std::mt19937_64& random) {
    const std::vector<DeviceGraph> parts = {
        {std::make_shared<const Graph>(joined.graph), joined.sizes, {}, {}}};
    SplitRequest request{.parts = parts, .late = DrawLate(cut, joined, random)};
    for (const bool keep : cut.bindings.keep) request.early_outputs += keep;
    for (uint32_t i = 0; i < joined.graph.feed_count; ++i) {
      request.feeds_as_values.push_back(OneIn(random, 2));
    }
    const auto split = SplitRegion(request);
    ASSERT_TRUE(split.ok()) << split.status();
    const DeviceGraph& early = split->early.parts[0];
    auto first = Interpret(*early.graph, early.sizes,
                           InOrder(*early.graph, HalfContents(split->early, contents, {})));
    ASSERT_TRUE(first.ok()) << first.status();
    ASSERT_EQ(first->size(), request.early_outputs + split->crossing[0].size());
    const std::vector<ReferenceTensor> crossing(first->begin() + ptrdiff_t(request.early_outputs),
                                                first->end());
    const DeviceGraph& late = split->late.parts[0];
    const auto second =
        Interpret(*late.graph, late.sizes,
                  InOrder(*late.graph, HalfContents(split->late, contents, crossing)));
    ASSERT_TRUE(second.ok()) << second.status();
    ASSERT_EQ(request.early_outputs + second->size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      const bool of_first = i < request.early_outputs;
      ExpectEqual(of_first ? (*first)[i] : (*second)[i - request.early_outputs], want[i], i);
      if (of_first) continue;
      const Output& output = late.graph->outputs[i - request.early_outputs];
      ASSERT_EQ(output.kind, joined.graph.outputs[i].kind);
      if (output.kind == OutputKind::kValue) continue;
      ASSERT_EQ(split->late.slots[output.index], joined.graph.outputs[i].index);
    }
    for (const Output& output : early.graph->outputs) ASSERT_EQ(output.kind, OutputKind::kValue);
    for (const uint32_t slot : split->early.slots) ASSERT_FALSE(request.late.slots[slot]);
    seen_.crossing += int(crossing.size());
    for (const uint32_t slot : split->late.slots) seen_.late_slots += request.late.slots[slot];
  }

  Seen seen_;
};

TEST_F(RegionTest, TwoGraphsComputeWhatOneDoes) {
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    Check(RandomGraph(random, {.nodes = int(RandomInt(random, 1, 24))}), random);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(seen_.graphs, 500);
  EXPECT_GT(seen_.crossing, 100);
  EXPECT_GT(seen_.kept, 100);
  EXPECT_GT(seen_.late_slots, 20);
  EXPECT_GT(seen_.same_feeds, 20);
  EXPECT_GT(seen_.same_slots, 20);
}

// p -= rate * momentum of a product; the rate is known late, the momentum is the update's own.
class UpdateTest : public ::testing::Test {
 protected:
  UpdateTest() {
    const TensorType matrix{Dtype::kF32, {8, 8}}, wide{Dtype::kF32, {8, 64}};
    parameter_ = builder_.AddInput(InputKind::kSlot, 0, matrix);
    const ValueId input = builder_.AddInput(InputKind::kFeed, 0, wide);
    const ValueId momentum = builder_.AddInput(InputKind::kSlot, 1, matrix);
    const ValueId product = Node(Op::kMatmul, {parameter_, input}, {0, 0});
    const ValueId loss = Sum(product, {0, 1});
    const ValueId gradient = Node(Op::kMatmul, {product, input}, {0, 1});
    const ValueId damp = builder_.AddScalar(Dtype::kF32);
    const ValueId rate = builder_.AddScalar(Dtype::kF32);
    const ValueId scaled = Node(Op::kMul, {gradient, damp});
    const ValueId next = Node(Op::kAdd, {Node(Op::kMul, {momentum, damp}), scaled});
    const ValueId moved = Node(Op::kSub, {parameter_, Node(Op::kMul, {next, rate})});
    builder_.AddOutput(OutputKind::kValue, loss);
    builder_.AddOutput(OutputKind::kSlot, moved, 0);
    builder_.AddOutput(OutputKind::kSlot, next, 1);
    captured_ = builder_.Finish();
    parts_ = {{std::make_shared<const Graph>(captured_.graph), captured_.sizes, {}, {}}};
  }

  ValueId Node(Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {},
               absl::Span<const int64_t> extents = {}) {
    const auto node = builder_.AddNode(op, inputs, attributes, extents);
    EXPECT_TRUE(node.ok()) << node.status();
    return *node;
  }
  ValueId Sum(ValueId value, std::vector<int32_t> axes) {
    return Node(Op::kReduceSum, {value}, std::move(axes));
  }

  GraphBuilder builder_;
  ValueId parameter_ = 0;
  CapturedGraph captured_;
  std::vector<DeviceGraph> parts_;
};

TEST_F(UpdateTest, OneGradientCrossesAndTheUpdateIsLate) {
  SplitRequest request{.parts = parts_,
                       .late = {.slots = {false, true}, .scalars = {false, true}},
                       .early_outputs = 1,
                       .feeds_as_values = {false}};
  const auto split = SplitRegion(request);
  ASSERT_TRUE(split.ok()) << split.status();
  ASSERT_EQ(split->crossing[0].size(), 1u);
  EXPECT_EQ(split->crossing[0][0].shape, Shape({8, 8}));
  for (const auto& node : split->late.parts[0].graph->nodes) EXPECT_NE(node.op, Op::kMatmul);
  EXPECT_EQ(split->early.slots, (std::vector<uint32_t>{0}));
  EXPECT_TRUE(split->late.feeds.empty());
}

TEST_F(UpdateTest, AnEarlyOutputThatIsKnownLateIsRefused) {
  SplitRequest request{
      .parts = parts_, .late = {.feeds = {true}}, .early_outputs = 1, .feeds_as_values = {false}};
  EXPECT_EQ(SplitRegion(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace moai
