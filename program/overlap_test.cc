#include "program/overlap.h"

#include <gtest/gtest.h>

#include <vector>

namespace moai {
namespace {

// A program of instructions over arena buffers, each of its own memory but where said.
class Instructions {
 public:
  explicit Instructions(size_t buffers) {
    program.buffers.resize(buffers);
    for (BufferId id = 0; id < buffers; ++id) homes_.push_back(id);
  }
  void Share(BufferId buffer, BufferId home) { homes_[buffer] = home; }
  void Add(Op op, BufferId input, BufferId output) {
    Instruction& added = program.instructions.emplace_back();
    added.op = op;
    added.inputs.push_back({.buffer = input});
    added.outputs.push_back({.buffer = output});
    program.commit_point = static_cast<uint32_t>(program.instructions.size());
  }
  std::vector<uint32_t> Overlap() { return OverlapCollectives(homes_, program); }
  std::vector<bool> Overlapped() const {
    std::vector<bool> overlapped;
    for (const Instruction& i : program.instructions) overlapped.push_back(i.overlapped);
    return overlapped;
  }
  std::vector<uint32_t> Before() const {
    std::vector<uint32_t> before;
    for (const Instruction& i : program.instructions) before.push_back(i.overlapped_before);
    return before;
  }

  Program program;

 private:
  std::vector<BufferId> homes_;
};

TEST(OverlapTest, AnInPlaceSumIsCompleteBeforeItsFirstUse) {
  Instructions p(4);
  p.Share(1, 0);
  p.Add(Op::kAllReduce, 0, 1);
  p.Add(Op::kNeg, 2, 2);
  p.Add(Op::kNeg, 1, 3);
  p.Add(Op::kNeg, 3, 3);
  EXPECT_EQ(p.Overlap(), (std::vector<uint32_t>{2, 0, 0, 0}));
  EXPECT_EQ(p.Overlapped(), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(p.Before(), (std::vector<uint32_t>{0, 0, 1, 1}));
}

TEST(OverlapTest, OthersAreCompleteAtOnce) {
  Instructions p(6);
  p.Share(3, 2);
  p.Share(5, 4);
  p.Add(Op::kAllReduce, 0, 1);      // not in place
  p.Add(Op::kReduceScatter, 2, 3);  // of another shape
  p.Add(Op::kAllReduce, 4, 5);      // used by the next
  p.Add(Op::kNeg, 5, 5);
  p.Add(Op::kNeg, 1, 3);
  EXPECT_EQ(p.Overlap(), std::vector<uint32_t>(5, 0));
  EXPECT_EQ(p.Before(), std::vector<uint32_t>(5, 0));
}

// Nothing would run beside it.
TEST(OverlapTest, CollectivesDoNotOverlapCollectivesAlone) {
  Instructions p(4);
  p.Share(1, 0);
  p.Add(Op::kAllReduce, 0, 1);
  p.Add(Op::kAllGather, 2, 3);
  p.Add(Op::kNeg, 1, 1);
  EXPECT_EQ(p.Overlap(), std::vector<uint32_t>(3, 0));
}

TEST(OverlapTest, AnotherCollectiveWaitsForThoseBeforeIt) {
  Instructions p(6);
  p.Share(1, 0);
  p.Share(3, 2);
  p.Add(Op::kAllReduce, 0, 1);
  p.Add(Op::kNeg, 4, 4);
  p.Add(Op::kAllReduce, 2, 3);  // goes on after the first
  p.Add(Op::kNeg, 4, 4);
  p.Add(Op::kAllGather, 4, 5);
  p.Add(Op::kNeg, 1, 1);
  p.Add(Op::kNeg, 3, 3);
  EXPECT_EQ(p.Overlap(), (std::vector<uint32_t>{5, 0, 6, 0, 0, 0, 0}));
  EXPECT_EQ(p.Before(), (std::vector<uint32_t>{0, 0, 0, 0, 2, 2, 2}));
}

TEST(OverlapTest, GoesOnBeyondTheCommitPoint) {
  Instructions p(4);
  p.Share(1, 0);
  p.Add(Op::kAllReduce, 0, 1);
  p.Add(Op::kNeg, 2, 2);
  p.Add(Op::kNeg, 3, 3);
  p.Add(Op::kNeg, 1, 1);
  p.program.commit_point = 2;
  EXPECT_EQ(p.Overlap(), (std::vector<uint32_t>{3, 0, 0, 0}));
  EXPECT_EQ(p.Before(), (std::vector<uint32_t>{0, 0, 0, 1}));
}

// Its memory would have to be kept for nobody.
TEST(OverlapTest, ASumThatNobodyReadsIsCompleteAtOnce) {
  Instructions p(3);
  p.Share(1, 0);
  p.Add(Op::kAllReduce, 0, 1);
  p.Add(Op::kNeg, 2, 2);
  EXPECT_EQ(p.Overlap(), std::vector<uint32_t>(2, 0));
}

}  // namespace
}  // namespace moai
