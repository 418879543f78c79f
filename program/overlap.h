// Which collectives may go on beside the instructions after them.
//
// An all_reduce whose result takes the place of its input needs no memory for being on its way: it
// may end as late as the first use of the result. Any other would keep its input for longer.
#ifndef MOAI_PROGRAM_OVERLAP_H_
#define MOAI_PROGRAM_OVERLAP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "program/program.h"

namespace moai {

// Sets Instruction::overlapped and overlapped_before. `home_of`, by buffer: the buffer whose memory
// it lives in, itself for most. Requires that no buffer of another home is placed over an
// all_reduce's result between its first and its last use. Returns, by instruction that is
// overlapped, the one before which it is complete; 0 for the others.
std::vector<uint32_t> OverlapCollectives(absl::Span<const BufferId> home_of, Program& program);

}  // namespace moai

#endif  // MOAI_PROGRAM_OVERLAP_H_
