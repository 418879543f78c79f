// Lists of ids as messages carry them.
#ifndef MOAI_SERVER_ID_RANGES_H_
#define MOAI_SERVER_ID_RANGES_H_

#include <cstdint>

#include "absl/types/span.h"
#include "proto/session.pb.h"

namespace moai {

inline void AppendRanges(absl::Span<const uint64_t> ids,
                         google::protobuf::RepeatedPtrField<proto::IdRange>* ranges) {
  for (size_t i = 0; i < ids.size();) {
    size_t end = i + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) ++end;
    proto::IdRange* range = ranges->Add();
    range->set_first(ids[i]);
    range->set_count(end - i);
    i = end;
  }
}

}  // namespace moai

#endif  // MOAI_SERVER_ID_RANGES_H_
