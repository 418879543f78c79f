#include "graph/serialize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/fingerprint.h"
#include "graph/testing/random_graph.h"
#include "graph/verify.h"
#include "proto/graph.pb.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

std::string MessageOf(const proto::GraphProto& graph) {
  return std::string(ParseGraph(graph.SerializeAsString()).status().message());
}

proto::GraphProto Decoded(const Graph& graph) {
  proto::GraphProto decoded;
  decoded.ParseFromString(SerializeGraph(graph));
  return decoded;
}

TEST(SerializeGraphTest, RoundTripsRandomGraphs) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    const Graph graph = RandomGraph(random).graph;
    const std::string bytes = SerializeGraph(graph);
    const absl::StatusOr<Graph> parsed = ParseGraph(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(VerifyStructure(*parsed).ok());
    EXPECT_EQ(parsed->values, graph.values);
    EXPECT_EQ(parsed->inputs, graph.inputs);
    EXPECT_EQ(parsed->outputs, graph.outputs);
    EXPECT_EQ(parsed->extent_count, graph.extent_count);
    EXPECT_EQ(ComputeFingerprint(*parsed), ComputeFingerprint(graph));
    EXPECT_EQ(SerializeGraph(*parsed), bytes);
  }
}

TEST(ParseGraphTest, NamesFieldsThatAreOutOfRange) {
  std::mt19937_64 random(2);
  const proto::GraphProto good = Decoded(RandomGraph(random).graph);
  proto::GraphProto bad = good;
  bad.mutable_nodes(2)->set_op(1 << 16);
  EXPECT_THAT(MessageOf(bad), HasSubstr("nodes[2].op must be at most 65535, got 65536"));
  bad = good;
  bad.mutable_nodes(2)->set_output_count(256);
  EXPECT_THAT(MessageOf(bad), HasSubstr("nodes[2].output_count must be at most 255"));
  bad = good;
  bad.mutable_inputs(0)->set_kind(1000);
  EXPECT_THAT(MessageOf(bad), HasSubstr("inputs[0].kind must be at most 255"));
  bad = good;
  bad.mutable_inputs(0)->set_value(1 << 30);
  EXPECT_THAT(MessageOf(bad), HasSubstr("inputs[0].value 1073741824 is not one of the"));
  bad = good;
  bad.set_values(0, 1 << 20);
  EXPECT_THAT(MessageOf(bad), HasSubstr("values[0].rank must be at most 255"));
  bad = good;
  bad.mutable_nodes(0)->set_extent_count(~0u);
  EXPECT_THAT(MessageOf(bad), HasSubstr("nodes[0].extent_count 4294967295"));
}

TEST(ParseGraphTest, RefusesWhatIsNotCanonical) {
  std::mt19937_64 random(3);
  const std::string bytes = SerializeGraph(RandomGraph(random).graph);
  const std::string unknown_field = "\x98\x06\x01";                 // field 99
  const std::string repeated_default = std::string("\x28\x00", 2);  // slot_count 0
  for (const std::string& tail : {unknown_field, repeated_default}) {
    EXPECT_THAT(std::string(ParseGraph(bytes + tail).status().message()),
                HasSubstr("not the canonical serialisation"));
  }
  EXPECT_THAT(std::string(ParseGraph(bytes.substr(0, bytes.size() - 1)).status().message()),
              HasSubstr("graph: "));
  EXPECT_THAT(std::string(ParseGraph(std::string(kMaxGraphBytes + 1, '\0')).status().message()),
              HasSubstr("kMaxGraphBytes"));
}

}  // namespace
}  // namespace moai
