#include "scheduler/redistribution.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "graph/interpret_devices.h"
#include "graph/verify.h"
#include "scheduler/partition/testing/cut.h"

namespace moai {
namespace {

using Random = std::mt19937_64;

int64_t Draw(Random& random, int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, most)(random);
}

// Two or three axes of 8 devices.
Mesh DrawMesh(Random& random) {
  const std::vector<std::vector<int64_t>> extents = {{8}, {2, 4}, {4, 2}, {2, 2, 2}};
  Mesh mesh;
  for (int64_t extent : extents[size_t(Draw(random, 0, 3))]) {
    mesh.axes.push_back({std::string(1, char('a' + mesh.axes.size())), extent});
  }
  return mesh;
}

Layout DrawLayout(Random& random, const Mesh& mesh, const Shape& shape) {
  if (Draw(random, 0, 9) == 0) return OnFirstDevice(mesh);
  Layout layout = Replicated(mesh);
  for (size_t axis = 0; axis < mesh.axes.size(); ++axis) {
    const int64_t kind = Draw(random, 0, 2);
    if (kind == 1 && shape.rank() > 0) {
      const int64_t dim = Draw(random, 0, shape.rank() - 1);
      if (shape[int(dim)] < 2) continue;  // nothing to split
      layout.placement[axis] = {
          .kind = PlacementKind::kShard, .dim = int8_t(dim), .count = shape[int(dim)]};
    } else if (kind == 2) {
      layout.placement[axis] = OnlyAt(Draw(random, 0, mesh.axes[axis].extent - 1));
    }
  }
  return layout;
}

TensorType DrawType(Random& random) {
  Shape shape;
  for (int64_t rank = Draw(random, 0, 3); rank > 0; --rank) shape.push_back(Draw(random, 1, 9));
  return {Dtype::kF64, shape};
}

absl::StatusOr<std::vector<ReferenceTensor>> RunParts(const std::vector<DeviceGraph>& parts,
                                                      const std::vector<ReferenceTensor>& inputs) {
  std::vector<DeviceRun> runs;
  for (size_t device = 0; device < parts.size(); ++device) {
    const DeviceGraph& part = parts[device];
    runs.push_back({part.graph.get(), part.sizes, &part.groups, {inputs[device]}});
  }
  const auto results = InterpretDevices(runs);
  if (!results.ok()) return results.status();
  std::vector<ReferenceTensor> outputs;
  for (const auto& of_device : *results) outputs.push_back(of_device[0]);
  return outputs;
}

TEST(RedistributionTest, BringsTensorsFromAnyLayoutToAnyOther) {
  Random random(7);
  for (int i = 0; i < 2000; ++i) {
    const TensorType type = DrawType(random);
    const Mesh mesh = DrawMesh(random);
    const Layout from = DrawLayout(random, mesh, type.shape);
    Layout to = DrawLayout(random, Draw(random, 0, 1) == 0 ? mesh : DrawMesh(random), type.shape);
    if (to.on_first_only()) to = Replicated(to.mesh);
    SCOPED_TRACE(ToString(type) + " from " + ToString(from) + " to " + ToString(to));

    const auto parts = MakeRedistribution(type, from, to);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ReferenceTensor whole = ReferenceTensor::Zeros(type);
    for (double& element : whole.floats) element = double(Draw(random, -1000, 1000));
    std::vector<ReferenceTensor> inputs;
    for (int64_t device = 0; device < mesh.DeviceCount(); ++device) {
      inputs.push_back(CutFor(whole, from, device));
    }
    const auto outputs = RunParts(*parts, inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const auto joined = JoinParts(*outputs, type, to, /*tolerance=*/0);
    ASSERT_TRUE(joined.ok()) << joined.status();
    EXPECT_EQ(joined->floats, whole.floats);
  }
}

TEST(RedistributionTest, LeavesOtherStagesInPeace) {
  // Both stages have two devices; the tensor is of the second stage before and after.
  const Mesh mesh{{{"stage", 2}, {"data", 2}}};
  Layout from = Replicated(mesh), to = Replicated(mesh);
  from.placement[0] = to.placement[0] = OnlyAt(1);
  to.placement[1] = {.kind = PlacementKind::kShard, .dim = 0, .count = 6};
  const auto parts = MakeRedistribution({Dtype::kF32, {6}}, to, from);
  ASSERT_TRUE(parts.ok()) << parts.status();
  const auto collectives = [&](size_t device) {
    int count = 0;
    for (const Node& node : (*parts)[device].graph->nodes) count += IsCollective(node.op) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(collectives(0), 0);
  EXPECT_EQ(collectives(1), 0);
  EXPECT_EQ(collectives(2), 1);
  EXPECT_EQ(collectives(3), 1);
}

TEST(RedistributionTest, RefusesMeshesOfDifferentSizes) {
  EXPECT_FALSE(MakeRedistribution({Dtype::kF32, {6}}, Replicated({{{"data", 2}}}),
                                  Replicated({{{"data", 3}}}))
                   .ok());
}

}  // namespace
}  // namespace moai
