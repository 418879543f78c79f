// moreh-switch-model with a real server, worker and program.
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "client/session/grpc_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/cli/run_command.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/session_client.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr char kRefusal[] = "The model cannot be switched while the MoAI Accelerator is in use.\n";

std::unique_ptr<Cluster> StartCluster(std::vector<std::string> server_flags = {}) {
  ClusterOptions options;
  options.devices = 4;
  options.server_flags = std::move(server_flags);
  auto cluster = Cluster::Start(options);
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return cluster.ok() ? *std::move(cluster) : nullptr;
}

CommandResult SwitchModel(const Cluster& cluster, const std::string& arguments = "",
                          const std::string& input = "") {
  return RunCommand(absl::StrCat("moreh-switch-model ", arguments),
                    {{"MOAI_SERVER", cluster.address()}}, input);
}

absl::StatusOr<std::shared_ptr<GrpcSession>> BeginSession(const Cluster& cluster) {
  GrpcSessionOptions options;
  options.address = cluster.address();
  return GrpcSession::Connect(options);
}

std::string CurrentModel(const Cluster& cluster) {
  const CommandResult list = SwitchModel(cluster, "--json");
  EXPECT_EQ(list.exit_code, 0) << list;
  const auto json = nlohmann::json::parse(list.output, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? list.output : json.value("current", "none");
}

TEST(SwitchModelTest, AsksAndSwitches) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(SwitchModel(*cluster, "", "3\nq\n"),
            (CommandResult{0, R"(Current MoAI Accelerator: Small.256MB

1. Small.256MB  *
2. Medium.512MB
3. Large.1GB

Selection (1-3, q, Q): The MoAI Accelerator model is successfully switched to  "Large.1GB".

1. Small.256MB
2. Medium.512MB
3. Large.1GB  *

Selection (1-3, q, Q): )",
                           ""}));
  EXPECT_EQ(CurrentModel(*cluster), "Large.1GB");
  EXPECT_EQ(SwitchModel(*cluster, "", "Q\n").exit_code, 0);
  EXPECT_EQ(CurrentModel(*cluster), "Large.1GB");
}

TEST(SwitchModelTest, TakesArgumentsInPlaceOfAnswers) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(SwitchModel(*cluster, "-M 2"),
            (CommandResult{0,
                           "The MoAI Accelerator model is successfully switched to  "
                           "\"Medium.512MB\".\n",
                           ""}));
  EXPECT_EQ(CurrentModel(*cluster), "Medium.512MB");
  EXPECT_EQ(SwitchModel(*cluster, "Large.1GB").exit_code, 0);
  EXPECT_EQ(CurrentModel(*cluster), "Large.1GB");
  EXPECT_EQ(SwitchModel(*cluster, "--list"),
            (CommandResult{0,
                           "Current MoAI Accelerator: Large.1GB\n\n1. Small.256MB\n2. "
                           "Medium.512MB\n3. Large.1GB  *\n",
                           ""}));
  EXPECT_EQ(SwitchModel(*cluster, "Huge.1TB"),
            (CommandResult{1, "",
                           "there is no model Huge.1TB; the models are Small.256MB, "
                           "Medium.512MB, Large.1GB\n"}));
  EXPECT_EQ(SwitchModel(*cluster, "-M 4"),
            (CommandResult{1, "",
                           "there is no model 4; there are 3, `moreh-switch-model --list` shows "
                           "them\n"}));
  for (const char* wrong : {"-M x", "-M 0", "-M", "--what", "a b", "--list a"}) {
    EXPECT_EQ(SwitchModel(*cluster, wrong).exit_code, 2) << wrong;
  }
  EXPECT_EQ(CurrentModel(*cluster), "Large.1GB");
}

TEST(SwitchModelTest, PrintsJson) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  const auto list = nlohmann::json::parse(SwitchModel(*cluster, "--json").output);
  EXPECT_EQ(list["device"], 0);
  EXPECT_EQ(list["current"], "Small.256MB");
  ASSERT_EQ(list["models"].size(), 3u);
  EXPECT_EQ(list["models"][1], nlohmann::json::parse(R"({
    "position": 2, "name": "Medium.512MB", "devices": 2, "device_memory_bytes": 268435456,
    "memory_bytes": 536870912, "offered": true, "current": false})"));
  const auto switched = nlohmann::json::parse(SwitchModel(*cluster, "--json -M 3").output);
  EXPECT_EQ(switched["switched"], "Large.1GB");
  const CommandResult refused = SwitchModel(*cluster, "--json nothing");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(nlohmann::json::parse(refused.output)["error"]["code"], "NOT_FOUND");
}

TEST(SwitchModelTest, IsRefusedWhileAProgramRuns) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  auto session = BeginSession(*cluster);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ((*session)->accelerator_name(), "Small.256MB");
  EXPECT_EQ(SwitchModel(*cluster, "Large.1GB"), (CommandResult{1, "", kRefusal}));
  const CommandResult asked = SwitchModel(*cluster, "", "3\n");
  EXPECT_EQ(asked.exit_code, 1);
  EXPECT_THAT(asked.output, HasSubstr(absl::StrCat("Selection (1-3, q, Q): ", kRefusal, "\n1. ")));
  EXPECT_EQ(CurrentModel(*cluster), "Small.256MB");
  session->reset();
  EXPECT_EQ(SwitchModel(*cluster, "Large.1GB").exit_code, 0);
}

TEST(SwitchModelTest, DecidesWhatTheNextProgramRunsOn) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  for (const auto& [model, devices] :
       std::vector<std::pair<std::string, int>>{{"Small.256MB", 1}, {"Large.1GB", 4}}) {
    ASSERT_EQ(SwitchModel(*cluster, model).exit_code, 0);
    SessionClient client(cluster->address());
    EXPECT_EQ(client.session().accelerator_name(), model);
    EXPECT_EQ(client.session().memory_bytes(), uint64_t(devices) << 28);
    const ObjectId a = client.Upload(std::vector<float>{1, 2, 3});
    EXPECT_EQ(client.Read(client.Add(a, a), 3), (std::vector<float>{2, 4, 6}));
    const auto status = nlohmann::json::parse(
        RunCommand("moreh-smi --json", {{"MOAI_SERVER", cluster->address()}}).output);
    int busy = 0;
    for (const auto& device : status["physical_devices"]) busy += device["busy"] ? 1 : 0;
    EXPECT_EQ(busy, devices);
    EXPECT_EQ(status["processes"][0]["model"], model);
  }
}

TEST(SwitchModelTest, IsRememberedByTheNextServer) {
  const std::string state = absl::StrCat(testing::TempDir(), "/state.db");
  std::remove(state.c_str());
  {
    const auto cluster = StartCluster({absl::StrCat("--state_file=", state)});
    ASSERT_NE(cluster, nullptr);
    EXPECT_EQ(SwitchModel(*cluster, "Medium.512MB").exit_code, 0);
  }
  {
    const auto cluster = StartCluster({absl::StrCat("--state_file=", state)});
    ASSERT_NE(cluster, nullptr);
    EXPECT_EQ(CurrentModel(*cluster), "Medium.512MB");
  }
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(CurrentModel(*cluster), "Small.256MB");
}

TEST(SwitchModelTest, OffersWhatTheOperatorWrote) {
  const std::string path = absl::StrCat(testing::TempDir(), "/flavors.yaml");
  std::ofstream(path) << "flavors:\n"
                         "  - {name: tiny, devices: 1, memory: 16MiB}\n"
                         "  - {name: pair, devices: 2, memory: 256MiB}\n"
                         "  - {name: sixteen, devices: 16, memory: 256MiB}\n";
  const auto cluster = StartCluster({absl::StrCat("--flavor_file=", path)});
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(SwitchModel(*cluster, "--list").output,
            "Current MoAI Accelerator: tiny\n\n1. tiny  *\n2. pair\n");
  EXPECT_THAT(SwitchModel(*cluster, "--all").output,
              HasSubstr("2. pair\n-  sixteen  (the server lacks some of its 16 devices)\n"));
  EXPECT_EQ(SwitchModel(*cluster, "sixteen").exit_code, 1);
  // The device has more: the session does not.
  auto session = BeginSession(*cluster);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ((*session)->accelerator_name(), "tiny");
  EXPECT_EQ((*session)->memory_bytes(), uint64_t{16} << 20);
}

TEST(SwitchModelTest, SaysWhyThereIsNoServer) {
  const CommandResult nameless = RunCommand("moreh-switch-model", {});
  EXPECT_EQ(nameless,
            (CommandResult{3, "",
                           "No server is named: set MOAI_SERVER to its address (host:port or "
                           "unix:/path)\n"}));
  const CommandResult absent =
      RunCommand("moreh-switch-model", {{"MOAI_SERVER", "unix:/no/such/socket"}});
  EXPECT_EQ(absent.exit_code, 3);
  EXPECT_THAT(absent.errors, HasSubstr("Cannot connect to the server at unix:/no/such/socket"));
}

TEST(SwitchModelTest, ShowsTheTokenToTheServer) {
  const std::string path = absl::StrCat(testing::TempDir(), "/token");
  std::ofstream(path) << "open sesame\n";
  const auto cluster = StartCluster({absl::StrCat("--client_token_file=", path)});
  ASSERT_NE(cluster, nullptr);
  const CommandResult refused = SwitchModel(*cluster, "--list");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.errors, HasSubstr("set MOAI_TOKEN"));
  EXPECT_EQ(RunCommand("moreh-switch-model --list",
                       {{"MOAI_SERVER", cluster->address()}, {"MOAI_TOKEN", "open sesame"}})
                .exit_code,
            0);
}

}  // namespace
}  // namespace moai
