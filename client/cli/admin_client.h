// The server as commands see it: one call, one answer (proto/admin.proto).
#ifndef MOAI_CLIENT_CLI_ADMIN_CLIENT_H_
#define MOAI_CLIENT_CLI_ADMIN_CLIENT_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/admin.pb.h"

namespace moai {

// What a command exits with.
inline constexpr int kExitOk = 0;
inline constexpr int kExitRefused = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNoServer = 3;

class AdminClient {
 public:
  // As programs do: MOAI_SERVER, MOAI_TOKEN, MOREH_VISIBLE_DEVICE. An error says which to set.
  static absl::StatusOr<AdminClient> FromEnvironment();

  const std::string& token() const { return caller_.token(); }
  // From now on requests mean this virtual device, whatever the environment says.
  void SetDevice(uint32_t device) { caller_.set_visible_device(device); }

  absl::StatusOr<proto::ListFlavorsReply> ListFlavors();
  absl::Status SwitchFlavor(const std::string& flavor);
  absl::StatusOr<proto::GetStatusReply> GetStatus();
  absl::StatusOr<proto::ResetJobsReply> ResetJobs();
  absl::StatusOr<proto::AddDeviceReply> AddDevice(const std::string& flavor);
  absl::Status RemoveDevice(uint32_t device);
  absl::Status SwitchDevice(uint32_t device);
  absl::StatusOr<proto::GetPlanReportReply> GetPlanReport();

 private:
  AdminClient(std::string server, proto::Caller caller)
      : server_(std::move(server)), caller_(std::move(caller)) {}

  // The server gives a reset ten seconds.
  static constexpr std::chrono::seconds kTimeout{20};

  template <typename Reply, typename Request>
  absl::StatusOr<Reply> Call(absl::string_view method, Request request,
                             std::chrono::seconds timeout = kTimeout) const;

  std::string server_;
  proto::Caller caller_;
};

// kExitNoServer where nobody answered, kExitRefused where the server said no.
int ExitCode(const absl::Status& status);

}  // namespace moai

#endif  // MOAI_CLIENT_CLI_ADMIN_CLIENT_H_
