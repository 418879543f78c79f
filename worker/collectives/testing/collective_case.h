// Random collectives, and what they must give: computed plainly from everybody's tensors.
#ifndef MOAI_WORKER_COLLECTIVES_TESTING_COLLECTIVE_CASE_H_
#define MOAI_WORKER_COLLECTIVES_TESTING_COLLECTIVE_CASE_H_

#include <random>
#include <string>
#include <vector>

#include "graph/signature.h"
#include "program/device_graph.h"
#include "program/program.h"

namespace moai {

using Bytes = std::vector<std::byte>;

// What one member runs, reads and must get.
struct MemberCase {
  Program program;  // one instruction: buffer 0 is read, buffer 1 written, buffer 2 is scratch
  Bytes input;
  Bytes expected;
};

struct CollectiveCase {
  DeviceGroup group;
  std::vector<MemberCase> members;
  Dtype dtype = Dtype::kF32;
  std::string text;  // what was drawn, for failures
};

// Draws one for a session of that many devices. Tensors have up to some hundred elements, times
// `scale` along one dim.
CollectiveCase DrawCollective(std::mt19937& random, uint32_t devices, int64_t scale = 1);

// Equal to the bit, but that any NaN equals any other.
bool SameElements(Dtype dtype, const Bytes& a, const Bytes& b);

// Members' terms combined in order: floats of 16 bits in f32, rounded once.
Bytes ReferenceReduce(Dtype dtype, ReduceKind reduce, const std::vector<Bytes>& terms);

Bytes RandomElements(std::mt19937& random, Dtype dtype, int64_t count);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_TESTING_COLLECTIVE_CASE_H_
