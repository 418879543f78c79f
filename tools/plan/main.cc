// moai-plan: how a model would run on a cluster, without one. README.md says how to read it.
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "client/cli/admin_client.h"
#include "proto/admin.pb.h"
#include "scheduler/report/print.h"
#include "scheduler/report/report.h"
#include "tools/plan/options.h"
#include "tools/plan/timeline.h"

ABSL_FLAG(std::string, cluster, "", "a cluster file (scheduler/cost/README.md has the format)");
ABSL_FLAG(std::string, gpu, "", "in place of a cluster file: a GPU type, \"H100\"");
ABSL_FLAG(int64_t, devices, 0, "devices to plan for; 0: all of the cluster");
ABSL_FLAG(int64_t, batch, 0, "samples a step of a built-in model; 0: one a device");
ABSL_FLAG(int64_t, sequence, 0, "tokens a sample of a built-in model; 0: the model's own");
ABSL_FLAG(std::string, dtype, "bf16", "of a built-in model's products: bf16, f16 or f32");
ABSL_FLAG(bool, json, false, "print JSON");
ABSL_FLAG(bool, running, false,
          "report on the program that runs on the virtual device of MOAI_SERVER, MOAI_TOKEN and "
          "MOREH_VISIBLE_DEVICE, in place of a model");
ABSL_FLAG(bool, flavors, false, "one row for each of 1, 2, 4 ... devices");
ABSL_FLAG(std::string, force, "",
          "cost a stated plan beside the chosen one: "
          "tp=..,pp=..,dp=..,micro_batch=..,recompute=..,zero=..,virtual_stages=..");
ABSL_FLAG(
    std::string, trace, "",
    "write a timeline, for Perfetto, to this file: of the stated plan, else of the chosen one");

namespace moai {
namespace {

// What the shell sees.
constexpr int kPlanned = 0;
constexpr int kFailed = 1;       // a file cannot be read or written, or no plan exists
constexpr int kUsage = 2;        // the command line is wrong
constexpr int kNothingFits = 3;  // planned, but no plan fits the devices' memory

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "moai-plan: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) ? kUsage : kFailed;
}

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int Flavors(const PlanningInput& input, const ReportOptions& options) {
  const std::vector<FlavorRow> rows = CompareFlavors(input, options);
  Print(absl::GetFlag(FLAGS_json) ? FlavorsJson(rows) : FlavorsText(rows));
  for (const FlavorRow& row : rows) {
    if (row.plan.has_value() && row.plan->fits) return kPlanned;
  }
  return kNothingFits;
}

// The server plans the step again, and says it in the same words.
int RunningProgram() {
  absl::StatusOr<AdminClient> server = AdminClient::FromEnvironment();
  if (!server.ok()) return Fail(server.status());
  const absl::StatusOr<proto::GetPlanReportReply> reply = server->GetPlanReport();
  if (!reply.ok()) return Fail(reply.status());
  if (absl::GetFlag(FLAGS_json)) {
    Print(reply->json());
    return kPlanned;
  }
  Print(absl::StrCat("job ", reply->job(), ", ", reply->process_name(), ", runs by\n  ",
                     reply->plan(), "\n\n", reply->text()));
  return kPlanned;
}

int Run(const std::string& model) {
  ReportOptions options{.devices = absl::GetFlag(FLAGS_devices)};
  if (options.devices < 0) {
    return Fail(absl::InvalidArgumentError("--devices must be at least 1"));
  }
  absl::StatusOr<Cluster> cluster =
      LoadCluster(absl::GetFlag(FLAGS_cluster), absl::GetFlag(FLAGS_gpu), options.devices);
  if (!cluster.ok()) return Fail(cluster.status());
  if (options.devices == 0) options.devices = cluster->device_count();
  absl::StatusOr<CapturedStep> step = LoadStep(
      model,
      {absl::GetFlag(FLAGS_batch), absl::GetFlag(FLAGS_sequence), absl::GetFlag(FLAGS_dtype)},
      options.devices);
  if (!step.ok()) return Fail(step.status());
  std::optional<SearchConstraints> force;
  if (const std::string text = absl::GetFlag(FLAGS_force); !text.empty()) {
    absl::StatusOr<SearchConstraints> parsed = ParseForce(text, options.devices, step->samples);
    if (!parsed.ok()) return Fail(parsed.status());
    force = *parsed;
  }
  const absl::StatusOr<PlanningInput> input =
      MakePlanningInput(*std::move(step), *std::move(cluster));
  if (!input.ok()) return Fail(input.status());
  if (absl::GetFlag(FLAGS_flavors)) return Flavors(*input, options);
  const absl::StatusOr<PlannedStep> planned = PlanStep(*input, options);
  if (!planned.ok()) return Fail(planned.status());
  std::optional<absl::StatusOr<PlannedStep>> stated;
  if (force.has_value()) stated = PlanStep(*input, options, *force);
  const absl::StatusOr<PlanReport> report =
      MakeReport(*input, options, *planned, stated.has_value() ? &*stated : nullptr);
  if (!report.ok()) return Fail(report.status());
  Print(absl::GetFlag(FLAGS_json) ? ReportJson(*report) : ReportText(*report));
  if (const std::string path = absl::GetFlag(FLAGS_trace); !path.empty()) {
    const PlannedStep& shown = stated.has_value() && stated->ok() ? **stated : *planned;
    const absl::StatusOr<double> seconds =
        WriteTimeline(input->cluster, shown.space, shown.result.candidates[0].candidate, path);
    if (!seconds.ok()) return Fail(seconds.status());
    std::fprintf(stderr, "wrote %s: the simulated step takes %.4f s\n", path.c_str(), *seconds);
  }
  return report->chosen.fits ? kPlanned : kNothingFits;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "plans a training step without a cluster\n"
      "  moai-plan MODEL|FILE --gpu=H100 --devices=64\n"
      "  moai-plan MODEL|FILE --cluster=FILE [--devices=N]\n"
      "  moai-plan --running");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (absl::GetFlag(FLAGS_running) && rest.size() == 1) return moai::RunningProgram();
  if (rest.size() != 2 || absl::GetFlag(FLAGS_running)) {
    std::fprintf(stderr, "moai-plan: name one model or file; moai-plan --help says more\n");
    return 2;
  }
  return moai::Run(rest[1]);
}
