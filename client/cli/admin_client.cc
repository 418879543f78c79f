#include "client/cli/admin_client.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/session/environment.h"
#include "wire/unary_client.h"

namespace moai {
namespace {

// A step of a large model on many devices is planned in that time, on a busy server.
constexpr std::chrono::seconds kPlanningTimeout(300);

}  // namespace

absl::StatusOr<AdminClient> AdminClient::FromEnvironment() {
  std::string server = Environment("MOAI_SERVER");
  if (server.empty()) {
    return absl::UnavailableError(
        "No server is named: set MOAI_SERVER to its address (host:port or unix:/path)");
  }
  proto::Caller caller;
  caller.set_token(Environment("MOAI_TOKEN"));
  MOAI_ASSIGN_OR_RETURN(const std::optional<uint32_t> visible, VisibleDevice());
  if (visible.has_value()) caller.set_visible_device(*visible);
  return AdminClient(std::move(server), std::move(caller));
}

template <typename Reply, typename Request>
absl::StatusOr<Reply> AdminClient::Call(absl::string_view method, Request request,
                                        std::chrono::seconds timeout) const {
  *request.mutable_caller() = caller_;
  const absl::StatusOr<std::string> answer =
      wire::CallUnary(server_, absl::StrCat("/moai.proto.AdminService/", method),
                      request.SerializeAsString(), timeout);
  if (absl::IsUnavailable(answer.status()) || absl::IsDeadlineExceeded(answer.status())) {
    return absl::UnavailableError(
        absl::StrCat("Cannot connect to the server at ", server_, " (", answer.status().message(),
                     "). Check that it runs and that MOAI_SERVER names it"));
  }
  if (absl::IsUnimplemented(answer.status())) {
    return absl::UnimplementedError(
        absl::StrCat("The server at ", server_, " is older than this command"));
  }
  MOAI_RETURN_IF_ERROR(answer.status());
  Reply reply;
  if (!reply.ParseFromString(*answer)) {
    return absl::UnavailableError(absl::StrCat("What listens at ", server_, " is no MoAI server"));
  }
  return reply;
}

absl::StatusOr<proto::ListFlavorsReply> AdminClient::ListFlavors() {
  return Call<proto::ListFlavorsReply>("ListFlavors", proto::ListFlavorsRequest());
}

absl::Status AdminClient::SwitchFlavor(const std::string& flavor) {
  proto::SwitchFlavorRequest request;
  request.set_flavor(flavor);
  return Call<proto::SwitchFlavorReply>("SwitchFlavor", std::move(request)).status();
}

absl::StatusOr<proto::GetStatusReply> AdminClient::GetStatus() {
  return Call<proto::GetStatusReply>("GetStatus", proto::GetStatusRequest());
}

absl::StatusOr<proto::ResetJobsReply> AdminClient::ResetJobs() {
  return Call<proto::ResetJobsReply>("ResetJobs", proto::ResetJobsRequest());
}

absl::StatusOr<proto::AddDeviceReply> AdminClient::AddDevice(const std::string& flavor) {
  proto::AddDeviceRequest request;
  request.set_flavor(flavor);
  return Call<proto::AddDeviceReply>("AddDevice", std::move(request));
}

absl::Status AdminClient::RemoveDevice(uint32_t device) {
  proto::RemoveDeviceRequest request;
  request.set_device(device);
  return Call<proto::RemoveDeviceReply>("RemoveDevice", std::move(request)).status();
}

absl::Status AdminClient::SwitchDevice(uint32_t device) {
  proto::SwitchDeviceRequest request;
  request.set_device(device);
  return Call<proto::SwitchDeviceReply>("SwitchDevice", std::move(request)).status();
}

absl::StatusOr<proto::GetPlanReportReply> AdminClient::GetPlanReport() {
  return Call<proto::GetPlanReportReply>("GetPlanReport", proto::GetPlanReportRequest(),
                                         kPlanningTimeout);
}

int ExitCode(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  return absl::IsUnavailable(status) ? kExitNoServer : kExitRefused;
}

}  // namespace moai
