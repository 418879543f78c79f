// moreh-smi with a real server, worker and program.
#include "absl/strings/str_cat.h"
#include "base/version.h"
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

std::unique_ptr<Cluster> StartCluster() {
  ClusterOptions options;
  options.devices = 2;
  options.worker_flags = {"--name=node1"};
  auto cluster = Cluster::Start(options);
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return cluster.ok() ? *std::move(cluster) : nullptr;
}

CommandResult Smi(const Cluster& cluster, const std::string& arguments = "",
                  const std::string& input = "") {
  return RunCommand(absl::StrCat("moreh-smi ", arguments), {{"MOAI_SERVER", cluster.address()}},
                    input);
}

nlohmann::json Status(const Cluster& cluster) {
  return nlohmann::json::parse(Smi(cluster, "--json").output);
}

absl::StatusOr<std::shared_ptr<GrpcSession>> BeginSession(const Cluster& cluster,
                                                          std::optional<uint32_t> device = {}) {
  GrpcSessionOptions options;
  options.address = cluster.address();
  options.process_name = "python train.py";
  options.visible_device = device;
  return GrpcSession::Connect(options);
}

TEST(SmiTest, ShowsAnIdleDevice) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(Smi(*cluster), (CommandResult{0, &R"(
+-----------------------------------------------------------------------------------------------------+
|                                                          Current Version: 0.1  Latest Version: 0.1  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|  * 0     |  MoAI Accelerator   |  Small.256MB     |       -        |  256 MiB       |       -       |
+-----------------------------------------------------------------------------------------------------+

Processes:
+--------------------------------------------------------------+
|  Device  |  Job ID  |    PID    |  Process  |  Memory Usage  |
+==============================================================+
|       -  |       -  |        -  |  -        |       -        |
+--------------------------------------------------------------+
)"[1],
                                          ""}));
  EXPECT_EQ(Smi(*cluster, "-p").output, &R"(
+----------------------------------------------------------------------------------------------+
|  Dev  |  Location  |  Dev Temp  |  Mem Temp  |  Dev Util  |  Mem Util  |      Mem Usage      |
+==============================================================================================+
|    0  |  node1:0   |     -      |     -      |     -      |     -      |     - / 256 MiB     |
|    1  |  node1:1   |     -      |     -      |     -      |     -      |     - / 256 MiB     |
+----------------------------------------------------------------------------------------------+
)"[1]);
}

TEST(SmiTest, ShowsARunningProgram) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  SessionClient client(cluster->address());
  const ObjectId a = client.Upload(std::vector<float>(1 << 20, 1.0f));
  const ObjectId b = client.Add(a, a);
  EXPECT_EQ(client.Read(b, 1 << 20)[0], 2.0f);
  const nlohmann::json status = Status(*cluster);
  ASSERT_EQ(status["processes"].size(), 1u);
  const nlohmann::json& process = status["processes"][0];
  EXPECT_EQ(process["pid"], getpid());
  EXPECT_EQ(process["job"], 1);
  EXPECT_EQ(process["model"], "Small.256MB");
  // Two tensors of 4 MiB, and the least of an arena.
  const int64_t used = process["memory_used_bytes"];
  EXPECT_GE(used, int64_t{8} << 20);
  EXPECT_LT(used, int64_t{9} << 20);
  EXPECT_EQ(status["devices"][0]["memory_used_bytes"], used);
  const double utilization = status["devices"][0]["utilization"];
  EXPECT_GE(utilization, 0);
  EXPECT_LE(utilization, 1);
  ASSERT_EQ(status["physical_devices"].size(), 2u);
  EXPECT_EQ(status["physical_devices"][0]["busy"], true);
  EXPECT_EQ(status["physical_devices"][0]["memory_used_bytes"], used);
  EXPECT_EQ(status["physical_devices"][1]["busy"], false);
  EXPECT_EQ(status["physical_devices"][1]["memory_used_bytes"], nullptr);
  EXPECT_THAT(Smi(*cluster).output, HasSubstr("|     9 MiB      |  256 MiB       |"));
}

TEST(SmiTest, StopsWhatRuns) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(Smi(*cluster, "--reset"),
            (CommandResult{1, "Device release failed. (Not running job.)\n", ""}));
  auto session = BeginSession(*cluster);
  ASSERT_TRUE(session.ok()) << session.status();
  const CommandResult table = Smi(*cluster);
  EXPECT_THAT(table.output, HasSubstr("|  python train.py  |"));
  EXPECT_EQ(Smi(*cluster, "-r"), (CommandResult{0, "Device release success.\n", ""}));
  EXPECT_EQ(Status(*cluster)["processes"].size(), 0u);
  EXPECT_EQ(Status(*cluster)["physical_devices"][0]["busy"], false);
  EXPECT_THAT(std::string((*session)->Synchronize().message()),
              HasSubstr("stopped by `moreh-smi --reset`"));
}

TEST(SmiTest, ManagesVirtualDevices) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  EXPECT_EQ(Smi(*cluster, "device --add Medium.512MB"),
            (CommandResult{0, "Create device success.\n", ""}));
  EXPECT_EQ(Smi(*cluster, "device --add", "1\n"),
            (CommandResult{0,
                           "1. Small.256MB\n2. Medium.512MB\n\nSelection (1-2, q, Q): Create "
                           "device success.\n",
                           ""}));
  EXPECT_EQ(Smi(*cluster, "device --switch 2"),
            (CommandResult{0, "Switch Current Device success.\n", ""}));
  EXPECT_EQ(Smi(*cluster, "device --list").output, &R"(
+-----------------------------------------------------------------------------------------------------+
|                                                          Current Version: 0.1  Latest Version: 0.1  |
+-----------------------------------------------------------------------------------------------------+
|  Device  |        Name         |       Model      |  Memory Usage  |  Total Memory  |  Utilization  |
+=====================================================================================================+
|    0     |  MoAI Accelerator   |  Small.256MB     |       -        |  256 MiB       |       -       |
|    1     |  MoAI Accelerator   |  Medium.512MB    |       -        |  512 MiB       |       -       |
|  * 2     |  MoAI Accelerator   |  Small.256MB     |       -        |  256 MiB       |       -       |
+-----------------------------------------------------------------------------------------------------+
)"[1]);
  // Programs run on the current device, or on the one that they name.
  auto current = BeginSession(*cluster);
  ASSERT_TRUE(current.ok()) << current.status();
  auto named = BeginSession(*cluster, 0);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(Status(*cluster)["processes"][0]["device"], 2);
  EXPECT_EQ(Status(*cluster)["processes"][1]["device"], 0);
  EXPECT_THAT(std::string(BeginSession(*cluster, 4).status().message()),
              HasSubstr("there is no virtual device 4"));
  const CommandResult in_use = Smi(*cluster, "device --rm 2");
  EXPECT_EQ(in_use.exit_code, 1);
  EXPECT_THAT(in_use.errors, HasSubstr("a program runs on virtual device 2"));
  EXPECT_EQ(Smi(*cluster, "--idx 0 --reset").output, "Device release success.\n");
  EXPECT_EQ(Status(*cluster)["processes"].size(), 1u);
  // A flavor can be switched where nothing runs, whatever runs elsewhere.
  EXPECT_EQ(RunCommand("moreh-switch-model -M 2",
                       {{"MOAI_SERVER", cluster->address()}, {"MOREH_VISIBLE_DEVICE", "0"}})
                .exit_code,
            0);
  EXPECT_EQ(Status(*cluster)["devices"][0]["model"], "Medium.512MB");
  EXPECT_EQ(Smi(*cluster, "device --rm 1"), (CommandResult{0, "Remove device success.\n", ""}));
  EXPECT_EQ(Status(*cluster)["devices"].size(), 2u);
}

TEST(SmiTest, TellsVersionsAndToken) {
  const auto cluster = StartCluster();
  ASSERT_NE(cluster, nullptr);
  const std::string version = absl::StrCat(kVersion, "\n");
  EXPECT_EQ(RunCommand("moreh-smi --version", {}), (CommandResult{0, version, ""}));
  EXPECT_EQ(Smi(*cluster, "-s"), (CommandResult{0, version, ""}));
  EXPECT_EQ(RunCommand("moreh-smi -t", {{"MOAI_SERVER", "unix:/x"}, {"MOAI_TOKEN", "abc"}}),
            (CommandResult{0, "abc\n", ""}));
  EXPECT_EQ(RunCommand("moreh-smi", {}).exit_code, 3);
  for (const char* wrong : {"-x", "device --add a b", "--list", "-r -p", "what", "-i x",
                            "device --rm x", "device --reset", "device --add --json"}) {
    EXPECT_EQ(Smi(*cluster, wrong).exit_code, 2) << wrong;
  }
  EXPECT_EQ(Smi(*cluster, "-i 3").exit_code, 1);
  EXPECT_THAT(RunCommand("moreh-smi",
                         {{"MOAI_SERVER", cluster->address()}, {"MOREH_VISIBLE_DEVICE", "all"}})
                  .errors,
              HasSubstr("MOREH_VISIBLE_DEVICE is \"all\""));
}

}  // namespace
}  // namespace moai
