// Sampling a continuation, byte by byte.
#ifndef MOAI_CLIENT_EXAMPLES_SAMPLE_H_
#define MOAI_CLIENT_EXAMPLES_SAMPLE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/models/llama.h"

namespace moai::examples {

struct SampleOptions {
  int64_t count = 100;
  double temperature = 0.7;  // 0: always the likeliest
  uint64_t seed = 1;
};

// The bytes that the model puts after `prompt`. Each is one read: its probabilities decide the next
// input. Bytes that would disturb a terminal come out as '?'.
absl::StatusOr<std::string> Sample(models::Llama& model, const std::string& prompt,
                                   const SampleOptions& options);

}  // namespace moai::examples

#endif  // MOAI_CLIENT_EXAMPLES_SAMPLE_H_
