#include "scheduler/report/print.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace moai {
namespace {

using Json = nlohmann::ordered_json;

// GiB, but MiB of what would hardly show.
std::string Size(int64_t bytes) {
  const double gib = double(bytes) / double(int64_t{1} << 30);
  return bytes == 0 || gib >= 0.1 ? absl::StrFormat("%.2f GiB", gib)
                                  : absl::StrFormat("%.2f MiB", gib * 1024);
}

std::string Seconds(double seconds) {
  return seconds < 0.1 ? absl::StrFormat("%.3f ms", seconds * 1e3)
                       : absl::StrFormat("%.3f s", seconds);
}

// What people of this platform read at the start of a program.
std::string Words(const PlanSummary& plan) {
  return absl::StrCat("num_stages : ", plan.num_stages,
                      ", num_micro_batches : ", plan.num_micro_batches,
                      ", batch_per_device : ", plan.batch_per_device, ", ",
                      plan.model > 1 ? absl::StrCat("TP : ", plan.model) : "No TP",
                      ", recomputation : ", plan.recomputation,
                      ", distribute_param : ", plan.distribute_param ? "true" : "false");
}

double ThroughputOf(const PlanSummary& plan) {
  return plan.tokens_per_second > 0 ? plan.tokens_per_second : plan.samples_per_second;
}

absl::string_view UnitOf(const PlanSummary& plan) {
  return plan.tokens_per_second > 0 ? "tokens" : "samples";
}

void AppendSummary(const PlanSummary& plan, int64_t devices, std::string& out) {
  absl::StrAppend(&out, "  ", plan.description, "\n  ", Words(plan), "\n");
  absl::StrAppendFormat(&out, "  step %s: compute %s, communication %s, not computing %s\n",
                        Seconds(plan.cost.seconds), Seconds(plan.cost.compute),
                        Seconds(plan.cost.communication), Seconds(plan.cost.exposed));
  absl::StrAppendFormat(&out, "  %.0f %s/s, %.0f a device; MFU %.1f %%\n", ThroughputOf(plan),
                        UnitOf(plan), ThroughputOf(plan) / double(devices), plan.mfu * 100);
  absl::StrAppend(&out, "  memory of a device: ", Size(plan.memory.total()), " (parameters ",
                  Size(plan.memory.parameters), ", optimizer state ", Size(plan.memory.optimizer),
                  ", other state ", Size(plan.memory.other_state), ", gradients and activations ",
                  Size(plan.memory.working), ")\n");
}

void AppendLines(absl::Span<const PlanLine> lines, std::string& out) {
  for (const PlanLine& line : lines) {
    absl::StrAppendFormat(&out, "  %11s  %12s  %s\n", Seconds(line.seconds), Size(line.bytes),
                          line.description);
  }
}

Json SummaryJson(const PlanSummary& plan, int64_t devices) {
  return {
      {"fits", plan.fits},
      {"description", plan.description},
      {"num_stages", plan.num_stages},
      {"virtual_stages", plan.virtual_stages},
      {"num_micro_batches", plan.num_micro_batches},
      {"batch_per_device", plan.batch_per_device},
      {"data", plan.data},
      {"model", plan.model},
      {"recomputation", plan.recomputation},
      {"state_sharding", plan.state_sharding},
      {"distribute_param", plan.distribute_param},
      {"step_s", plan.cost.seconds},
      {"compute_s", plan.cost.compute},
      {"communication_s", plan.cost.communication},
      {"not_computing_s", plan.cost.exposed},
      {"sent_bytes_per_device", plan.cost.sent_bytes},
      {"samples_per_s", plan.samples_per_second},
      {"tokens_per_s", plan.tokens_per_second},
      {"tokens_per_s_per_device", plan.tokens_per_second / double(devices)},
      {"mfu_pct", plan.mfu * 100},
      {"memory_bytes",
       {{"total", plan.memory.total()},
        {"parameters", plan.memory.parameters},
        {"optimizer", plan.memory.optimizer},
        {"other_state", plan.memory.other_state},
        {"gradients_and_activations", plan.memory.working}}},
  };
}

Json LinesJson(absl::Span<const PlanLine> lines) {
  Json all = Json::array();
  for (const PlanLine& line : lines) {
    all.push_back(
        {{"description", line.description}, {"step_s", line.seconds}, {"bytes", line.bytes}});
  }
  return all;
}

// Names come from files: what is no UTF-8 is replaced.
std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string ReportText(const PlanReport& report) {
  std::string out;
  const bool billions = report.parameters >= 100'000'000;
  absl::StrAppendFormat(&out, "%s: %.2f %s parameters, %d samples a step", report.model,
                        double(report.parameters) / (billions ? 1e9 : 1e6),
                        billions ? "billion" : "million", report.samples);
  if (report.tokens > 0) absl::StrAppend(&out, ", ", report.tokens, " tokens");
  absl::StrAppend(&out, "\n", report.devices, " devices of ", report.cluster, ", ",
                  Size(report.device_bytes), " each\n\n");
  absl::StrAppend(&out, report.chosen.fits ? "chosen\n" : "NOTHING FITS; the smallest plan is\n");
  AppendSummary(report.chosen, report.devices, out);
  const double gap = report.chosen.cost.seconds / report.bound.seconds - 1;
  absl::StrAppendFormat(
      &out, "  no plan is faster than %s (arithmetic %s, other kernels %s, host %s): gap %.1f %%\n",
      Seconds(report.bound.seconds), Seconds(report.bound.arithmetic), Seconds(report.bound.other),
      Seconds(report.bound.host), gap * 100);
  if (report.stated.has_value()) {
    absl::StrAppend(&out, "\nstated", report.stated->fits ? "" : " (DOES NOT FIT)", "\n");
    AppendSummary(*report.stated, report.devices, out);
    absl::StrAppendFormat(&out, "  %.3f times the chosen plan's step\n",
                          report.stated->cost.seconds / report.chosen.cost.seconds);
  } else if (!report.stated_error.empty()) {
    absl::StrAppend(&out, "\nthe stated plan does not exist: ", report.stated_error, "\n");
  }
  if (!report.slower.empty()) {
    absl::StrAppend(&out, "\nrejected: slower\n");
    AppendLines(report.slower, out);
  }
  if (!report.too_large.empty()) {
    absl::StrAppend(&out, "\nrejected: does not fit\n");
    AppendLines(report.too_large, out);
  }
  absl::StrAppendFormat(
      &out, "\nplanned in %.3f s (%.3f s of processor time): %d plans evaluated, %d of them fit\n",
      report.planning_seconds, report.planning_processor_seconds, report.evaluated,
      report.feasible);
  return out;
}

std::string ReportJson(const PlanReport& report) {
  Json json = {
      {"model", report.model},
      {"cluster", report.cluster},
      {"devices", report.devices},
      {"samples", report.samples},
      {"tokens", report.tokens},
      {"parameters", report.parameters},
      {"device_bytes", report.device_bytes},
      {"chosen", SummaryJson(report.chosen, report.devices)},
      {"lower_bound_s", report.bound.seconds},
      {"gap_pct", (report.chosen.cost.seconds / report.bound.seconds - 1) * 100},
      {"slower", LinesJson(report.slower)},
      {"too_large", LinesJson(report.too_large)},
      {"evaluated", report.evaluated},
      {"feasible", report.feasible},
      {"planning_s", report.planning_seconds},
      {"planning_processor_s", report.planning_processor_seconds},
  };
  if (report.stated.has_value()) json["stated"] = SummaryJson(*report.stated, report.devices);
  if (!report.stated_error.empty()) json["stated_error"] = report.stated_error;
  return Dump(json);
}

std::string FlavorsText(absl::Span<const FlavorRow> rows) {
  std::string out;
  absl::StrAppendFormat(&out, "%8s  %4s  %10s  %13s  %13s  %12s  %s\n", "devices", "fits", "step",
                        "per second", "a device", "memory", "plan");
  for (const FlavorRow& row : rows) {
    if (!row.plan.has_value()) {
      absl::StrAppendFormat(&out, "%8d  %4s  %s\n", row.devices, "no", row.error);
      continue;
    }
    const PlanSummary& plan = *row.plan;
    const std::string memory = Size(plan.memory.total());
    if (!plan.fits) {
      absl::StrAppendFormat(&out, "%8d  %4s  %10s  %13s  %13s  %12s  the smallest: %s\n",
                            row.devices, "no", "-", "-", "-", memory, plan.description);
      continue;
    }
    absl::StrAppendFormat(&out, "%8d  %4s  %10s  %13.0f  %13.0f  %12s  %s\n", row.devices, "yes",
                          Seconds(plan.cost.seconds), ThroughputOf(plan),
                          ThroughputOf(plan) / double(row.devices), memory, plan.description);
  }
  const auto first = std::find_if(rows.begin(), rows.end(),
                                  [](const FlavorRow& row) { return row.plan.has_value(); });
  if (first != rows.end()) {
    absl::StrAppend(&out, "per second: ", UnitOf(*first->plan), "\n");
  }
  return out;
}

std::string FlavorsJson(absl::Span<const FlavorRow> rows) {
  Json all = Json::array();
  for (const FlavorRow& row : rows) {
    Json json = {{"devices", row.devices}, {"fits", row.plan.has_value() && row.plan->fits}};
    if (row.plan.has_value()) {
      json["plan"] = SummaryJson(*row.plan, row.devices);
    } else {
      json["error"] = row.error;
    }
    all.push_back(std::move(json));
  }
  return Dump(all);
}

}  // namespace moai
