// Where random numbers come from.
//
// Every random op has a key (seed, offset, instance); its numbers depend on nothing else, so that
// cutting, splitting or repeating a graph does not change them. Seed and offset are scalars:
// drawing new numbers does not change the structure.
#ifndef MOAI_CLIENT_TENSOR_RANDOM_H_
#define MOAI_CLIENT_TENSOR_RANDOM_H_

#include <cstdint>

#include "client/tensor/tensor.h"

namespace moai {

// Restarts the random numbers of this thread's free functions, of initialisers, and of modules made
// from now on.
void ManualSeed(uint64_t seed);
uint64_t CurrentSeed();

// A stream of random numbers of its own: a dropout layer has one.
class RandomStream {
 public:
  // The next stream since ManualSeed.
  RandomStream();

  Tensor Bernoulli(const Shape& shape, double probability, Dtype dtype);

 private:
  uint64_t seed_;
  int32_t instance_;  // from 1; 0 is the stream of free functions
  int64_t offset_ = 0;
};

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_RANDOM_H_
