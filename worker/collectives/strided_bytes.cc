#include "worker/collectives/strided_bytes.h"

#include <algorithm>
#include <cstring>

namespace moai {

StridedBytes Joined(const StridedBytes& piece) {
  StridedBytes joined{.offset = piece.offset, .run = piece.run};
  if (piece.bytes() == 0) return {.offset = piece.offset};
  int loop = 2;  // where the next loop of the result goes
  for (int d = 2; d >= 0; --d) {
    const int64_t extent = piece.extents[d];
    if (extent == 1) continue;
    const int inside = loop + 1;
    if (inside == 3 && piece.strides[d] == joined.run) {
      joined.run *= extent;
    } else if (inside < 3 && piece.strides[d] == joined.extents[inside] * joined.strides[inside]) {
      joined.extents[inside] *= extent;
    } else {
      joined.extents[loop] = extent;
      joined.strides[loop] = piece.strides[d];
      --loop;
    }
  }
  return joined;
}

StridedCursor::StridedCursor(const StridedBytes& piece, int64_t position) : piece_(piece) {
  if (position >= piece.bytes()) return;
  int64_t runs = position / piece.run;
  for (int d = 2; d >= 0; --d) {
    index_[d] = runs % piece.extents[d];
    runs /= piece.extents[d];
  }
  FindOffset();
  offset_ += position % piece.run;
  left_ = piece.run - position % piece.run;
}

void StridedCursor::FindOffset() {
  offset_ = piece_.offset;
  for (int d = 0; d < 3; ++d) offset_ += index_[d] * piece_.strides[d];
}

void StridedCursor::Advance(int64_t bytes) {
  offset_ += bytes;
  left_ -= bytes;
  if (left_ > 0) return;
  for (int d = 2; d >= 0; --d) {
    if (++index_[d] < piece_.extents[d]) {
      FindOffset();
      left_ = piece_.run;
      return;
    }
    index_[d] = 0;
  }
}

void CopyPiece(const std::byte* from_base, const StridedBytes& from, int64_t from_begin,
               std::byte* to_base, const StridedBytes& to, int64_t to_begin, int64_t bytes) {
  StridedCursor source(from, from_begin), target(to, to_begin);
  while (bytes > 0) {
    const int64_t now = std::min({bytes, source.left_in_run(), target.left_in_run()});
    std::memcpy(to_base + target.offset(), from_base + source.offset(), now);
    source.Advance(now);
    target.Advance(now);
    bytes -= now;
  }
}

}  // namespace moai
