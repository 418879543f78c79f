// absl::Status on the wire.
#ifndef MOAI_WIRE_STATUS_PROTO_H_
#define MOAI_WIRE_STATUS_PROTO_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/status.pb.h"

namespace moai::wire {

proto::StatusProto ToProto(const absl::Status& status);
// Any code that absl does not know becomes kUnknown.
absl::Status FromProto(const proto::StatusProto& status);

std::string SerializeStatus(const absl::Status& status);
// Bytes that are no StatusProto become an Internal error.
absl::Status ParseStatus(absl::string_view bytes);

}  // namespace moai::wire

#endif  // MOAI_WIRE_STATUS_PROTO_H_
