// Turns steps into messages that say only what changed since the last step of the same graph.
#ifndef MOAI_CLIENT_SESSION_STEP_ENCODER_H_
#define MOAI_CLIENT_SESSION_STEP_ENCODER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "client/session.h"
#include "proto/session.pb.h"

namespace moai {

// Mirrors what the server remembers of each graph: the messages must reach it in the order in which
// they are encoded. Not synchronised.
class StepEncoder {
 public:
  // Whether the session has seen the structure. Says yes from then on: the caller registers it.
  bool FirstUse(const Fingerprint& fingerprint) { return graphs_.try_emplace(fingerprint).second; }

  // Fills everything but the feeds into a cleared message. FirstUse has been asked.
  void Encode(const StepRequest& step, uint64_t number, proto::Step& message);

 private:
  struct Seen {
    bool any = false;
    Sizes sizes;
    std::vector<ObjectId> slots;
    std::vector<int64_t> scalars;  // their bits
  };

  absl::flat_hash_map<Fingerprint, Seen> graphs_;
};

// Appends ids as ranges of consecutive ones, in order.
void AppendRanges(absl::Span<const ObjectId> ids,
                  google::protobuf::RepeatedPtrField<proto::IdRange>* ranges);

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_STEP_ENCODER_H_
