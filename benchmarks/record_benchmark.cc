// What recording a training step costs the client: forward, backward and optimizer of the example's
// model, from the first op until the step has been handed to the wire. Behind the client stands a
// session that encodes steps as the real one does and then forgets them.
//
// Then what sizes that were never seen cost the server and the executor: a graph of about 2,000
// nodes is inferred, verified, planned for one device and compiled again, on one core.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "benchmarks/step_counter.h"
#include "client/capture/recorder.h"
#include "client/models/llama.h"
#include "client/optim/adam.h"
#include "client/optim/clip.h"
#include "graph/infer.h"
#include "graph/verify.h"
#include "program/compile.h"
#include "scheduler/planner.h"
#include "scheduler/planning/auto_planner.h"

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Fail(const absl::Status& status) {
  std::fprintf(stderr, "record: %s\n", status.ToString().c_str());
  std::exit(1);
}
void Check(const absl::Status& status) {
  if (!status.ok()) Fail(status);
}

// A training step of the example, again and again.
class Trainer {
 public:
  Trainer(const models::LlamaConfig& config, int64_t batch)
      : batch_(batch),
        model_(config),
        parameters_(model_.NamedParameters()),
        optimizer_(parameters_, {}) {}

  void Step(int64_t sequence) {
    const std::vector<int32_t> ids(batch_ * sequence, 1);
    const Tensor loss = model_.Loss(Tensor::FromData(ids, {batch_, sequence}),
                                    Tensor::FromData(ids, {batch_, sequence}));
    Check(loss.Backward());
    optimizer_.set_learning_rate(optimizer_.learning_rate() * 0.999);
    Check(optimizer_.Step({.gradient_scale = optim::ClipGradientNorm(parameters_, 1).scale,
                           .release_gradients = true}));
    loss_ = loss;
  }
  // Reads the last loss, as a program that watches it does.
  void ReadLoss() { Check(loss_.Item().status()); }

 private:
  int64_t batch_;
  models::Llama model_;
  std::vector<nn::NamedTensor> parameters_;
  optim::AdamW optimizer_;
  Tensor loss_;
};

struct RecordCost {
  double us_per_op = 0;
  double ms_per_step = 0;
  double nodes_per_step = 0;
  double control_bytes_per_step = 0;
  double round_trips_per_step = 0;
  double graphs = 0;
};

RecordCost MeasureRecording(const models::LlamaConfig& config) {
  auto session = std::make_shared<StepCounter>();
  Recorder::SetCurrent(Recorder::Create(session));
  Trainer trainer(config, 8);
  constexpr int kWarmUp = 5, kSteps = 60;
  for (int i = 0; i < kWarmUp; ++i) {
    trainer.Step(config.sequence);
    trainer.ReadLoss();
  }
  const SessionStats before = session->stats();
  const uint64_t nodes_before = Recorder::Current()->recorded_nodes();
  std::vector<double> times;
  for (int i = 0; i < kSteps; ++i) {
    const Clock::time_point begin = Clock::now();
    trainer.Step(config.sequence);
    times.push_back(Milliseconds(begin, Clock::now()));
    trainer.ReadLoss();
  }
  const SessionStats after = session->stats();
  RecordCost cost;
  cost.nodes_per_step =
      static_cast<double>(Recorder::Current()->recorded_nodes() - nodes_before) / kSteps;
  cost.ms_per_step = Median(times);
  cost.us_per_op = cost.ms_per_step * 1000 / cost.nodes_per_step;
  cost.control_bytes_per_step =
      static_cast<double>(after.control_bytes_sent - before.control_bytes_sent) / kSteps;
  cost.round_trips_per_step =
      static_cast<double>(after.blocking_round_trips - before.blocking_round_trips) / kSteps;
  cost.graphs = static_cast<double>(after.graphs_registered - before.graphs_registered);
  Recorder::SetCurrent(nullptr);
  return cost;
}

struct NewSizesCost {
  double nodes = 0;
  double infer_ms = 0;  // shape and bounds inference: all that is verified again
  double verify_ms = 0;
  double plan_ms = 0;
  double compile_ms = 0;    // in the executor
  double structure_ms = 0;  // once per structure, for comparison
  double total_ms = 0;
};

template <typename T>
T Take(absl::StatusOr<T> result) {
  if (!result.ok()) Fail(result.status());
  return *std::move(result);
}

NewSizesCost MeasureNewSizes() {
  auto session = std::make_shared<StepCounter>();
  Recorder::SetCurrent(Recorder::Create(session));
  // 16 blocks make about 2,000 nodes.
  Trainer trainer({.hidden = 64, .ffn = 128, .layers = 16, .heads = 4, .sequence = 128}, 2);
  trainer.Step(64);
  trainer.Step(64);
  const StepRequest known = session->last_step();
  const Graph& graph = *known.graph;
  const Clock::time_point start = Clock::now();
  const auto compiled = Take(CompileStructure(graph));
  NewSizesCost cost{.nodes = static_cast<double>(graph.nodes.size()),
                    .structure_ms = Milliseconds(start, Clock::now())};
  const std::unique_ptr<Planner> planner = MakeAutoPlanner();
  const std::vector<DeviceProfile> devices = {
      {.kind = "cpu", .memory_bytes = int64_t{1} << 34, .threads = 1}};
  std::vector<double> totals, infers, verifies, plans, compiles;
  for (int64_t sequence = 65; sequence < 80; ++sequence) {
    trainer.Step(sequence);
    const StepRequest step = session->last_step();
    if (!(step.fingerprint == known.fingerprint)) {
      Fail(absl::InternalError("another length made another structure"));
    }
    const Clock::time_point t0 = Clock::now();
    Check(VerifyStructure(graph));
    const Clock::time_point t1 = Clock::now();
    const std::vector<TensorType> types = Take(InferGraph(graph, step.sizes));
    const Clock::time_point t2 = Clock::now();
    const auto plan =
        Take(planner->MakePlan({known.graph, compiled.get(), step.sizes, types, devices}));
    const Clock::time_point t3 = Clock::now();
    const Program program =
        Take(InstantiateProgram(*compiled, step.sizes, types, DeviceShape{.threads = 1}));
    const Clock::time_point t4 = Clock::now();
    verifies.push_back(Milliseconds(t0, t1));
    infers.push_back(Milliseconds(t1, t2));
    plans.push_back(Milliseconds(t2, t3));
    compiles.push_back(Milliseconds(t3, t4));
    totals.push_back(Milliseconds(t0, t4));
  }
  cost.verify_ms = Median(verifies);
  cost.infer_ms = Median(infers);
  cost.plan_ms = Median(plans);
  cost.compile_ms = Median(compiles);
  cost.total_ms = Median(totals);
  Recorder::SetCurrent(nullptr);
  return cost;
}

void Run() {
  // The model of llm_vs_torch.
  const RecordCost record = MeasureRecording({.vocabulary = 8192,
                                              .hidden = 384,
                                              .ffn = 1024,
                                              .layers = 8,
                                              .heads = 6,
                                              .kv_heads = 2,
                                              .sequence = 256});
  absl::PrintF("recording a training step: %.0f ops, %.3f ms, %.3f us an op (goal 1)\n",
               record.nodes_per_step, record.ms_per_step, record.us_per_op);
  absl::PrintF(
      "control: %.0f bytes a step (goal 1024), %.2f blocking round trips (goal 1), "
      "%.0f new graphs\n",
      record.control_bytes_per_step, record.round_trips_per_step, record.graphs);
  const NewSizesCost sizes = MeasureNewSizes();
  absl::PrintF(
      "sizes never seen, %.0f nodes, one core: %.2f ms (goal 50): verify %.2f, infer %.2f, "
      "plan %.2f, compile %.2f; the structure once: %.2f ms\n",
      sizes.nodes, sizes.total_ms, sizes.verify_ms, sizes.infer_ms, sizes.plan_ms, sizes.compile_ms,
      sizes.structure_ms);
  absl::PrintF(
      "{\"us_per_op\": %.4f, \"ms_per_step\": %.4f, \"control_bytes_per_step\": %.1f, "
      "\"blocking_round_trips_per_step\": %.3f, \"ops_per_step\": %.0f, "
      "\"new_sizes_nodes\": %.0f, \"new_sizes_ms\": %.3f, \"new_structure_ms\": %.3f}\n",
      record.us_per_op, record.ms_per_step, record.control_bytes_per_step,
      record.round_trips_per_step, record.nodes_per_step, sizes.nodes, sizes.total_ms,
      sizes.structure_ms);
}

}  // namespace
}  // namespace moai

int main() { moai::Run(); }
