// Saving and loading a model through real processes, with tensors larger than a control message
// carries: they are uploaded from where the file is mapped.
#include <cstdio>
#include <string>
#include <vector>

#include "client/moai.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"

namespace moai {
namespace {

TEST(StateDictTest, ALargeModelIsSavedAndLoaded) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  auto accelerator = Accelerator::Connect({.server = (*cluster)->address(), .log = false});
  ASSERT_TRUE(accelerator.ok()) << accelerator.status();
  const std::string path = ::testing::TempDir() + "/state_dict_test.safetensors";
  ManualSeed(1);
  const nn::Linear saved(600, 500);  // a weight of 1.2 MB
  ASSERT_EQ(SaveTensors(path, saved.StateDict()), absl::OkStatus());
  ManualSeed(2);
  const nn::Linear loaded(600, 500);
  const auto want = saved.weight().ToVector<float>();
  ASSERT_TRUE(want.ok()) << want.status();
  ASSERT_NE(*loaded.weight().ToVector<float>(), *want);
  const auto metadata = LoadTensors(path, loaded.StateDict());
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  const auto got = loaded.weight().ToVector<float>();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, *want);
  EXPECT_EQ(*loaded.bias().ToVector<float>(), *saved.bias().ToVector<float>());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace moai
