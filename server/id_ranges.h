// Lists of ids as messages carry them.
#ifndef MOAI_SERVER_ID_RANGES_H_
#define MOAI_SERVER_ID_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

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

// Appends the ids of the ranges to `ids`, the first `most` of them: a short message may name as
// many as it likes.
inline void AppendIds(const google::protobuf::RepeatedPtrField<proto::IdRange>& ranges, size_t most,
                      std::vector<uint64_t>& ids) {
  for (const proto::IdRange& range : ranges) {
    for (uint64_t k = 0; k < range.count(); ++k, --most) {
      if (most == 0) return;
      ids.push_back(range.first() + k);
    }
  }
}

}  // namespace moai

#endif  // MOAI_SERVER_ID_RANGES_H_
