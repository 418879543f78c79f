#include "client/session/step_encoder.h"

namespace moai {

void AppendRanges(absl::Span<const ObjectId> ids,
                  google::protobuf::RepeatedPtrField<proto::IdRange>* ranges) {
  for (size_t i = 0; i < ids.size();) {
    size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) ++end;
    proto::IdRange* const range = ranges->Add();
    range->set_first(ids[i]);
    range->set_count(end - i);
    i = end;
  }
}

void StepEncoder::Encode(const StepRequest& step, uint64_t number, proto::Step& message) {
  Seen& seen = graphs_[step.fingerprint];
  message.set_step(number);
  message.set_fingerprint_high(step.fingerprint.high);
  message.set_fingerprint_low(step.fingerprint.low);
  if (seen.any && seen.sizes == step.sizes) {
    message.set_same_sizes(true);
  } else {
    message.mutable_sizes()->Assign(step.sizes.begin(), step.sizes.end());
    seen.sizes = step.sizes;
  }
  if (seen.any && seen.slots == step.slots) {
    message.set_same_slots(true);
  } else {
    AppendRanges(step.slots, message.mutable_slots());
    seen.slots = step.slots;
  }
  AppendRanges(step.values, message.mutable_values());
  seen.scalars.resize(step.scalars.size());
  for (size_t i = 0; i < step.scalars.size(); ++i) {
    const int64_t bits = step.scalars[i].i64;
    if (seen.any && seen.scalars[i] == bits) continue;
    seen.scalars[i] = bits;
    message.add_scalar_positions(static_cast<uint32_t>(i));
    message.add_scalar_bits(static_cast<uint64_t>(bits));
  }
  message.set_first_output(step.first_output);
  seen.any = true;
}

}  // namespace moai
