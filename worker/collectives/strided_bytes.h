// A piece of a dense tensor: runs of contiguous bytes at regular distances. Two pieces of equal
// size hold the same elements in the same order, however their runs are cut.
#ifndef MOAI_WORKER_COLLECTIVES_STRIDED_BYTES_H_
#define MOAI_WORKER_COLLECTIVES_STRIDED_BYTES_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace moai {

// All in bytes but the extents. Offsets count from the tensor's first byte.
struct StridedBytes {
  int64_t offset = 0;
  int64_t run = 0;
  // Loops around the run, outermost first.
  std::array<int64_t, 3> extents{1, 1, 1};
  std::array<int64_t, 3> strides{0, 0, 0};

  int64_t bytes() const { return run * extents[0] * extents[1] * extents[2]; }
  bool contiguous() const { return bytes() == run; }
};

inline StridedBytes ContiguousBytes(int64_t offset, int64_t bytes) {
  return {.offset = offset, .run = bytes};
}

// The same piece with runs as long as they can be.
StridedBytes Joined(const StridedBytes& piece);

// A place in a piece.
class StridedCursor {
 public:
  // `position` in the order of the piece's bytes; at most its size.
  explicit StridedCursor(const StridedBytes& piece, int64_t position = 0);

  // From the tensor's first byte. Requires that bytes are left.
  int64_t offset() const { return offset_; }
  // Contiguous bytes from here; 0 at the end.
  int64_t left_in_run() const { return left_; }
  // Requires bytes <= left_in_run().
  void Advance(int64_t bytes);

 private:
  void FindOffset();

  StridedBytes piece_;
  std::array<int64_t, 3> index_{};
  int64_t offset_ = 0;
  int64_t left_ = 0;
};

// Copies bytes [begin, begin + bytes) of one piece to those of another. Bases are the tensors'
// first bytes.
void CopyPiece(const std::byte* from_base, const StridedBytes& from, int64_t from_begin,
               std::byte* to_base, const StridedBytes& to, int64_t to_begin, int64_t bytes);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_STRIDED_BYTES_H_
