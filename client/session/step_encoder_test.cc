#include "client/session/step_encoder.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// What the server remembers of one graph, by the comments of proto/session.proto.
struct Decoder {
  Sizes sizes;
  std::vector<ObjectId> slots;
  std::vector<int64_t> scalars;

  static std::vector<ObjectId> Expand(
      const google::protobuf::RepeatedPtrField<proto::IdRange>& ranges) {
    std::vector<ObjectId> ids;
    for (const proto::IdRange& range : ranges) {
      for (uint64_t i = 0; i < range.count(); ++i) ids.push_back(range.first() + i);
    }
    return ids;
  }

  void Take(const proto::Step& step) {
    if (!step.same_sizes()) sizes.assign(step.sizes().begin(), step.sizes().end());
    if (!step.same_slots()) slots = Expand(step.slots());
    for (int i = 0; i < step.scalar_positions_size(); ++i) {
      scalars.resize(std::max<size_t>(scalars.size(), step.scalar_positions(i) + 1));
      scalars[step.scalar_positions(i)] = static_cast<int64_t>(step.scalar_bits(i));
    }
  }
};

// Steps of several graphs, each like the one before or not, arrive as they were sent.
TEST(StepEncoder, LeavesOutOnlyWhatTheServerKnows) {
  std::mt19937 random(5);
  const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  StepEncoder encoder;
  Decoder decoders[3];
  StepRequest requests[3];
  for (uint64_t number = 1; number <= 2000; ++number) {
    const size_t graph = random() % 3;
    StepRequest& request = requests[graph];
    request.fingerprint = {graph, graph};
    EXPECT_EQ(encoder.FirstUse(request.fingerprint), request.slots.empty());
    if (request.slots.empty() || chance(20)) {
      request.slots.clear();
      for (int i = 0; i < 5; ++i) request.slots.push_back(random() % 4 + 1 + 4 * i);
    }
    if (chance(20)) request.sizes = {int64_t(random() % 3), 7, -1};
    request.values.clear();
    for (size_t i = random() % 4; i > 0; --i) request.values.push_back(random() % 5 + 1);
    request.scalars.resize(3);
    for (Scalar& scalar : request.scalars) {
      if (chance(30)) scalar.i64 = static_cast<int64_t>(random()) - 1000;
    }
    request.first_output = random();

    proto::Step message;
    encoder.Encode(request, number, message);
    decoders[graph].Take(message);
    EXPECT_EQ(message.step(), number);
    EXPECT_EQ(decoders[graph].sizes, request.sizes);
    EXPECT_EQ(decoders[graph].slots, request.slots);
    EXPECT_EQ(Decoder::Expand(message.values()), request.values);
    ASSERT_EQ(decoders[graph].scalars.size(), request.scalars.size());
    for (size_t i = 0; i < request.scalars.size(); ++i) {
      EXPECT_EQ(decoders[graph].scalars[i], request.scalars[i].i64);
    }
    EXPECT_EQ(message.first_output(), request.first_output);
  }
}

TEST(StepEncoder, KeepsASteadyStepOfALargeModelSmall) {
  StepEncoder encoder;
  StepRequest request;
  request.fingerprint = {~uint64_t{0}, ~uint64_t{0}};
  for (ObjectId id = 1; id <= 3000; ++id) request.slots.push_back(id * 3);
  request.sizes.assign(20000, 4096);
  request.scalars.resize(4);
  for (uint64_t number = 1; number <= 3; ++number) {
    for (Scalar& scalar : request.scalars) scalar.f64 = 1.0 / static_cast<double>(number);
    request.values = {1000000 + number};
    request.first_output = 2000000 + number;
    encoder.FirstUse(request.fingerprint);
    proto::ClientMessage message;
    encoder.Encode(request, number, *message.mutable_step());
    if (number > 1) {
      EXPECT_LT(message.ByteSizeLong(), 128u);
    }
  }
}

}  // namespace
}  // namespace moai
