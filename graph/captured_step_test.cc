#include "graph/captured_step.h"

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

// slot 0 += learning rate * value; slot 1 is made.
CapturedStep SmallStep() {
  GraphBuilder builder;
  const ValueId weight = builder.AddInput(InputKind::kSlot, 0, {Dtype::kF32, {2, 3}});
  const ValueId value = builder.AddInput(InputKind::kValue, 0, {Dtype::kF32, {2, 3}});
  const ValueId rate = builder.AddScalar(Dtype::kF32);
  const ValueId scaled = *builder.AddNode(Op::kMul, {value, rate});
  const ValueId sum = *builder.AddNode(Op::kAdd, {weight, scaled});
  const ValueId total = *builder.AddNode(Op::kReduceSum, {sum}, {0});
  builder.AddOutput(OutputKind::kSlot, sum, 0);
  builder.AddOutput(OutputKind::kSlot, total, 1);
  CapturedGraph captured = builder.Finish();
  CapturedStep step;
  step.name = "small";
  step.fingerprint = captured.fingerprint;
  step.graph = std::make_shared<const Graph>(std::move(captured.graph));
  step.sizes = std::move(captured.sizes);
  step.slots = {{"weight", SlotRole::kParameter, {Dtype::kF32, {2, 3}}},
                {"m.weight", SlotRole::kOptimizer, {Dtype::kF32, {3}}}};
  step.scalars = {{.f64 = 0.25}};
  step.parameters = 6;
  step.samples = 4;
  step.tokens = 32;
  return step;
}

std::string Path(const std::string& name) { return ::testing::TempDir() + "/" + name; }

void Overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST(CapturedStepTest, AFileKeepsEverything) {
  const CapturedStep step = SmallStep();
  const std::string path = Path("kept");
  ASSERT_TRUE(SaveCapturedStep(step, path).ok());
  const absl::StatusOr<CapturedStep> loaded = LoadCapturedStep(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->name, "small");
  EXPECT_EQ(loaded->fingerprint, step.fingerprint);
  EXPECT_EQ(loaded->graph->nodes.size(), 3u);
  EXPECT_EQ(loaded->sizes, step.sizes);
  ASSERT_EQ(loaded->slots.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(loaded->slots[i].name, step.slots[i].name);
    EXPECT_EQ(loaded->slots[i].role, step.slots[i].role);
    EXPECT_EQ(loaded->slots[i].type, step.slots[i].type);
  }
  ASSERT_EQ(loaded->scalars.size(), 1u);
  EXPECT_EQ(loaded->scalars[0].f64, 0.25);
  EXPECT_EQ(loaded->parameters, 6);
  EXPECT_EQ(loaded->samples, 4);
  EXPECT_EQ(loaded->tokens, 32);
}

TEST(CapturedStepTest, NamesTheFileThatCannotBeUsed) {
  const absl::Status missing = LoadCapturedStep(Path("missing")).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("missing"));
  Overwrite(Path("text"), "no graph");
  const absl::Status text = LoadCapturedStep(Path("text")).status();
  EXPECT_EQ(text.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.message()), HasSubstr("text: not a captured step"));
  EXPECT_EQ(SaveCapturedStep(SmallStep(), Path("no/such/folder")).code(),
            absl::StatusCode::kNotFound);
}

// Whatever byte is wrong or missing: an error or a step that verifies, never a crash.
TEST(CapturedStepTest, ADamagedFileIsRefusedOrVerifies) {
  const std::string path = Path("damaged");
  ASSERT_TRUE(SaveCapturedStep(SmallStep(), path).ok());
  const std::string bytes = Content(path);
  int refused = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x15);
    Overwrite(path, damaged);
    const absl::StatusOr<CapturedStep> changed = LoadCapturedStep(path);
    refused += !changed.ok();
    if (changed.ok()) {
      EXPECT_EQ(changed->slots.size(), changed->graph->slot_count);
    }
    Overwrite(path, bytes.substr(0, i));
    const absl::StatusOr<CapturedStep> cut = LoadCapturedStep(path);
    if (cut.ok()) {
      EXPECT_EQ(cut->slots.size(), cut->graph->slot_count);
    }
  }
  EXPECT_GT(refused, static_cast<int>(bytes.size()) / 2);
}

TEST(CapturedStepTest, DescriptionsMustFitTheGraph) {
  CapturedStep step = SmallStep();
  step.slots.pop_back();
  ASSERT_TRUE(SaveCapturedStep(step, Path("slots")).ok());
  EXPECT_THAT(std::string(LoadCapturedStep(Path("slots")).status().message()),
              HasSubstr("the file describes 1 and 1"));
  step = SmallStep();
  step.sizes.back() = -1;
  ASSERT_TRUE(SaveCapturedStep(step, Path("sizes")).ok());
  EXPECT_FALSE(LoadCapturedStep(Path("sizes")).ok());
}

}  // namespace
}  // namespace moai
