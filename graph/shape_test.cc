#include "graph/shape.h"

#include <gtest/gtest.h>

#include "graph/dtype.h"

namespace moai {
namespace {

TEST(ShapeTest, InsertsAndErases) {
  Shape shape = {2, 3};
  shape.Insert(0, 5);
  shape.Insert(3, 7);
  EXPECT_EQ(shape, (Shape{5, 2, 3, 7}));
  shape.Erase(1);
  shape.Erase(2);
  EXPECT_EQ(shape, (Shape{5, 3}));  // also what lies past the rank
  EXPECT_EQ(ToString(shape), "[5, 3]");
  EXPECT_EQ(ToString(TensorType{Dtype::kBF16, shape}), "bf16[5, 3]");
}

TEST(ShapeTest, DenseStridesAreRowMajor) {
  EXPECT_EQ(DenseStrides({2, 3, 4}), (Shape{12, 4, 1}));
  EXPECT_EQ(DenseStrides({}), Shape());
  EXPECT_EQ(DenseStrides({5, 0, 4}), (Shape{0, 4, 1}));
}

TEST(ShapeTest, LimitsCountEmptyDimsAsOne) {
  EXPECT_TRUE(WithinLimits({}));
  EXPECT_TRUE(WithinLimits({0, 0}));
  EXPECT_TRUE(WithinLimits({kMaxElements}));
  EXPECT_TRUE(WithinLimits({0, kMaxElements}));
  EXPECT_TRUE(WithinLimits({kMaxElements / 4, 4}));
  EXPECT_FALSE(WithinLimits({kMaxElements / 4, 5}));
  EXPECT_FALSE(WithinLimits({kMaxElements + 1}));
  EXPECT_FALSE(WithinLimits({-1}));
  EXPECT_FALSE(WithinLimits({0, kMaxElements, 2}));
  EXPECT_FALSE(WithinLimits({INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}));
}

TEST(DtypeTest, NamesAreInverse) {
  for (Dtype dtype : kAllDtypes) {
    EXPECT_EQ(DtypeFromName(Name(dtype)), dtype);
    EXPECT_TRUE(IsValid(dtype));
    EXPECT_GT(ByteSize(dtype), 0);
    EXPECT_EQ(IsFloat(dtype) + IsInteger(dtype) + (dtype == Dtype::kBool), 1);
  }
  EXPECT_FALSE(IsValid(Dtype{0}));
  EXPECT_FALSE(IsValid(Dtype{9}));
  EXPECT_EQ(DtypeFromName("f8"), std::nullopt);
}

}  // namespace
}  // namespace moai
