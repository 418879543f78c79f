#include "server/admin_service.h"

#include <chrono>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/version.h"
#include "scheduler/report/print.h"
#include "scheduler/report/running_step.h"
#include "spdlog/spdlog.h"
#include "wire/random_id.h"
#include "wire/unary_server.h"

namespace moai {
namespace {

constexpr char kInUse[] = "The model cannot be switched while the MoAI Accelerator is in use.";
// How long the sessions of a reset have to end.
constexpr std::chrono::seconds kResetPatience(10);

uint64_t Sum(const std::vector<int64_t>& bytes) {
  return uint64_t(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}));
}

// A method from bytes to bytes.
template <typename Request, typename Reply>
std::shared_ptr<wire::StreamAcceptor> Serve(
    ThreadPool* thread, AdminService* service,
    absl::StatusOr<Reply> (AdminService::*method)(const Request&)) {
  return wire::ServeUnary(
      [=](std::string bytes, const wire::PeerInfo& /*peer*/, wire::UnaryReply reply) {
        thread->Run([service, method, bytes = std::move(bytes), reply = std::move(reply)] {
          Request request;
          if (!request.ParseFromString(bytes)) {
            return reply(absl::InvalidArgumentError(
                absl::StrCat("request: cannot be parsed as a ", request.GetTypeName())));
          }
          const absl::StatusOr<Reply> answer = (service->*method)(request);
          if (!answer.ok()) return reply(answer.status());
          reply(answer->SerializeAsString());
        });
      });
}

}  // namespace

AdminService::AdminService(const Pool* pool, VirtualDevices* devices, Jobs* jobs, std::string token,
                           const SearchConstraints& constraints)
    : pool_(pool),
      devices_(devices),
      jobs_(jobs),
      token_(std::move(token)),
      constraints_(constraints) {}

wire::StreamServer::Methods AdminService::Methods() {
  const std::string service = "/moai.proto.AdminService/";
  return {
      {service + "ListFlavors", Serve(&thread_, this, &AdminService::ListFlavors)},
      {service + "SwitchFlavor", Serve(&thread_, this, &AdminService::SwitchFlavor)},
      {service + "GetStatus", Serve(&thread_, this, &AdminService::GetStatus)},
      {service + "ResetJobs", Serve(&thread_, this, &AdminService::ResetJobs)},
      {service + "AddDevice", Serve(&thread_, this, &AdminService::AddDevice)},
      {service + "RemoveDevice", Serve(&thread_, this, &AdminService::RemoveDevice)},
      {service + "SwitchDevice", Serve(&thread_, this, &AdminService::SwitchDevice)},
      // May take seconds, for which nobody else is to wait.
      {service + "GetPlanReport", Serve(&reports_, this, &AdminService::GetPlanReport)},
  };
}

absl::StatusOr<std::string> AdminService::Authenticate(const proto::Caller& caller) const {
  if (!token_.empty() && !wire::EqualSecrets(caller.token(), token_)) {
    return absl::UnauthenticatedError(
        "the token is not known to this server; set MOAI_TOKEN to the one you were given");
  }
  return VirtualDevices::IdentityOf(caller.token());
}

absl::StatusOr<VirtualDevice> AdminService::MeantBy(const proto::Caller& caller,
                                                    const std::string& identity) {
  std::optional<uint32_t> id;
  if (caller.has_visible_device()) id = caller.visible_device();
  return devices_->Find(identity, id);
}

absl::StatusOr<proto::ListFlavorsReply> AdminService::ListFlavors(
    const proto::ListFlavorsRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const VirtualDevice device, MeantBy(request.caller(), identity));
  const std::vector<Flavor> offered = devices_->Offered();
  proto::ListFlavorsReply reply;
  for (const Flavor& flavor : devices_->Listed()) {
    proto::FlavorDescription* description = reply.add_flavors();
    description->set_name(flavor.name);
    description->set_devices(uint32_t(flavor.devices));
    description->set_device_memory_bytes(uint64_t(flavor.device_memory_bytes));
    description->set_offered(FindFlavor(offered, flavor.name) != nullptr);
  }
  reply.set_device(device.id);
  reply.set_current(device.flavor.name);
  return reply;
}

absl::StatusOr<proto::SwitchFlavorReply> AdminService::SwitchFlavor(
    const proto::SwitchFlavorRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const VirtualDevice device, MeantBy(request.caller(), identity));
  if (jobs_->Runs(identity, device.id)) return absl::FailedPreconditionError(kInUse);
  MOAI_RETURN_IF_ERROR(devices_->SwitchFlavor(identity, device.id, request.flavor()));
  spdlog::info("flavor switched device={} from={} to={}", device.id, device.flavor.name,
               request.flavor());
  proto::SwitchFlavorReply reply;
  reply.set_device(device.id);
  return reply;
}

absl::StatusOr<proto::GetStatusReply> AdminService::GetStatus(
    const proto::GetStatusRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const std::vector<VirtualDevice> devices, devices_->List(identity));
  proto::GetStatusReply reply;
  reply.set_server_version(kVersion);
  for (const VirtualDevice& device : devices) {
    proto::VirtualDeviceStatus* status = reply.add_devices();
    status->set_device(device.id);
    status->set_flavor(device.flavor.name);
    status->set_current(device.current);
    status->set_memory_bytes(uint64_t(device.flavor.memory_bytes()));
  }
  std::map<std::pair<uint64_t, uint32_t>, proto::PhysicalDeviceStatus*> physical;
  for (const PoolDevice& device : pool_->Devices()) {
    proto::PhysicalDeviceStatus* status = reply.add_physical_devices();
    status->set_worker(device.worker_name);
    status->set_index(device.device);
    status->set_kind(device.profile.kind);
    status->set_memory_bytes(uint64_t(device.profile.memory_bytes));
    status->set_busy(device.leased);
    physical[{device.worker, device.device}] = status;
  }
  for (const RunningJob& running : jobs_->List()) {
    const Job& job = running.job;
    for (size_t i = 0; i < job.devices.size(); ++i) {
      const auto found = physical.find({job.devices[i].worker, job.devices[i].device});
      if (found == physical.end()) continue;
      const std::vector<int64_t>& memory = running.use.memory_bytes;
      found->second->set_job(job.id);
      found->second->set_utilization(running.use.utilization);
      found->second->set_memory_used_bytes(i < memory.size() ? uint64_t(memory[i]) : 0);
    }
    if (job.identity != identity) continue;
    const uint64_t used = Sum(running.use.memory_bytes);
    proto::JobStatus* status = reply.add_jobs();
    status->set_job(job.id);
    status->set_device(job.virtual_device);
    status->set_process_id(job.process_id);
    status->set_process_name(job.process_name);
    status->set_host_name(job.host_name);
    status->set_flavor(job.flavor);
    status->set_memory_used_bytes(used);
    status->set_utilization(running.use.utilization);
    for (proto::VirtualDeviceStatus& device : *reply.mutable_devices()) {
      if (device.device() != job.virtual_device) continue;
      device.set_busy(true);
      device.set_memory_used_bytes(device.memory_used_bytes() + used);
      device.set_utilization(std::max(device.utilization(), running.use.utilization));
    }
  }
  return reply;
}

absl::StatusOr<proto::ResetJobsReply> AdminService::ResetJobs(
    const proto::ResetJobsRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const VirtualDevice device, MeantBy(request.caller(), identity));
  proto::ResetJobsReply reply;
  for (uint64_t job : jobs_->Stop(identity, device.id, kResetPatience)) {
    spdlog::info("job stopped on request session={} device={}", job, device.id);
    reply.add_jobs(job);
  }
  if (jobs_->Runs(identity, device.id)) {
    return absl::AbortedError(absl::StrCat("the program on virtual device ", device.id,
                                           " did not end in time, or another has begun"));
  }
  return reply;
}

absl::StatusOr<proto::AddDeviceReply> AdminService::AddDevice(
    const proto::AddDeviceRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const uint32_t device, devices_->Add(identity, request.flavor()));
  proto::AddDeviceReply reply;
  reply.set_device(device);
  return reply;
}

absl::StatusOr<proto::RemoveDeviceReply> AdminService::RemoveDevice(
    const proto::RemoveDeviceRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  if (jobs_->Runs(identity, request.device())) {
    return absl::FailedPreconditionError(absl::StrCat("a program runs on virtual device ",
                                                      request.device(), "; `moreh-smi --idx ",
                                                      request.device(), " --reset` stops it"));
  }
  MOAI_RETURN_IF_ERROR(devices_->Remove(identity, request.device()));
  return proto::RemoveDeviceReply();
}

absl::StatusOr<proto::SwitchDeviceReply> AdminService::SwitchDevice(
    const proto::SwitchDeviceRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_RETURN_IF_ERROR(devices_->SwitchCurrent(identity, request.device()));
  return proto::SwitchDeviceReply();
}

absl::StatusOr<proto::GetPlanReportReply> AdminService::GetPlanReport(
    const proto::GetPlanReportRequest& request) {
  MOAI_ASSIGN_OR_RETURN(const std::string identity, Authenticate(request.caller()));
  MOAI_ASSIGN_OR_RETURN(const VirtualDevice device, MeantBy(request.caller(), identity));
  for (const RunningJob& running : jobs_->List()) {
    const Job& job = running.job;
    if (job.identity != identity || job.virtual_device != device.id) continue;
    const std::optional<RunningStep> step = running.record->Get();
    if (!step.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(job.process_name, " on virtual device ",
                                                        device.id, " has not run a step yet"));
    }
    MOAI_ASSIGN_OR_RETURN(const PlanReport report, ReportOf(*step, job.process_name, constraints_));
    proto::GetPlanReportReply reply;
    reply.set_job(job.id);
    reply.set_process_name(job.process_name);
    reply.set_plan(step->plan);
    reply.set_text(ReportText(report));
    reply.set_json(ReportJson(report));
    return reply;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("no program runs on virtual device ", device.id));
}

}  // namespace moai
