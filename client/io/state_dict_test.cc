#include "client/io/state_dict.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/capture/recorder.h"
#include "client/nn/linear.h"
#include "client/tensor/ops.h"
#include "client/testing/reference_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

class StateDictTest : public ::testing::Test {
 protected:
  StateDictTest() { Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>())); }
  ~StateDictTest() override { Recorder::SetCurrent({}); }

  static std::string PathOf(const std::string& name) {
    return absl::StrCat(::testing::TempDir(), "/", name);
  }
  static std::vector<float> Values(const Tensor& tensor) {
    auto values = tensor.ToVector<float>();
    EXPECT_TRUE(values.ok()) << values.status();
    return values.value_or(std::vector<float>{});
  }
};

TEST_F(StateDictTest, AModelComesBackAsItWasSaved) {
  const std::string path = PathOf("model.safetensors");
  nn::Linear saved(3, 2);
  ASSERT_TRUE(SaveTensors(path, saved.StateDict(), {{"step", "7"}}).ok());
  nn::Linear loaded(3, 2);
  ASSERT_NE(Values(loaded.weight()), Values(saved.weight()));
  const auto metadata = LoadTensors(path, loaded.StateDict());
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(metadata->at("step"), "7");
  EXPECT_EQ(Values(loaded.weight()), Values(saved.weight()));
  EXPECT_EQ(Values(loaded.bias()), Values(saved.bias()));
  // It trains on.
  ASSERT_TRUE(Sum(loaded(Ones({1, 3}))).Backward().ok());
  EXPECT_TRUE(loaded.weight().Grad().defined());
}

TEST_F(StateDictTest, LoadingConvertsToTheTensorsDtype) {
  const std::string path = PathOf("converted.safetensors");
  nn::Linear saved(3, 2, {.dtype = Dtype::kF64});
  ASSERT_TRUE(SaveTensors(path, saved.StateDict()).ok());
  nn::Linear loaded(3, 2);
  ASSERT_TRUE(LoadTensors(path, loaded.StateDict()).ok());
  EXPECT_EQ(loaded.weight().dtype(), Dtype::kF32);
  EXPECT_EQ(Values(loaded.weight()), Values(saved.weight().To(Dtype::kF32)));
}

TEST_F(StateDictTest, AFileThatDoesNotMatchReplacesNothing) {
  const std::string path = PathOf("other.safetensors");
  nn::Linear saved(3, 2);
  ASSERT_TRUE(SaveTensors(path, saved.StateDict()).ok());

  nn::Linear wider(4, 2);
  const std::vector<float> before = Values(wider.bias());
  absl::Status status = LoadTensors(path, wider.StateDict()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"weight\" is f32[2, 3]"));
  EXPECT_EQ(Values(wider.bias()), before);

  nn::Linear without_bias(3, 2, {.bias = false});
  status = LoadTensors(path, without_bias.StateDict()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"bias\" that nothing here takes"));

  nn::Embedding other(5, 5);
  status = LoadTensors(path, {{"table", other.weight()}}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("no tensor \"table\""));
}

}  // namespace
}  // namespace moai
