// How long planning takes, on one thread: capture is not counted, everything from the graph is.
#include <chrono>
#include <cstdio>
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
double PlanSeconds(const Case& c) {
  models::ModelConfig config = *models::FindModel(c.model);
  if (c.layers > 0) std::get<models::LlamaConfig>(config).layers = c.layers;
  const absl::StatusOr<CapturedStep> step = models::CaptureModel(c.model, config, c.batch);
  if (!step.ok()) {
    std::printf("%s: %s\n", c.model.c_str(), step.status().ToString().c_str());
    return -1;
  }
  const auto start = std::chrono::steady_clock::now();
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
  if (!space.ok()) return -1;
  const double made = Seconds(start);
  const absl::StatusOr<SearchResult> result = space->Search();
  const double seconds = Seconds(start);
  if (!result.ok()) {
    std::printf("%s on %d: %s\n", c.model.c_str(), int(c.devices),
                result.status().ToString().c_str());
    return -1;
  }
  const EvaluatedCandidate& best = result->candidates[0];
  std::printf("%-14s %6d devices, batch %5d, %6d nodes: %7.2f s (facts %.2f s, %d plans, %d fit)\n",
              c.model.c_str(), int(c.devices), int(c.batch), int(step->graph->nodes.size()),
              seconds, made, int(result->evaluated), int(result->feasible));
  std::printf("  %s: %.3f s a step, %.1f GiB a device\n",
              space->Describe(best.candidate).c_str(), best.cost.seconds,
              double(best.cost.total_bytes()) / double(1 << 30));
  std::fflush(stdout);
  return seconds;
}

std::string Number(double seconds) {
  return seconds < 0 ? "null" : absl::StrFormat("%.3f", seconds);
}

int Main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  const auto run = [&](const Case& c) {
    return only.empty() || only == c.model ? PlanSeconds(c) : -1;
  };
  const double small = run({"llama3-8b", 64, 128});
  const double middle = run({"llama3-70b", 1024, 1024});
  const double large = run({"llama3-405b", 16384, 16384});
  std::string layers;
  for (int64_t count : {8, 16, 32, 64}) {
    if (!only.empty()) break;
    absl::StrAppend(&layers, layers.empty() ? "" : ", ", "\"", count, "\": ",
                    Number(PlanSeconds({"llama3-8b", 64, 128, count})));
  }
  std::printf("{\"llama8b_64_s\": %s, \"llama70b_1024_s\": %s, \"llama405b_16384_s\": %s, "
              "\"by_layers\": {%s}}\n",
              Number(small).c_str(), Number(middle).c_str(), Number(large).c_str(),
              layers.c_str());
  return 0;
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
