// Sliding windows: what the `conv` and `pool` extents of the op table mean.
#ifndef MOAI_GRAPH_WINDOW_H_
#define MOAI_GRAPH_WINDOW_H_

#include <cstdint>

#include "absl/types/span.h"

namespace moai {

// Windows along one spatial dim. Output position y covers the input positions
// y * stride - low + k * dilation for k in [0, size); those outside the input are padding.
struct WindowAxis {
  int64_t size = 1;
  int64_t stride = 1;
  int64_t low = 0;   // padding before the first element
  int64_t high = 0;  // padding after the last
  int64_t dilation = 1;

  // Distance from the first to the last covered position, plus one.
  int64_t Reach() const { return dilation * (size - 1) + 1; }
  // Windows that fit an input of this extent; 0 where none does.
  int64_t OutputExtent(int64_t input) const {
    const int64_t room = input + low + high - Reach();
    return room < 0 ? 0 : room / stride + 1;
  }
};

struct Window {
  WindowAxis h;
  WindowAxis w;
  int64_t groups = 1;
};

// From the 9 `conv` extents and the window's size.
inline Window ConvWindow(absl::Span<const int64_t> conv, int64_t p, int64_t q) {
  return {.h = {p, conv[0], conv[2], conv[3], conv[6]},
          .w = {q, conv[1], conv[4], conv[5], conv[7]},
          .groups = conv[8]};
}

// From the 10 `pool p q` extents.
inline Window PoolWindow(absl::Span<const int64_t> pool) {
  return {.h = {pool[8], pool[0], pool[2], pool[3], pool[6]},
          .w = {pool[9], pool[1], pool[4], pool[5], pool[7]}};
}

}  // namespace moai

#endif  // MOAI_GRAPH_WINDOW_H_
