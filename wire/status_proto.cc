#include "wire/status_proto.h"

namespace moai::wire {
namespace {

// Words for people need no more; the rest of a hostile text is dropped.
constexpr size_t kMaxMessage = 16 << 10;

}  // namespace

proto::StatusProto ToProto(const absl::Status& status) {
  proto::StatusProto out;
  out.set_code(static_cast<int>(status.code()));
  const absl::string_view message = status.message().substr(0, kMaxMessage);
  out.set_message(message.data(), message.size());
  return out;
}

absl::Status FromProto(const proto::StatusProto& status) {
  if (status.code() == 0) return absl::OkStatus();
  const bool known = status.code() > 0 && status.code() <= 16;
  return absl::Status(
      known ? static_cast<absl::StatusCode>(status.code()) : absl::StatusCode::kUnknown,
      absl::string_view(status.message()).substr(0, kMaxMessage));
}

std::string SerializeStatus(const absl::Status& status) {
  return ToProto(status).SerializeAsString();
}

absl::Status ParseStatus(absl::string_view bytes) {
  proto::StatusProto status;
  if (!status.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InternalError("The peer sent a malformed status");
  }
  return FromProto(status);
}

}  // namespace moai::wire
