#include "graph/interpret_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "graph/builder.h"
#include "graph/parts.h"
#include "graph/signature.h"
#include "graph/testing/reference_op.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Tensors = std::vector<ReferenceTensor>;
using Results = std::vector<Tensors>;

constexpr int32_t kSum = static_cast<int32_t>(ReduceKind::kSum);
constexpr int32_t kMax = static_cast<int32_t>(ReduceKind::kMax);

// One device's graph under construction; every input is a value, every node's first output may be
// an output.
class Part {
 public:
  explicit Part(std::vector<std::vector<uint32_t>> groups) : groups_(std::move(groups)) {}

  ValueId Input(const ReferenceTensor& tensor) {
    bindings_.push_back(tensor);
    return builder_.AddInput(InputKind::kValue, static_cast<uint32_t>(bindings_.size() - 1),
                             tensor.type);
  }
  ValueId Node(Op op, absl::Span<const ValueId> inputs, absl::Span<const int32_t> attributes = {},
               absl::Span<const int64_t> extents = {}) {
    const absl::StatusOr<ValueId> value = builder_.AddNode(op, inputs, attributes, extents);
    EXPECT_TRUE(value.ok()) << value.status();
    return value.ok() ? *value : 0;
  }
  void Output(ValueId value) { builder_.AddOutput(OutputKind::kValue, value); }

  DeviceRun Finish() {
    captured_ = builder_.Finish();
    return {&captured_.graph, captured_.sizes, &groups_, bindings_};
  }

 private:
  std::vector<std::vector<uint32_t>> groups_;
  GraphBuilder builder_;
  Tensors bindings_;
  CapturedGraph captured_;
};

absl::StatusOr<Results> RunParts(std::vector<Part>& parts) {
  std::vector<DeviceRun> runs;
  for (Part& part : parts) runs.push_back(part.Finish());
  return InterpretDevices(runs);
}

// A device's input and extents of the one collective that all devices run.
struct Piece {
  ReferenceTensor input;
  std::vector<int64_t> extents = {};
};

// The result of each of a group of all the devices, in this order.
absl::StatusOr<Tensors> RunOne(Op op, const std::vector<Piece>& pieces,
                               std::vector<int32_t> attributes) {
  std::vector<uint32_t> group;
  for (uint32_t d = 0; d < pieces.size(); ++d) group.push_back(d);
  std::vector<Part> parts;
  for (const Piece& piece : pieces) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{group});
    part.Output(part.Node(op, {part.Input(piece.input)}, attributes, piece.extents));
  }
  absl::StatusOr<Results> results = RunParts(parts);
  if (!results.ok()) return results.status();
  Tensors first;
  for (const Tensors& outputs : *results) first.push_back(outputs[0]);
  return first;
}

TEST(InterpretDevicesTest, AllReduceCombinesElementForElement) {
  const auto sum =
      RunOne(Op::kAllReduce,
             {{Floats({2}, {1, 2})}, {Floats({2}, {10, 20})}, {Floats({2}, {4, 5})}}, {0, kSum});
  ASSERT_TRUE(sum.ok()) << sum.status();
  for (const ReferenceTensor& result : *sum) EXPECT_THAT(result.floats, ElementsAre(15, 27));

  const auto max =
      RunOne(Op::kAllReduce, {{Floats({2}, {1, NAN})}, {Floats({2}, {3, 4})}}, {0, kMax});
  ASSERT_TRUE(max.ok()) << max.status();
  EXPECT_EQ((*max)[0].floats[0], 3);
  EXPECT_TRUE(std::isnan((*max)[1].floats[1]));

  const auto wrapped =
      RunOne(Op::kAllReduce,
             {{Integers({1}, {200}, Dtype::kU8)}, {Integers({1}, {100}, Dtype::kU8)}}, {0, kSum});
  ASSERT_TRUE(wrapped.ok()) << wrapped.status();
  EXPECT_THAT((*wrapped)[0].integers, ElementsAre(44));

  const auto any =
      RunOne(Op::kAllReduce,
             {{Integers({2}, {0, 0}, Dtype::kBool)}, {Integers({2}, {0, 1}, Dtype::kBool)}},
             {0, static_cast<int32_t>(ReduceKind::kOr)});
  ASSERT_TRUE(any.ok()) << any.status();
  EXPECT_THAT((*any)[0].integers, ElementsAre(0, 1));
}

TEST(InterpretDevicesTest, AllGatherJoinsUnevenAndEmptyParts) {
  // Three units of two columns among four devices.
  const auto joined = RunOne(Op::kAllGather,
                             {{Floats({2, 2}, {1, 2, 7, 8}), {6, 2}},
                              {Floats({2, 2}, {3, 4, 9, 10}), {6, 2}},
                              {Floats({2, 2}, {5, 6, 11, 12}), {6, 2}},
                              {Floats({2, 0}, {}), {6, 2}}},
                             {1, 0});
  ASSERT_TRUE(joined.ok()) << joined.status();
  for (const ReferenceTensor& result : *joined) {
    EXPECT_EQ(result.type.shape, Shape({2, 6}));
    EXPECT_THAT(result.floats, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
  }
}

TEST(InterpretDevicesTest, ReduceScatterGivesEachItsPartOfTheSum) {
  const auto parts = RunOne(Op::kReduceScatter,
                            {{Integers({2, 1}, {1, 2}), {1, 1}},
                             {Integers({2, 1}, {10, 20}), {1, 1}},
                             {Integers({2, 1}, {100, 200}), {0, 1}}},
                            {0, 0, kSum});
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_THAT((*parts)[0].integers, ElementsAre(111));
  EXPECT_THAT((*parts)[1].integers, ElementsAre(222));
  EXPECT_EQ((*parts)[2].type.shape, Shape({0, 1}));
}

TEST(InterpretDevicesTest, AllToAllSplitsOneDimAndJoinsAnother) {
  // [5, 3]: from rows 3 + 2 to columns 2 + 1.
  const auto columns = RunOne(Op::kAllToAll,
                              {{Integers({3, 3}, {0, 1, 2, 10, 11, 12, 20, 21, 22}), {5, 1, 2, 1}},
                               {Integers({2, 3}, {30, 31, 32, 40, 41, 42}), {5, 1, 1, 1}}},
                              {/*axis=*/0, /*split_axis=*/1, 0});
  ASSERT_TRUE(columns.ok()) << columns.status();
  EXPECT_EQ((*columns)[0].type.shape, Shape({5, 2}));
  EXPECT_THAT((*columns)[0].integers, ElementsAre(0, 1, 10, 11, 20, 21, 30, 31, 40, 41));
  EXPECT_EQ((*columns)[1].type.shape, Shape({5, 1}));
  EXPECT_THAT((*columns)[1].integers, ElementsAre(2, 12, 22, 32, 42));
}

TEST(InterpretDevicesTest, BroadcastReadsTheFirstMemberOnly) {
  std::vector<Part> parts;
  for (int d = 0; d < 2; ++d) {
    // Device 1 comes first.
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{1, 0}});
    const ValueId x = part.Input(d == 1 ? Floats({2}, {5, 6}) : Floats({0}, {}));
    part.Output(part.Node(Op::kBroadcastFromFirst, {x}, {0, 1}, {2}));
  }
  const absl::StatusOr<Results> results = RunParts(parts);
  ASSERT_TRUE(results.ok()) << results.status();
  for (const Tensors& outputs : *results) EXPECT_THAT(outputs[0].floats, ElementsAre(5, 6));
}

// A value goes through three devices, each of which doubles it.
TEST(InterpretDevicesTest, SendMeetsRecv) {
  std::vector<Part> parts;
  for (uint32_t d = 0; d < 3; ++d) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{
        {d > 0 ? d - 1 : 0, d > 0 ? d : 1}, {d < 2 ? d : 1, d < 2 ? d + 1 : 2}});
    const ValueId x =
        d == 0 ? part.Input(Floats({1}, {3}))
               : part.Node(Op::kRecv, {}, {static_cast<int32_t>(Dtype::kF64), 0, 1}, {1});
    const ValueId doubled = part.Node(Op::kAdd, {x, x});
    if (d < 2) part.Output(part.Node(Op::kSend, {doubled}, {1}));
    part.Output(doubled);
  }
  const absl::StatusOr<Results> results = RunParts(parts);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0][0].type, (TensorType{Dtype::kU8, {0}}));
  EXPECT_THAT((*results)[1][1].floats, ElementsAre(12));
  EXPECT_THAT((*results)[2][0].floats, ElementsAre(24));
}

// Rows and columns of a 2 x 2 mesh.
TEST(InterpretDevicesTest, GroupsOfAMeshDoNotMix) {
  std::vector<Part> parts;
  for (uint32_t d = 0; d < 4; ++d) {
    const uint32_t row = d / 2 * 2, column = d % 2;
    Part& part = parts.emplace_back(
        std::vector<std::vector<uint32_t>>{{row, row + 1}, {column, column + 2}});
    const ValueId x = part.Input(Floats({}, {std::pow(10.0, d)}));
    const ValueId across = part.Node(Op::kAllReduce, {x}, {0, kSum});
    part.Output(across);
    part.Output(part.Node(Op::kAllReduce, {across}, {1, kSum}));
  }
  const absl::StatusOr<Results> results = RunParts(parts);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT((*results)[1][0].floats, ElementsAre(11));
  EXPECT_THAT((*results)[2][0].floats, ElementsAre(1100));
  for (const Tensors& outputs : *results) EXPECT_THAT(outputs[1].floats, ElementsAre(1111));
}

// A product whose contracted dim is split among devices, one of which has nothing.
TEST(InterpretDevicesTest, PartsOfAContractionAddUp) {
  const ReferenceTensor x = Floats({2, 3}, {1, 2, 3, 4, 5, 6}), w = Floats({3, 1}, {1, 10, 100});
  std::vector<Part> parts;
  for (int64_t d = 0; d < 4; ++d) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{0, 1, 2, 3}});
    const int64_t begin = PartBegin(3, 4, d), end = begin + PartOf(3, 4, d);
    const ValueId own = part.Node(Op::kSlice, {part.Input(x)}, {}, {0, 2, 1, begin, end, 1});
    const ValueId rows = part.Node(Op::kSlice, {part.Input(w)}, {}, {begin, end, 1, 0, 1, 1});
    const ValueId product = part.Node(Op::kMatmul, {own, rows}, {0, 0});
    part.Output(part.Node(Op::kAllReduce, {product}, {0, kSum}));
  }
  const absl::StatusOr<Results> results = RunParts(parts);
  ASSERT_TRUE(results.ok()) << results.status();
  for (const Tensors& outputs : *results) EXPECT_THAT(outputs[0].floats, ElementsAre(321, 654));
}

TEST(InterpretDevicesTest, RoundsResultsWhereAsked) {
  std::vector<Part> parts;
  for (int d = 0; d < 2; ++d) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{0, 1}});
    const ValueId x = part.Input(Floats({1}, {d == 0 ? 1 : 0x1p-10}, Dtype::kBF16));
    part.Output(part.Node(Op::kAllReduce, {x}, {0, kSum}));
  }
  std::vector<DeviceRun> runs;
  for (Part& part : parts) runs.push_back(part.Finish());
  const auto rounded = InterpretDevices(runs, {.round_to_dtype = true});
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_THAT((*rounded)[0][0].floats, ElementsAre(1));
}

// ---- What goes wrong ----------------------------------------------------------------------------

void ExpectDefect(const absl::Status& status, const std::string& words) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

TEST(InterpretDevicesTest, NamesWhoWaitsForWhom) {
  std::vector<Part> parts;
  for (int d = 0; d < 3; ++d) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{0, 1}, {0, 1, 2}});
    const ValueId x = part.Input(Floats({1}, {1}));
    if (d == 2) continue;
    // Device 0 goes to the group of three, where nobody else will come.
    part.Output(part.Node(Op::kNeg, {x}));
    part.Output(part.Node(Op::kAllReduce, {x}, {d == 0 ? 1 : 0, kSum}));
  }
  parts.pop_back();
  Part& idle = parts.emplace_back(std::vector<std::vector<uint32_t>>{});
  idle.Output(idle.Input(Floats({1}, {1})));
  ExpectDefect(RunParts(parts).status(),
               "devices wait for each other for ever: device 0 at node 1 (all_reduce) for devices "
               "0 1 2; device 1 at node 1 (all_reduce) for devices 0 1; device 2 is done");
}

TEST(InterpretDevicesTest, NamesWhatMembersDisagreeOn) {
  const auto two = [](std::function<ValueId(Part&, ValueId, int)> node, const Shape& first,
                      const Shape& second) {
    std::vector<Part> parts;
    for (int d = 0; d < 2; ++d) {
      Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{0, 1}});
      const Shape& shape = d == 0 ? first : second;
      part.Output(node(part, part.Input(ReferenceTensor::Zeros({Dtype::kF64, shape})), d));
    }
    return RunParts(parts).status();
  };
  ExpectDefect(two(
                   [](Part& part, ValueId x, int d) {
                     return d == 0 ? part.Node(Op::kAllReduce, {x}, {0, kSum})
                                   : part.Node(Op::kSend, {x}, {0});
                   },
                   {2}, {2}),
               "device 0 at node 0 (all_reduce), device 1 at node 0 (send): member 0 runs "
               "all_reduce, but member 1 runs send");
  ExpectDefect(two(
                   [](Part& part, ValueId x, int d) {
                     return part.Node(Op::kAllReduce, {x}, {0, d == 0 ? kSum : kMax});
                   },
                   {2}, {2}),
               "attribute reduce of member 0 is 1, that of member 1 is 2");
  ExpectDefect(two(
                   [](Part& part, ValueId x, int) {
                     return part.Node(Op::kAllReduce, {x}, {0, kSum});
                   },
                   {2}, {3}),
               "member 0 gives a f64[2], but member 1 a f64[3]");
  ExpectDefect(two(
                   [](Part& part, ValueId x, int) {
                     return part.Node(Op::kAllGather, {x}, {0, 0}, {3, 1});
                   },
                   {1}, {2}),
               "of 3 in units of 1 among 2 devices along dim 0, member 0 must have 2, but has 1");
  ExpectDefect(two(
                   [](Part& part, ValueId x, int) {
                     return part.Node(Op::kReduceScatter, {x}, {0, 0, kSum}, {2, 1});
                   },
                   {3}, {3}),
               "member 1 must have 1, but has 2");
  ExpectDefect(two(
                   [](Part& part, ValueId x, int) {
                     return part.Node(Op::kBroadcastFromFirst, {x}, {0, 1}, {4});
                   },
                   {3}, {3}),
               "member 0 gives a f64[3], but member 0 expects a f64[4]");
  ExpectDefect(
      two([](Part& part, ValueId x, int) { return part.Node(Op::kSend, {x}, {0}); }, {3}, {3}),
      "takes a send by the first and a recv by the second of two members");
}

TEST(InterpretDevicesTest, ChecksGroups) {
  const auto with_groups = [](std::vector<std::vector<uint32_t>> groups) {
    std::vector<Part> parts;
    Part& part = parts.emplace_back(std::move(groups));
    part.Output(part.Node(Op::kAllReduce, {part.Input(Floats({1}, {1}))}, {1, kSum}));
    return RunParts(parts).status();
  };
  EXPECT_TRUE(with_groups({{0}, {0}}).ok());
  ExpectDefect(with_groups({{0}}), "group 1 is not one of the device's 1");
  ExpectDefect(with_groups({{0}, {0, 7}}), "device 7 of a group is not one of the 1");
  ExpectDefect(with_groups({{0}, {0, 0}}), "device 0 is in a group twice");
  ExpectDefect(with_groups({{0}, {}}), "does not contain its own device");
}

TEST(InterpretDevicesTest, DataThatIsWrongOnOneDeviceIsWrongForAll) {
  std::vector<Part> parts;
  for (int d = 0; d < 2; ++d) {
    Part& part = parts.emplace_back(std::vector<std::vector<uint32_t>>{{0, 1}});
    const ValueId table = part.Input(Floats({2, 1}, {1, 2}));
    const ValueId ids = part.Input(Integers({1}, {d == 0 ? 1 : 4}));
    const ValueId row = part.Node(Op::kEmbedding, {table, ids}, {}, {2 * d, 4});
    part.Output(part.Node(Op::kAllReduce, {row}, {0, kSum}));
  }
  const absl::Status status = RunParts(parts).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("device 1: node 0 (embedding): "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("index 4"));
}

}  // namespace
}  // namespace moai
