#include "worker/collectives/combine.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "worker/collectives/testing/collective_case.h"

namespace moai {
namespace {

constexpr ReduceKind kReductions[] = {ReduceKind::kSum,  ReduceKind::kMax, ReduceKind::kMin,
                                      ReduceKind::kProd, ReduceKind::kAnd, ReduceKind::kOr};

TEST(Combine, IsTheReferenceInOrder) {
  std::mt19937 random(3);
  for (const Dtype dtype : kAllDtypes) {
    for (const ReduceKind reduce : kReductions) {
      if (!CanCombine(dtype, reduce)) continue;
      for (const int64_t count : {0, 1, 7, 1024, 2500}) {
        for (const size_t members : {1, 2, 5}) {
          std::vector<Bytes> terms;
          std::vector<const std::byte*> pointers;
          for (size_t i = 0; i < members; ++i) {
            terms.push_back(RandomElements(random, dtype, count));
          }
          for (const Bytes& term : terms) pointers.push_back(term.data());
          const Bytes expected = ReferenceReduce(dtype, reduce, terms);
          // In place of the last term.
          Combine(dtype, reduce, pointers, count, terms.back().data());
          EXPECT_TRUE(SameElements(dtype, terms.back(), expected))
              << Name(dtype) << " reduction " << static_cast<int>(reduce) << " of " << count
              << " elements, " << members << " members";
        }
      }
    }
  }
}

TEST(Combine, KnowsWhatDtypesHave) {
  for (const Dtype dtype : kAllDtypes) {
    EXPECT_FALSE(CanCombine(dtype, ReduceKind::kNone));
    EXPECT_EQ(CanCombine(dtype, ReduceKind::kSum), dtype != Dtype::kBool);
    EXPECT_TRUE(CanCombine(dtype, ReduceKind::kMax));
    EXPECT_EQ(CanCombine(dtype, ReduceKind::kOr), !IsFloat(dtype));
  }
}

// 1 + 2^-8 + 2^-8 in bf16: each rounded alone stays 1, and so would the sum of rounded sums.
TEST(Combine, RoundsSixteenBitFloatsOnce) {
  const uint16_t one = 0x3f80, small = 0x3b80;
  const std::byte* terms[] = {reinterpret_cast<const std::byte*>(&one),
                              reinterpret_cast<const std::byte*>(&small),
                              reinterpret_cast<const std::byte*>(&small)};
  uint16_t sum = 0;
  Combine(Dtype::kBF16, ReduceKind::kSum, terms, 1, reinterpret_cast<std::byte*>(&sum));
  EXPECT_EQ(sum, 0x3f81);
}

}  // namespace
}  // namespace moai
