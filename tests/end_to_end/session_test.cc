// Raw sessions through real processes: client, server, worker daemon, executor.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/session/grpc_session.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/session_client.h"

namespace moai {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SessionTest, UploadStepRead) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  const ObjectId x = client.Upload({1, 2, 3});
  const ObjectId y = client.Add(x, x);
  EXPECT_THAT(client.Read(y, 3), ElementsAre(2, 4, 6));
  EXPECT_EQ(client.session().memory_bytes(), uint64_t{256} << 20);
}

TEST(SessionTest, LargeTensorsTravelBesideTheControlStream) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  for (const bool shared_memory : {true, false}) {
    SessionClient client((*cluster)->address(), shared_memory);
    std::vector<float> numbers(3 << 20);
    std::iota(numbers.begin(), numbers.end(), 0.0f);
    const ObjectId x = client.Upload(numbers);
    const ObjectId y = client.Add(x, x);
    std::vector<float> expected = numbers;
    for (float& number : expected) number *= 2;
    EXPECT_EQ(client.Read(y, numbers.size()), expected);
    EXPECT_EQ(client.Read(x, numbers.size()), numbers);
  }
}

// Clients upload a feed of more than 64 KiB as plain bytes, without the dtype and shape that the
// graph takes it as.
TEST(SessionTest, LargeFeedsTravelBesideTheControlStream) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  const ObjectId table = client.Upload({1, 2, 3, 4}, Shape{4, 1});
  std::vector<int64_t> indices(20000);  // 160 KB
  std::vector<float> expected(indices.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    indices[i] = static_cast<int64_t>(i * i % 4);
    expected[i] = static_cast<float>(1 + indices[i]);
  }
  const ObjectId found = client.LookUpAndAdd(table, indices);
  EXPECT_EQ(client.Read(found, indices.size()), expected);
  // The same graph again, with other bytes.
  for (float& number : expected) ++number;
  std::reverse(indices.begin(), indices.end());
  std::reverse(expected.begin(), expected.end());
  const ObjectId again = client.LookUpAndAdd(table, indices);
  EXPECT_EQ(client.Read(again, indices.size()), expected);
}

TEST(SessionTest, ABadIndexCostsItsStepAndLeavesSlotsUntouched) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  const ObjectId table = client.Upload({1, 2, 3, 4}, Shape{4, 1});
  const ObjectId good = client.LookUpAndAdd(table, {0, 3});
  EXPECT_THAT(client.Read(good, 2), ElementsAre(1, 4));
  EXPECT_THAT(client.Read(table, 4), ElementsAre(2, 3, 4, 5));
  const ObjectId bad = client.LookUpAndAdd(table, {0, 9999});
  const absl::Status status = client.ReadError(bad, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("embedding: index 9999 is outside [0, 4)"));
  EXPECT_THAT(client.Read(table, 4), ElementsAre(2, 3, 4, 5));
  // What depends on the failed step fails likewise; what does not runs.
  const ObjectId dependent = client.Add(bad, bad);
  EXPECT_THAT(client.ReadError(dependent, 2).message(), HasSubstr("embedding: index 9999"));
  EXPECT_THAT(client.session().Synchronize().message(), HasSubstr("embedding: index 9999"));
  EXPECT_TRUE(client.session().Synchronize().ok());
  const ObjectId after = client.LookUpAndAdd(table, {1, 1});
  EXPECT_THAT(client.Read(after, 2), ElementsAre(3, 3));
}

TEST(SessionTest, WhatDoesNotFitIsRefusedBeforeItRuns) {
  auto cluster = Cluster::Start({.device_memory = "1MiB"});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  std::vector<float> numbers(100000, 1.0f);
  const ObjectId x = client.Upload(numbers);
  const ObjectId y = client.Add(x, x);  // 2 x 400,000 bytes and the arena: fits
  const ObjectId z = client.Add(x, y);  // does not
  EXPECT_EQ(client.Read(y, numbers.size())[5], 2);
  const absl::Status status = client.ReadError(z, numbers.size());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("step 2: the step needs"));
  EXPECT_THAT(status.message(), HasSubstr(absl::StrCat((1 << 20) - 2 * 401408, " bytes)")));
  // Room makes the same step possible.
  client.session().Release({y});
  const ObjectId again = client.Add(x, x);
  EXPECT_EQ(client.Read(again, numbers.size())[7], 2);
  const ObjectId huge = client.Upload(std::vector<float>(1 << 20, 0.0f));
  EXPECT_EQ(client.ReadError(huge, 1 << 20).code(), absl::StatusCode::kResourceExhausted);
}

TEST(SessionTest, TheExecutorGrowsByWhatThePlanSays) {
  auto cluster = Cluster::Start({.device_memory = "1GiB"});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  // Everything but the tensors is there: threads, libraries, a first program.
  const ObjectId small = client.Upload({1, 2});
  EXPECT_THAT(client.Read(client.Add(small, small), 2), ElementsAre(2, 4));
  const pid_t executor = (*cluster)->executors().at(0);
  const int64_t before = *AnonymousBytes(executor);
  constexpr int64_t kElements = 10 << 20;
  const ObjectId x = client.Upload(std::vector<float>(kElements, 1.0f));
  ObjectId y = client.Add(x, x);
  // Results come and go; two of them, and x, are alive at once.
  for (int i = 0; i < 20; ++i) {
    const ObjectId next = client.Add(x, y);
    client.session().Release({y});
    y = next;
  }
  ASSERT_TRUE(client.session().Synchronize().ok());
  const double planned = 3.0 * kElements * sizeof(float);
  EXPECT_NEAR(double(*AnonymousBytes(executor) - before) / planned, 1, 0.05);
}

TEST(SessionTest, AKilledExecutorEndsItsSessionOnly) {
  auto cluster = Cluster::Start({.devices = 2});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient first((*cluster)->address());
  const ObjectId a = first.Upload({1, 2});
  EXPECT_THAT(first.Read(first.Add(a, a), 2), ElementsAre(2, 4));
  const std::vector<pid_t> executors = (*cluster)->executors();
  ASSERT_EQ(executors.size(), 1u);
  SessionClient second((*cluster)->address());
  const ObjectId b = second.Upload({5, 6});
  EXPECT_THAT(second.Read(second.Add(b, b), 2), ElementsAre(10, 12));

  kill(executors[0], SIGKILL);
  // The next answers tell, whether the server has learnt of it already or not.
  absl::Status status = first.session().Synchronize();
  if (status.ok()) status = first.ReadError(a, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("executor"));
  EXPECT_THAT(second.Read(second.Add(b, b), 2), ElementsAre(10, 12));
}

TEST(SessionTest, ADeviceServesOneSessionAfterAnother) {
  auto cluster = Cluster::Start();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  for (int i = 0; i < 3; ++i) {
    SessionClient client((*cluster)->address());
    const ObjectId x = client.Upload({float(i)});
    EXPECT_THAT(client.Read(client.Add(x, x), 1), ElementsAre(2 * i));
    // While it lasts, nobody else gets the device.
    EXPECT_THAT(GrpcSession::Connect({.address = (*cluster)->address()}).status().message(),
                HasSubstr("every device of this server is in use"));
  }
}

TEST(SessionTest, AProgramMayStartAsSoonAsAnotherHasEnded) {
  auto cluster = Cluster::Start({.server_flags = {"--stream_threads=4"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  for (int i = 0; i < 200; ++i) {
    auto session = GrpcSession::Connect({.address = (*cluster)->address()});
    ASSERT_TRUE(session.ok()) << "session " << i << ": " << session.status();
  }
  // With a plan on its way while it ends.
  for (int i = 0; i < 20; ++i) {
    SessionClient client((*cluster)->address());
    const ObjectId x = client.Upload({1, 2});
    client.Add(x, x);
  }
}

TEST(SessionTest, AClientThatDisappearsIsReaped) {
  auto cluster = Cluster::Start({.server_flags = {"--lease_seconds=1"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const pid_t child = fork();
  if (child == 0) {
    // Never ends its session.
    SessionClient client((*cluster)->address());
    const ObjectId x = client.Upload({1});
    _exit(client.Read(client.Add(x, x), 1)[0] == 2 ? 0 : 1);
  }
  int exit_status = -1;
  waitpid(child, &exit_status, 0);
  EXPECT_EQ(exit_status, 0);
  // The device comes free when the lease is over.
  absl::StatusOr<std::shared_ptr<GrpcSession>> session;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  do {
    usleep(20000);
    session = GrpcSession::Connect({.address = (*cluster)->address()});
  } while (!session.ok() && std::chrono::steady_clock::now() < give_up);
  EXPECT_TRUE(session.ok()) << session.status();
}

TEST(SessionTest, ProcessesEndCleanly) {
  auto cluster = Cluster::Start({.server_flags = {"--lease_seconds=1"}});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  auto client = std::make_unique<SessionClient>((*cluster)->address());
  const ObjectId x = client->Upload({1});
  EXPECT_THAT(client->Read(x, 1), ElementsAre(1));
  EXPECT_EQ((*cluster)->StopWorkers(), 0);
  EXPECT_THAT(client->session().Synchronize().message(),
              AnyOf(HasSubstr("worker"), HasSubstr("executor")));
  EXPECT_EQ((*cluster)->StopServer(), 0);
  EXPECT_FALSE(client->session().Synchronize().ok());
}

}  // namespace
}  // namespace moai
