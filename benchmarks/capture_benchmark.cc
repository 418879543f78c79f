// What it costs to capture a training step of a large model without a device: Llama-3 405B with 1/8
// of its layers, 1/4, 1/2 and all. Compared is the time per layer with that of the smallest, which
// a linear capture keeps. Times are processor time: other programs change it little.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/models/catalog.h"

namespace moai::models {
namespace {

constexpr int kRepetitions = 7;

template <typename T>
T Take(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "capture: %s\n", result.status().ToString().c_str());
  std::exit(1);
}

double ProcessorMilliseconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double PeakMegabytes() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void Run() {
  const LlamaConfig whole = std::get<LlamaConfig>(Take(FindModel("llama3-405b")));
  const std::vector<int64_t> layers = {whole.layers / 8, whole.layers / 4, whole.layers / 2,
                                       whole.layers};
  std::vector<std::vector<double>> times(layers.size());
  std::vector<size_t> nodes(layers.size());
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    for (size_t i = 0; i < layers.size(); ++i) {
      LlamaConfig config = whole;
      config.layers = layers[i];
      const double begin = ProcessorMilliseconds();
      const CapturedStep step = Take(CaptureModel("llama3", config, 2048));
      times[i].push_back(ProcessorMilliseconds() - begin);
      nodes[i] = step.graph->nodes.size();
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& list : times) {
    std::nth_element(list.begin(), list.begin() + kRepetitions / 2, list.end());
    medians.push_back(list[kRepetitions / 2]);
  }
  const double per_layer_first = medians[0] / static_cast<double>(layers[0]);
  for (size_t i = 0; i < layers.size(); ++i) {
    const double per_layer = medians[i] / static_cast<double>(layers[i]);
    absl::PrintF("%4d layers: %6d ops, %8.2f ms, %.3f ms a layer, %.2f of the first's\n", layers[i],
                 nodes[i], medians[i], per_layer, per_layer / per_layer_first);
  }
  const double growth = medians.back() / static_cast<double>(layers.back()) / per_layer_first;
  absl::PrintF("peak memory: %.0f MB (the model's weights alone: 1.6 TB)\n", PeakMegabytes());
  absl::PrintF(
      "{\"layers\": %d, \"ops\": %d, \"ms\": %.2f, \"peak_mb\": %.0f, "
      "\"per_layer_growth\": %.3f}\n",
      layers.back(), nodes.back(), medians.back(), PeakMegabytes(), growth);
}

}  // namespace
}  // namespace moai::models

int main() { moai::models::Run(); }
