// Cuts a line of work into chunks of about equal size, where it may be cut.
#ifndef MOAI_SCHEDULER_PLANNING_EVEN_CUTS_H_
#define MOAI_SCHEDULER_PLANNING_EVEN_CUTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace moai {

// Positions of `chunks - 1` of the places, ascending, such that the largest chunk is as small as it
// can be; of these cuts, one whose chunks are near to even shares of what is left. `places` ascend
// strictly between 0 and `total`. Empty where there are too few.
std::vector<size_t> EvenCuts(absl::Span<const double> places, double total, uint32_t chunks);

}  // namespace moai

#endif  // MOAI_SCHEDULER_PLANNING_EVEN_CUTS_H_
