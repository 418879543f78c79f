// How long planning takes, on one thread: capture is not counted, everything from the graph is.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/models/catalog.h"
#include "graph/infer.h"
#include "scheduler/cost/gpu_types.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/search.h"

namespace moai {
namespace {

struct Case {
  std::string model;
  int64_t devices;
  int64_t batch;
  int64_t layers = 0;  // 0: the model's own
};

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

// Negative where no plan was found.
struct Took {
  double seconds = -1;
  double processor_seconds = -1;  // less where others use the machine too
};

Took PlanTime(const Case& c) {
  models::ModelConfig config = *models::FindModel(c.model);
  if (c.layers > 0) std::get<models::LlamaConfig>(config).layers = c.layers;
  const absl::StatusOr<CapturedStep> step = models::CaptureModel(c.model, config, c.batch);
  if (!step.ok()) {
    std::printf("%s: %s\n", c.model.c_str(), step.status().ToString().c_str());
    return {};
  }
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor_start = std::clock();
  const std::vector<TensorType> types = *InferGraph(*step->graph, step->sizes);
  const Cluster cluster = ClusterOf(**FindGpuType("H100"), (c.devices + 7) / 8, 8);
  const SearchRequest request{.graph = step->graph.get(),
                              .sizes = step->sizes,
                              .types = types,
                              .cluster = &cluster,
                              .devices = c.devices,
                              .memory_bytes = int64_t(cluster.device.memory_bytes),
                              .most_stages = 64};
  const absl::StatusOr<SearchSpace> space = SearchSpace::Make(request);
  if (!space.ok()) return {};
  const double made = Seconds(start);
  const absl::StatusOr<SearchResult> result = space->Search();
  const double seconds = Seconds(start);
  const double processor_seconds = double(std::clock() - processor_start) / CLOCKS_PER_SEC;
  if (!result.ok()) {
    std::printf("%s on %d: %s\n", c.model.c_str(), int(c.devices),
                result.status().ToString().c_str());
    return {};
  }
  const EvaluatedCandidate& best = result->candidates[0];
  std::printf(
      "%-14s %6d devices, batch %5d, %6d nodes: %7.2f s, %6.2f s of processor time (facts "
      "%.2f s, %d plans, %d fit)\n",
      c.model.c_str(), int(c.devices), int(c.batch), int(step->graph->nodes.size()), seconds,
      processor_seconds, made, int(result->evaluated), int(result->feasible));
  std::printf("  %s: %.3f s a step, %.1f GiB a device\n", space->Describe(best.candidate).c_str(),
              best.cost.seconds, double(best.cost.total_bytes()) / double(1 << 30));
  std::fflush(stdout);
  return {seconds, processor_seconds};
}

std::string Number(double seconds) {
  return seconds < 0 ? "null" : absl::StrFormat("%.3f", seconds);
}

int Main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  std::string json;
  const auto run = [&](const char* name, const Case& c) {
    const Took took = only.empty() || only == c.model ? PlanTime(c) : Took{};
    absl::StrAppend(&json, "\"", name, "_s\": ", Number(took.seconds), ", \"", name,
                    "_processor_s\": ", Number(took.processor_seconds), ", ");
  };
  run("llama8b_64", {"llama3-8b", 64, 128});
  run("llama70b_1024", {"llama3-70b", 1024, 1024});
  run("llama405b_16384", {"llama3-405b", 16384, 16384});
  std::string layers;
  for (int64_t count : {8, 16, 32, 64, 128}) {
    if (!only.empty() && only != "layers") break;
    const Took took = PlanTime({"llama3-8b", 64, 128, count});
    absl::StrAppend(&layers, layers.empty() ? "" : ", ", "\"", count,
                    "\": ", Number(took.processor_seconds));
  }
  std::printf("{%s\"processor_s_by_layers\": {%s}}\n", json.c_str(), layers.c_str());
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
