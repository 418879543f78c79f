#include "client/cli/status_tables.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "client/cli/table.h"

namespace moai {
namespace {

constexpr char kIdle[] = "-";

// Of something in use: never less than it is.
std::string UsedMebibytes(uint64_t bytes) {
  return absl::StrCat((bytes + (uint64_t{1} << 20) - 1) >> 20, " MiB");
}

std::string Mebibytes(uint64_t bytes) { return absl::StrCat(bytes >> 20, " MiB"); }

std::string Percent(double share) { return absl::StrCat(std::lround(share * 100), " %"); }

std::string OrIdle(bool busy, std::string text) { return busy ? std::move(text) : kIdle; }

}  // namespace

std::string DeviceTable(const proto::GetStatusReply& status, const std::string& version) {
  Table table;
  table.title =
      absl::StrCat("Current Version: ", version, "  Latest Version: ", status.server_version());
  table.columns = {{"  Device  "},         {"        Name         "},
                   {"       Model      "}, {"  Memory Usage  ", Align::kCenter},
                   {"  Total Memory  "},   {"  Utilization  ", Align::kCenter}};
  for (const proto::VirtualDeviceStatus& device : status.devices()) {
    table.rows.push_back({absl::StrCat(device.current() ? "* " : "  ", device.device()),
                          "MoAI Accelerator", device.flavor().empty() ? kIdle : device.flavor(),
                          OrIdle(device.busy(), UsedMebibytes(device.memory_used_bytes())),
                          OrIdle(device.memory_bytes() > 0, Mebibytes(device.memory_bytes())),
                          OrIdle(device.busy(), Percent(device.utilization()))});
  }
  return RenderTable(table);
}

std::string ProcessTable(const proto::GetStatusReply& status) {
  Table table;
  table.columns = {{"  Device  ", Align::kRight},
                   {"  Job ID  ", Align::kRight},
                   {"    PID    ", Align::kRight},
                   {"  Process  "},
                   {"  Memory Usage  ", Align::kCenter}};
  for (const proto::JobStatus& job : status.jobs()) {
    table.rows.push_back({absl::StrCat(job.device()), absl::StrCat(job.job()),
                          absl::StrCat(job.process_id()), job.process_name(),
                          UsedMebibytes(job.memory_used_bytes())});
  }
  if (table.rows.empty()) table.rows.push_back({kIdle, kIdle, kIdle, kIdle, kIdle});
  return absl::StrCat("Processes:\n", RenderTable(table));
}

std::string PhysicalTable(const proto::GetStatusReply& status) {
  Table table;
  table.columns = {{"  Dev  ", Align::kRight},
                   {"  Location  "},
                   {"  Dev Temp  ", Align::kCenter},
                   {"  Mem Temp  ", Align::kCenter},
                   {"  Dev Util  ", Align::kCenter},
                   {"  Mem Util  ", Align::kCenter},
                   {"      Mem Usage      ", Align::kCenter}};
  for (int i = 0; i < status.physical_devices_size(); ++i) {
    const proto::PhysicalDeviceStatus& device = status.physical_devices(i);
    const double used = double(device.memory_used_bytes()) / double(device.memory_bytes());
    // Processors tell no temperature.
    table.rows.push_back(
        {absl::StrCat(i), absl::StrCat(device.worker(), ":", device.index()), kIdle, kIdle,
         OrIdle(device.busy(), Percent(device.utilization())), OrIdle(device.busy(), Percent(used)),
         absl::StrCat(OrIdle(device.busy(), UsedMebibytes(device.memory_used_bytes())), " / ",
                      Mebibytes(device.memory_bytes()))});
  }
  return RenderTable(table);
}

}  // namespace moai
