// What the other tests of this folder rest on: a difference is noticed.
#include "tests/parity/tee_session.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "client/moai.h"
#include "client/testing/reference_session.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// An accelerator with a fault: one bit of what it gives is wrong.
class Faulty : public ReferenceSession {
 public:
  absl::Status Read(ObjectId id, absl::Span<std::byte> destination) override {
    absl::Status status = ReferenceSession::Read(id, destination);
    if (wrong_ && !destination.empty()) destination[0] ^= std::byte{4};
    if (fails_) return absl::InternalError("it fails");
    return status;
  }
  bool wrong_ = false;
  bool fails_ = false;
};

class TeeSessionTest : public ::testing::Test {
 protected:
  std::shared_ptr<Faulty> real_ = std::make_shared<Faulty>();
  std::shared_ptr<TeeSession> tee_ = std::make_shared<TeeSession>(real_);
  Accelerator accelerator_ = Accelerator::Attach(tee_);
};

TEST_F(TeeSessionTest, EqualSidesAgree) {
  const Tensor x = Arange(4, Dtype::kI32);
  const Tensor y = x + x;
  EXPECT_EQ(*y.ToVector<int32_t>(), (std::vector<int32_t>{0, 2, 4, 6}));
  EXPECT_TRUE(tee_->CompareAll().ok());
  EXPECT_EQ(tee_->compared(), 2);
  EXPECT_TRUE(tee_->covered().contains({Op::kAdd, Dtype::kI32}));
  EXPECT_TRUE(tee_->covered().contains({Op::kIota, Dtype::kI32}));
}

TEST_F(TeeSessionTest, NoticesAWrongElement) {
  real_->wrong_ = true;
  const Tensor y = Arange(4, Dtype::kI32);
  EXPECT_TRUE(y.ToVector<int32_t>().ok());
  EXPECT_FALSE(tee_->difference().ok());
}

TEST_F(TeeSessionTest, NoticesAWrongElementOfWhatIsReleasedUnread) {
  real_->wrong_ = true;
  {
    const Tensor y = Arange(4, Dtype::kI32);
    EXPECT_TRUE(accelerator_.Synchronize().ok());
    EXPECT_TRUE(tee_->difference().ok());
  }
  const Tensor z = Arange(5, Dtype::kI32);
  EXPECT_TRUE(accelerator_.Synchronize().ok());  // sends the release
  EXPECT_FALSE(tee_->difference().ok());
}

TEST_F(TeeSessionTest, NoticesAnErrorOfOneSide) {
  real_->fails_ = true;
  const Tensor y = Arange(4, Dtype::kI32);
  EXPECT_FALSE(y.ToVector<int32_t>().ok());
  EXPECT_FALSE(tee_->difference().ok());
}

TEST_F(TeeSessionTest, AnUnusedResultIsNotCovered) {
  (void)Exp(Ones({3}));
  const Tensor y = Sin(Ones({3}));
  EXPECT_TRUE(y.ToVector<float>().ok());
  EXPECT_TRUE(tee_->covered().contains({Op::kSin, Dtype::kF32}));
  EXPECT_FALSE(tee_->covered().contains({Op::kExp, Dtype::kF32}));
}

TEST(RoundingDifferenceTest, AllowsRoundingOnly) {
  const auto compare = [](float real, double reference) {
    Comparison comparison{.type = {Dtype::kF32, {1}}, .coarsest = Dtype::kF32};
    comparison.real.resize(4);
    std::memcpy(comparison.real.data(), &real, 4);
    comparison.reference = {.type = comparison.type, .floats = {reference}};
    return RoundingDifference(comparison);
  };
  EXPECT_EQ(compare(1.00001f, 1), "");
  EXPECT_NE(compare(1.001f, 1), "");
  EXPECT_NE(compare(NAN, 1), "");
  EXPECT_NE(compare(INFINITY, 1), "");
  EXPECT_NE(compare(1, NAN), "");
  EXPECT_EQ(compare(NAN, NAN), "");
}

}  // namespace
}  // namespace moai
