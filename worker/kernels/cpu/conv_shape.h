// A convolution as its kernels see it.
#ifndef MOAI_WORKER_KERNELS_CPU_CONV_SHAPE_H_
#define MOAI_WORKER_KERNELS_CPU_CONV_SHAPE_H_

#include <cstdint>

#include "graph/window.h"

namespace moai {

// Forward or backward: the input has channels c, the output channels o.
struct ConvShape {
  Window window;
  int64_t n, c, h, w;        // input
  int64_t o, oh, ow;         // output
  int64_t group_c, group_o;  // channels of one group

  int64_t WindowSize() const { return window.h.size * window.w.size; }
  // Where a filter begins: a window of one output and one input channel of its group.
  int64_t WeightAt(int64_t output, int64_t input) const {
    return (output * group_c + input) * WindowSize();
  }
  int64_t WorkPerOutput() const { return group_c * WindowSize(); }
};

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_CONV_SHAPE_H_
