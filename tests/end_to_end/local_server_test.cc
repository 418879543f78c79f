// A program that names no server gets one of its own, with this machine's devices.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "client/session/connect.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> LocalDirectories() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("/tmp")) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("moai-local-", 0) == 0) found.push_back(name);
  }
  return found;
}

TEST(LocalServer, ServesAProgramThatNamesNone) {
  unsetenv("MOAI_SERVER");
  const std::vector<std::string> before = LocalDirectories();
  ConnectOptions options;
  options.log = false;
  auto session = Connect(options);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_GT((*session)->memory_bytes(), 0u);
  const ObjectId id = (*session)->NewIds(1);
  const auto text = std::make_shared<const std::string>("moai");
  ASSERT_TRUE((*session)
                  ->Upload(id, {Dtype::kU8, {4}},
                           {{reinterpret_cast<const std::byte*>(text->data()), text->size()}, text})
                  .ok());
  std::string back(4, '\0');
  const absl::Status read =
      (*session)->Read(id, {reinterpret_cast<std::byte*>(back.data()), back.size()});
  ASSERT_TRUE(read.ok()) << read;
  EXPECT_EQ(back, "moai");
  session->reset();
  // The processes and their directory are gone.
  EXPECT_EQ(LocalDirectories().size(), before.size());
}

}  // namespace
}  // namespace moai
