// The two things that every collective is made of: each member sends pieces of its tensor to the
// others and puts those it gets in their places; or combines them.
#ifndef MOAI_WORKER_COLLECTIVES_EXCHANGE_H_
#define MOAI_WORKER_COLLECTIVES_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "graph/dtype.h"
#include "graph/signature.h"
#include "worker/collectives/communicator.h"
#include "worker/collectives/peer_link.h"
#include "worker/collectives/strided_bytes.h"

namespace moai {

// What passes between this device and one other member. Pieces without bytes are not sent.
struct Traffic {
  uint32_t peer = 0;
  StridedBytes send;    // in this device's tensor
  StridedBytes remote;  // what comes, in the peer's tensor
  StridedBytes place;   // where it goes, in the result; not read where it is combined
};

// How far a message over the network may be divided: members agree on it, whatever each holds.
struct MessageSize {
  int64_t block = 0;  // bytes of a message; the last of a piece may be smaller
};

// Sends from `input` and places what comes in `output`. `scratch` holds blocks that are gathered or
// scattered; pieces without strides need none. Each peer appears once. Complete when it returns:
// memory is the caller's again, after an error too.
absl::Status ExchangePieces(PeerLink& link, absl::Span<const Traffic> traffic,
                            const std::byte* input, std::byte* output, MessageSize size,
                            absl::Span<std::byte> scratch);

// Messages to and from devices of this process, at most one each way with each peer, in the order
// in which they are read; and of other processes.
absl::Status ExchangeLocalMessages(PeerLink& link, absl::Span<const PeerMessage> messages);
absl::Status ExchangeRemoteMessages(PeerLink& link, absl::Span<const PeerMessage> messages);

// As ExchangePieces, but what comes from the peers is combined with the piece `mine` of `input`, in
// the order of `traffic`, in which this device's own terms stand before entry `my_place`. The
// result is contiguous at `output`. `remote` is `mine` in each.
struct Reduction {
  Dtype dtype = Dtype::kF32;
  ReduceKind reduce = ReduceKind::kSum;
  StridedBytes mine;
  size_t my_place = 0;
};
absl::Status CombinePieces(PeerLink& link, absl::Span<const Traffic> traffic,
                           const Reduction& reduction, const std::byte* input, std::byte* output,
                           MessageSize size, absl::Span<std::byte> scratch);

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_EXCHANGE_H_
