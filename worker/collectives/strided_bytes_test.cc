#include "worker/collectives/strided_bytes.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace moai {
namespace {

// Offsets of a piece's bytes, in order.
std::vector<int64_t> Offsets(const StridedBytes& piece) {
  std::vector<int64_t> offsets;
  for (int64_t a = 0; a < piece.extents[0]; ++a) {
    for (int64_t b = 0; b < piece.extents[1]; ++b) {
      for (int64_t c = 0; c < piece.extents[2]; ++c) {
        for (int64_t i = 0; i < piece.run; ++i) {
          offsets.push_back(piece.offset + a * piece.strides[0] + b * piece.strides[1] +
                            c * piece.strides[2] + i);
        }
      }
    }
  }
  return offsets;
}

struct Drawn {
  StridedBytes piece;
  int64_t size = 0;  // of the tensor that it is part of
};

// A box in a dense tensor of four dims.
Drawn DrawPiece(std::mt19937& random) {
  int64_t whole[4], part[4], begin[4];
  for (int d = 0; d < 4; ++d) {
    whole[d] = std::uniform_int_distribution<int64_t>(1, 4)(random);
    part[d] =
        random() % 2 == 0 ? whole[d] : std::uniform_int_distribution<int64_t>(0, whole[d])(random);
    begin[d] = std::uniform_int_distribution<int64_t>(0, whole[d] - part[d])(random);
  }
  Drawn drawn;
  int64_t stride = 1;
  for (int d = 3; d >= 0; --d) {
    drawn.piece.offset += begin[d] * stride;
    if (d < 3) {
      drawn.piece.extents[d] = part[d];
      drawn.piece.strides[d] = stride;
    } else {
      drawn.piece.run = part[d];
    }
    stride *= whole[d];
  }
  drawn.size = stride;
  return drawn;
}

TEST(StridedBytes, JoinKeepsTheBytesAndTheirOrder) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const StridedBytes piece = DrawPiece(random).piece;
    const StridedBytes joined = Joined(piece);
    ASSERT_EQ(Offsets(joined), Offsets(piece));
    ASSERT_EQ(joined.bytes(), piece.bytes());
    // Contiguous exactly where the bytes are.
    const std::vector<int64_t> offsets = Offsets(piece);
    const bool contiguous = offsets.empty() || offsets.back() - offsets.front() + 1 ==
                                                   static_cast<int64_t>(offsets.size());
    ASSERT_EQ(joined.contiguous(), contiguous);
  }
}

TEST(StridedCursor, VisitsEveryByte) {
  std::mt19937 random(2);
  for (int i = 0; i < 500; ++i) {
    const StridedBytes piece = DrawPiece(random).piece;
    const std::vector<int64_t> offsets = Offsets(piece);
    const size_t begin = std::uniform_int_distribution<size_t>(0, offsets.size())(random);
    StridedCursor cursor(piece, static_cast<int64_t>(begin));
    for (size_t at = begin; at < offsets.size(); ++at) {
      ASSERT_GT(cursor.left_in_run(), 0);
      ASSERT_EQ(cursor.offset(), offsets[at]);
      cursor.Advance(1);
    }
    ASSERT_EQ(cursor.left_in_run(), 0);
  }
}

TEST(CopyPiece, CopiesBetweenPiecesThatAreCutInOtherWays) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    const Drawn from = DrawPiece(random), to = DrawPiece(random);
    const std::vector<int64_t> sources = Offsets(from.piece), targets = Offsets(to.piece);
    const size_t most = std::min(sources.size(), targets.size());
    const size_t bytes = std::uniform_int_distribution<size_t>(0, most)(random);
    const size_t source = std::uniform_int_distribution<size_t>(0, sources.size() - bytes)(random);
    const size_t target = std::uniform_int_distribution<size_t>(0, targets.size() - bytes)(random);
    std::vector<std::byte> read(from.size), written(to.size), expected(to.size);
    for (std::byte& byte : read) byte = static_cast<std::byte>(random() | 1);
    for (size_t b = 0; b < bytes; ++b) {
      expected[targets[target + b]] = read[sources[source + b]];
    }
    CopyPiece(read.data(), from.piece, static_cast<int64_t>(source), written.data(), to.piece,
              static_cast<int64_t>(target), static_cast<int64_t>(bytes));
    ASSERT_EQ(written, expected);
  }
}

}  // namespace
}  // namespace moai
