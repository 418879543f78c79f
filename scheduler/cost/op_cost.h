// How long kernels take on a device: the larger of arithmetic and memory traffic, plus what a
// launch costs (roofline). The rate of matrix products depends on their shape.
//
// Pure functions; any thread.
#ifndef MOAI_SCHEDULER_COST_OP_COST_H_
#define MOAI_SCHEDULER_COST_OP_COST_H_

#include "absl/types/span.h"
#include "graph/graph.h"
#include "scheduler/cost/device_model.h"

namespace moai {

struct KernelCost {
  double seconds = 0;  // one launch included
  double flops = 0;
  double bytes = 0;  // read and written
  // Which of the two decides; false where the launch is most of it.
  bool memory_bound = false;

  KernelCost& operator+=(const KernelCost& other);
};

// The arithmetic of a product alone: neither its memory traffic nor its launch. From the measured
// samples of this arithmetic where the device has any, otherwise from its curve. Infinite where the
// device cannot do it. `element_bytes`: of the operands, for alignment.
double MatmulArithmeticSeconds(const DeviceModel& device, MathKind math, const MatmulShape& shape,
                               double element_bytes);

// A whole product of operands of this size: arithmetic or memory traffic, and the launch.
double MatmulSeconds(const DeviceModel& device, MathKind math, const MatmulShape& shape,
                     double element_bytes);

// A kernel that does this much ordinary arithmetic and moves this many bytes.
double StreamingSeconds(const DeviceModel& device, double flops, double bytes);

// How the head size changes the rate of attention: 1 at 128, for which DeviceModel's fractions are.
double AttentionHeadRate(double head_size);

// One node as a kernel of its own. Requires a node that InferNode accepts. Views cost nothing.
// Collectives cost nothing here: collective_cost.h has them.
KernelCost CostOfNode(const DeviceModel& device, const Node& node,
                      absl::Span<const TensorType> inputs, absl::Span<const TensorType> outputs);

inline double OpSeconds(const DeviceModel& device, const Node& node,
                        absl::Span<const TensorType> inputs, absl::Span<const TensorType> outputs) {
  return CostOfNode(device, node, inputs, outputs).seconds;
}

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_OP_COST_H_
