// What collectives cost: the bytes that a device sends, and the working space it needs. The planner
// predicts with the same functions that the worker's collectives are written to, and tests hold
// that the counters of their transport say the same.
//
// Pure functions.
#ifndef MOAI_PROGRAM_COLLECTIVE_BYTES_H_
#define MOAI_PROGRAM_COLLECTIVE_BYTES_H_

#include <cstdint>

#include "absl/types/span.h"
#include "graph/dtype.h"
#include "graph/op.h"
#include "graph/shape.h"
#include "program/program.h"

namespace moai {

// An all_reduce of at most this many bytes in a group of at most kSmallGroup members sends the
// whole tensor from each to each, one hop; a larger one is a reduce_scatter and an all_gather.
inline constexpr int64_t kSmallAllReduceBytes = 4096;
inline constexpr int64_t kSmallGroup = 64;

// Each of these is 0 in a group of one. `member` is the position of the sending device in the
// group of `members` devices.

// `elements` is the length of the tensor.
int64_t AllReduceBytesSent(int64_t elements, Dtype dtype, int64_t members, int64_t member);
// `part_bytes` is what the sending member holds before.
int64_t AllGatherBytesSent(int64_t part_bytes, int64_t members);
// `input_bytes` is the whole tensor, `part_bytes` what the sending member holds after.
int64_t ReduceScatterBytesSent(int64_t input_bytes, int64_t part_bytes, int64_t members);
// `input_bytes` is what the sending member holds before, of which it keeps `kept_bytes`.
int64_t AllToAllBytesSent(int64_t input_bytes, int64_t kept_bytes, int64_t members);
int64_t BroadcastBytesSent(int64_t bytes, int64_t members, int64_t member);

// The same for an instruction or node of class kCollective, from its operands' types (of recv, the
// input is not read; of send, the output is not). 0 for any other op.
int64_t CollectiveBytesSent(Op op, const TensorType& input, const TensorType& output,
                            absl::Span<const int32_t> attributes, absl::Span<const int64_t> extents,
                            int64_t members, int64_t member);

// ---- Working space ------------------------------------------------------------------------------
// What comes over a network and is combined or goes to a strided place, arrives in blocks in
// scratch memory, two for each peer, and what leaves from a strided place is gathered there.

// The blocks of all peers together.
inline constexpr int64_t kCollectiveWindow = 1 << 20;
// Alignment of blocks in bytes. Every element size divides it.
inline constexpr int64_t kCollectiveAlignment = 64;

// Bytes of a block in a group of `members`.
int64_t CollectiveBlockBytes(int64_t members);
// Scratch bytes of an instruction of class kCollective in a group of any size up to kSmallGroup.
int64_t CollectiveScratchBytes(const Instruction& instruction);

}  // namespace moai

#endif  // MOAI_PROGRAM_COLLECTIVE_BYTES_H_
