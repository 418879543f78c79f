// Sessions of several devices through real processes: one worker process with all of them, one
// device on each of several workers, and both.
#include <signal.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/session/grpc_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/session_client.h"

namespace moai {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct ClusterShape {
  int workers = 1;
  int devices = 1;  // of each
  bool replicate = false;
};

absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterShape& shape,
                                               const std::string& device_memory = "256MiB") {
  return Cluster::Start({.workers = shape.workers,
                         .devices = shape.devices,
                         .devices_per_session = shape.workers * shape.devices,
                         .device_memory = device_memory,
                         .server_flags = {shape.replicate ? "--replicate" : "--noreplicate"}});
}

class SeveralDevicesTest : public ::testing::TestWithParam<ClusterShape> {
 protected:
  void SetUp() override {
    auto cluster = Start(GetParam());
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
  }
  void TearDown() override {
    if (HasFailure() && cluster_ != nullptr) fprintf(stderr, "%s", cluster_->Log().c_str());
  }

  int devices() const { return GetParam().workers * GetParam().devices; }

  std::unique_ptr<Cluster> cluster_;
};

INSTANTIATE_TEST_SUITE_P(Shapes, SeveralDevicesTest,
                         ::testing::Values(ClusterShape{1, 2, true}, ClusterShape{2, 1, true},
                                           ClusterShape{2, 2, true}, ClusterShape{1, 2},
                                           ClusterShape{2, 1}, ClusterShape{2, 2}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.workers, "Workers", info.param.devices,
                                               "Devices",
                                               info.param.replicate ? "Replicated" : "Planned");
                         });

TEST_P(SeveralDevicesTest, UploadStepRead) {
  SessionClient client(cluster_->address());
  EXPECT_EQ(client.session().memory_bytes(), uint64_t(devices()) * (256 << 20));
  const ObjectId x = client.Upload({1, 2, 3});
  EXPECT_THAT(client.Read(x, 3), ElementsAre(1, 2, 3));
  EXPECT_EQ(cluster_->executors().size(), size_t(GetParam().workers));
  const ObjectId y = client.Add(x, x);
  const ObjectId z = client.Add(x, y);
  EXPECT_THAT(client.Read(z, 3), ElementsAre(3, 6, 9));
  EXPECT_THAT(client.Read(x, 3), ElementsAre(1, 2, 3));
  client.session().Release({x, y});
  EXPECT_THAT(client.Read(client.Add(z, z), 3), ElementsAre(6, 12, 18));
}

TEST_P(SeveralDevicesTest, LargeTensorsTravelBesideTheControlStream) {
  for (const bool shared_memory : {true, false}) {
    SessionClient client(cluster_->address(), shared_memory);
    std::vector<float> numbers(1 << 20);
    std::iota(numbers.begin(), numbers.end(), 0.0f);
    const ObjectId x = client.Upload(numbers);
    const ObjectId y = client.Add(x, x);
    std::vector<float> expected = numbers;
    for (float& number : expected) number *= 2;
    EXPECT_EQ(client.Read(y, numbers.size()), expected);
    EXPECT_EQ(client.Read(x, numbers.size()), numbers);
    client.session().Release({x, y});
  }
}

TEST_P(SeveralDevicesTest, UploadedFeedsReachEveryDevice) {
  SessionClient client(cluster_->address());
  const ObjectId table = client.Upload({1, 2, 3, 4}, Shape{4, 1});
  constexpr int64_t kIndices = 20000;  // 160,000 bytes: more than travels inside a message
  std::vector<int64_t> indices(kIndices);
  for (int64_t i = 0; i < kIndices; ++i) indices[size_t(i)] = i % 4;
  const ObjectId found = client.LookUpAndAdd(table, indices);
  const std::vector<float> rows = client.Read(found, kIndices);
  for (int64_t i = 0; i < kIndices; ++i) ASSERT_EQ(rows[size_t(i)], float(i % 4 + 1));
  EXPECT_THAT(client.Read(table, 4), ElementsAre(2, 3, 4, 5));
}

TEST_P(SeveralDevicesTest, ABadIndexCostsItsStepAndLeavesSlotsUntouched) {
  SessionClient client(cluster_->address());
  const ObjectId table = client.Upload({1, 2, 3, 4}, Shape{4, 1});
  EXPECT_THAT(client.Read(client.LookUpAndAdd(table, {0, 3}), 2), ElementsAre(1, 4));
  const ObjectId bad = client.LookUpAndAdd(table, {0, 9999});
  const absl::Status status = client.ReadError(bad, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("step 2: embedding: index 9999 is outside [0, 4)"));
  EXPECT_THAT(client.Read(table, 4), ElementsAre(2, 3, 4, 5));
  const ObjectId dependent = client.Add(bad, bad);
  EXPECT_THAT(client.ReadError(dependent, 2).message(), HasSubstr("embedding: index 9999"));
  EXPECT_THAT(client.session().Synchronize().message(), HasSubstr("embedding: index 9999"));
  EXPECT_TRUE(client.session().Synchronize().ok());
  EXPECT_THAT(client.Read(client.LookUpAndAdd(table, {1, 1}), 2), ElementsAre(3, 3));
}

TEST_P(SeveralDevicesTest, AKilledExecutorEndsTheSession) {
  SessionClient client(cluster_->address());
  const ObjectId x = client.Upload({1, 2});
  EXPECT_THAT(client.Read(client.Add(x, x), 2), ElementsAre(2, 4));
  const std::vector<pid_t> executors = cluster_->executors();
  kill(executors.back(), SIGKILL);
  absl::Status status;
  // The next answers tell, whether the server has learnt of it already or not.
  for (int i = 0; i < 2 && status.ok(); ++i) {
    const ObjectId y = client.Add(x, x);
    status = client.session().Synchronize();
    if (status.ok()) status = client.ReadError(y, 2);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(status.message(), HasSubstr("executor"));
}

TEST_P(SeveralDevicesTest, OneSessionAfterAnother) {
  for (int i = 0; i < 3; ++i) {
    SessionClient client(cluster_->address());
    const ObjectId x = client.Upload({float(i)});
    EXPECT_THAT(client.Read(client.Add(x, x), 1), ElementsAre(2 * i));
    EXPECT_THAT(GrpcSession::Connect({.address = cluster_->address()}).status().message(),
                HasSubstr("every device of this server is in use"));
  }
}

// A lookup, two layers, dropout and AdamW: the losses and the parameters after some steps.
absl::StatusOr<std::vector<std::vector<float>>> Train(const Cluster& cluster) {
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = cluster.address(), .log = false}));
  constexpr int64_t kWidth = 128, kBatch = 24, kSteps = 5;
  ManualSeed(3);
  nn::Linear first(kWidth, 2 * kWidth), second(2 * kWidth, 1);
  std::vector<nn::NamedTensor> parameters;
  for (const auto& [name, layer] : {std::pair("first.", &first), std::pair("second.", &second)}) {
    for (const nn::NamedTensor& tensor : layer->NamedParameters()) {
      parameters.push_back({absl::StrCat(name, tensor.name), tensor.tensor});
    }
  }
  optim::AdamW optimizer(parameters, {.learning_rate = 1e-2});
  std::vector<std::vector<float>> numbers(1);
  for (int step = 0; step < kSteps; ++step) {
    const Tensor x = Normal({kBatch, kWidth});
    const Tensor y = second.Forward(Relu(first.Forward(x)));
    const Tensor loss = Mean(y * y);
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step());
    optimizer.ZeroGrad();
    MOAI_ASSIGN_OR_RETURN(const double value, loss.Item());
    numbers[0].push_back(float(value));
  }
  for (const nn::NamedTensor& parameter : parameters) {
    MOAI_ASSIGN_OR_RETURN(std::vector<float> values, parameter.tensor.ToVector<float>());
    numbers.push_back(std::move(values));
  }
  MOAI_RETURN_IF_ERROR(accelerator.Synchronize());
  return numbers;
}

TEST_P(SeveralDevicesTest, TrainsLikeOneDevice) {
  auto alone = Start({1, 1});
  ASSERT_TRUE(alone.ok()) << alone.status();
  const auto expected = Train(**alone);
  ASSERT_TRUE(expected.ok()) << expected.status();
  const auto got = Train(*cluster_);
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_EQ(got->size(), expected->size());
  for (size_t i = 0; i < got->size(); ++i) {
    ASSERT_EQ((*got)[i].size(), (*expected)[i].size());
    for (size_t k = 0; k < (*got)[i].size(); ++k) {
      // The planner's own plans sum in another order.
      const float tolerance = GetParam().replicate ? 0 : 1e-5f;
      ASSERT_NEAR((*got)[i][k], (*expected)[i][k], tolerance) << "tensor " << i << " at " << k;
    }
  }
  EXPECT_NE((*got)[0].front(), (*got)[0].back());
}

TEST(SeveralDevicesRefusalTest, WhatDoesNotFitIsRefusedBeforeItRuns) {
  auto cluster = Start({1, 2, /*replicate=*/true}, "1MiB");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  SessionClient client((*cluster)->address());
  std::vector<float> numbers(50000, 1.0f);
  const ObjectId x = client.Upload(numbers);
  const ObjectId y = client.Add(x, x);
  ObjectId z = y;
  absl::Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    z = client.Add(x, z);
    status = client.ReadError(z, numbers.size());
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(status.message(), AnyOf(HasSubstr("device 0 of the accelerator's 2 has 1.00 MiB"),
                                      HasSubstr("device 1 of the accelerator's 2 has 1.00 MiB")));
  EXPECT_EQ(client.Read(y, numbers.size())[5], 2);
}

TEST(SeveralDevicesRefusalTest, ASessionNeedsAsManyDevicesAsItsAccelerator) {
  auto cluster = Cluster::Start({.workers = 1, .devices = 2, .devices_per_session = 3});
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_THAT(GrpcSession::Connect({.address = (*cluster)->address()}).status().message(),
              HasSubstr("3 devices"));
}

}  // namespace
}  // namespace moai
