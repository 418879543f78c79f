#include "client/cli/json_output.h"

#include "nlohmann/json.hpp"

namespace moai {
namespace {

using Json = nlohmann::ordered_json;

// Bytes that are no UTF-8 are replaced: the library would throw.
std::string Text(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

Json IfBusy(bool busy, Json value) { return busy ? std::move(value) : Json(nullptr); }

}  // namespace

std::string ErrorJson(const absl::Status& status) {
  return Text({{"error",
                {{"code", absl::StatusCodeToString(status.code())},
                 {"message", std::string(status.message())}}}});
}

std::string SwitchedJson(const std::string& model) { return Text({{"switched", model}}); }

std::string FlavorsJson(const proto::ListFlavorsReply& flavors, bool all) {
  Json models = Json::array();
  int position = 0;
  for (const proto::FlavorDescription& flavor : flavors.flavors()) {
    if (!flavor.offered() && !all) continue;
    models.push_back({{"position", IfBusy(flavor.offered(), flavor.offered() ? ++position : 0)},
                      {"name", flavor.name()},
                      {"devices", flavor.devices()},
                      {"device_memory_bytes", flavor.device_memory_bytes()},
                      {"memory_bytes", flavor.devices() * flavor.device_memory_bytes()},
                      {"offered", flavor.offered()},
                      {"current", flavor.name() == flavors.current()}});
  }
  return Text({{"device", flavors.device()},
               {"current", flavors.current()},
               {"models", std::move(models)}});
}

std::string StatusJson(const proto::GetStatusReply& status, const std::string& version) {
  Json devices = Json::array();
  for (const proto::VirtualDeviceStatus& device : status.devices()) {
    devices.push_back({{"device", device.device()},
                       {"name", "MoAI Accelerator"},
                       {"model", device.flavor()},
                       {"current", device.current()},
                       {"busy", device.busy()},
                       {"memory_used_bytes", IfBusy(device.busy(), device.memory_used_bytes())},
                       {"memory_bytes", IfBusy(device.memory_bytes() > 0, device.memory_bytes())},
                       {"utilization", IfBusy(device.busy(), device.utilization())}});
  }
  Json processes = Json::array();
  for (const proto::JobStatus& job : status.jobs()) {
    processes.push_back({{"device", job.device()},
                         {"job", job.job()},
                         {"pid", job.process_id()},
                         {"process", job.process_name()},
                         {"host", job.host_name()},
                         {"model", job.flavor()},
                         {"memory_used_bytes", job.memory_used_bytes()},
                         {"utilization", job.utilization()}});
  }
  Json physical = Json::array();
  for (const proto::PhysicalDeviceStatus& device : status.physical_devices()) {
    physical.push_back({{"worker", device.worker()},
                        {"index", device.index()},
                        {"kind", device.kind()},
                        {"busy", device.busy()},
                        {"job", IfBusy(device.busy(), device.job())},
                        {"memory_used_bytes", IfBusy(device.busy(), device.memory_used_bytes())},
                        {"memory_bytes", device.memory_bytes()},
                        {"utilization", IfBusy(device.busy(), device.utilization())}});
  }
  return Text({{"version", version},
               {"server_version", status.server_version()},
               {"devices", std::move(devices)},
               {"processes", std::move(processes)},
               {"physical_devices", std::move(physical)}});
}

std::string ResetJson(const proto::ResetJobsReply& reply) {
  Json jobs = Json::array();
  for (uint64_t job : reply.jobs()) jobs.push_back(job);
  return Text({{"stopped_jobs", std::move(jobs)}});
}

std::string DeviceJson(const std::string& key, uint32_t device) { return Text({{key, device}}); }

}  // namespace moai
