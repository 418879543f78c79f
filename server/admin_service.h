// What moreh-switch-model, moreh-smi and moai-plan ask (proto/admin.proto): looks, and changes what
// the next sessions run on.
#ifndef MOAI_SERVER_ADMIN_SERVICE_H_
#define MOAI_SERVER_ADMIN_SERVICE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/admin.pb.h"
#include "scheduler/planning/search.h"
#include "scheduler/pool.h"
#include "server/jobs.h"
#include "server/thread_pool.h"
#include "server/virtual_devices.h"
#include "wire/stream_server.h"

namespace moai {

// Thread-safe. Requests wait for the disk, so they run on a thread of their own.
class AdminService {
 public:
  // `token` is what clients must show; empty: nothing. `constraints` are those that sessions are
  // planned under. Everything pointed to outlives this.
  AdminService(const Pool* pool, VirtualDevices* devices, Jobs* jobs, std::string token,
               const SearchConstraints& constraints = {});

  // For the server that clients connect to; this outlives it.
  wire::StreamServer::Methods Methods();

  absl::StatusOr<proto::ListFlavorsReply> ListFlavors(const proto::ListFlavorsRequest& request);
  absl::StatusOr<proto::SwitchFlavorReply> SwitchFlavor(const proto::SwitchFlavorRequest& request);
  absl::StatusOr<proto::GetStatusReply> GetStatus(const proto::GetStatusRequest& request);
  absl::StatusOr<proto::ResetJobsReply> ResetJobs(const proto::ResetJobsRequest& request);
  absl::StatusOr<proto::AddDeviceReply> AddDevice(const proto::AddDeviceRequest& request);
  absl::StatusOr<proto::RemoveDeviceReply> RemoveDevice(const proto::RemoveDeviceRequest& request);
  absl::StatusOr<proto::SwitchDeviceReply> SwitchDevice(const proto::SwitchDeviceRequest& request);
  // FailedPrecondition where nothing runs, or nothing has been planned yet.
  absl::StatusOr<proto::GetPlanReportReply> GetPlanReport(
      const proto::GetPlanReportRequest& request);

 private:
  // The identity of a caller that shows the right token.
  absl::StatusOr<std::string> Authenticate(const proto::Caller& caller) const;
  // The virtual device that a caller means.
  absl::StatusOr<VirtualDevice> MeantBy(const proto::Caller& caller, const std::string& identity);

  const Pool* const pool_;
  VirtualDevices* const devices_;
  Jobs* const jobs_;
  const std::string token_;
  const SearchConstraints constraints_;
  ThreadPool thread_{1};
  ThreadPool reports_{1};
};

}  // namespace moai

#endif  // MOAI_SERVER_ADMIN_SERVICE_H_
