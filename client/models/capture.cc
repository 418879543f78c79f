#include "client/models/capture.h"

#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/capture/recorder.h"
#include "client/models/recording_session.h"
#include "client/optim/clip.h"
#include "client/tensor/autocast.h"
#include "client/tensor/random.h"
#include "client/tensor/tensor_impl.h"
#include "graph/infer.h"

namespace moai {
namespace {

// The first step makes the state, the second is the one wanted, the third shows that it repeats.
constexpr int kSteps = 3;

// One graph, however large: the verifier says what is too large.
RecorderOptions NeverCut() {
  return {.min_nodes_to_cut = std::numeric_limits<size_t>::max(),
          .max_nodes = std::numeric_limits<size_t>::max()};
}

absl::Status RunStep(const TrainingProgram& program, const CaptureOptions& options,
                     const std::vector<nn::NamedTensor>& parameters, optim::AdamW& optimizer) {
  Tensor loss;
  {
    std::optional<Autocast> autocast;
    if (options.autocast.has_value()) autocast.emplace(*options.autocast);
    loss = program.loss();
  }
  MOAI_RETURN_IF_ERROR(loss.Backward());
  if (options.clip_norm <= 0) return optimizer.Step({.release_gradients = true});
  const Tensor scale = optim::ClipGradientNorm(parameters, options.clip_norm).scale;
  return optimizer.Step({.gradient_scale = scale, .release_gradients = true});
}

using SlotNames = absl::flat_hash_map<ObjectId, CapturedSlot>;

void AddNames(const std::vector<nn::NamedTensor>& tensors, SlotRole role, SlotNames& names) {
  for (const nn::NamedTensor& entry : tensors) {
    const Ref<Slot>& slot = entry.tensor.impl()->storage->slot;
    // Parameters are in the state dict too: the first role counts.
    if (slot) names.insert({slot->id(), {entry.name, role, entry.tensor.type()}});
  }
}

absl::StatusOr<std::vector<CapturedSlot>> DescribeSlots(const StepRequest& step,
                                                        const SlotNames& names) {
  const Graph& graph = *step.graph;
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, step.sizes));
  std::vector<CapturedSlot> slots(graph.slot_count);
  for (size_t i = 0; i < slots.size(); ++i) {
    const auto it = names.find(step.slots[i]);
    slots[i] = it != names.end() ? it->second : CapturedSlot{.name = absl::StrCat("state.", i)};
  }
  for (const Output& output : graph.outputs) {
    if (output.kind == OutputKind::kSlot) slots[output.index].type = types[output.value];
  }
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) slots[input.index].type = types[input.value];
  }
  return slots;
}

absl::Status CheckRepeats(const std::vector<StepRequest>& steps) {
  if (steps.size() != kSteps) {
    return absl::UnimplementedError(absl::StrCat(
        "the step cannot be captured: ", kSteps, " training steps were ", steps.size(),
        " submissions, not one each. A step that reads values or ends others is not supported"));
  }
  const StepRequest& wanted = steps[kSteps - 2];
  const StepRequest& next = steps[kSteps - 1];
  if (wanted.fingerprint == next.fingerprint && wanted.sizes == next.sizes &&
      wanted.slots == next.slots) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat(
      "the step cannot be captured: its second and third time (", wanted.graph->nodes.size(),
      " and ", next.graph->nodes.size(), " ops) are not the same graph"));
}

absl::StatusOr<CapturedStep> Capture(const std::string& name,
                                     const std::function<TrainingProgram()>& make,
                                     const CaptureOptions& options) {
  const auto session = std::make_shared<RecordingSession>();
  Recorder::SetCurrent(Recorder::Create(session, NeverCut()));
  ManualSeed(0);
  const TrainingProgram program = make();
  MOAI_RETURN_IF_ERROR(program.module->status());
  const std::vector<nn::NamedTensor> parameters = program.module->NamedParameters();
  optim::AdamW optimizer(parameters, options.optimizer);
  for (int i = 0; i < kSteps; ++i) {
    MOAI_RETURN_IF_ERROR(RunStep(program, options, parameters, optimizer));
  }
  MOAI_RETURN_IF_ERROR(CheckRepeats(session->steps()));
  SlotNames names;
  AddNames(parameters, SlotRole::kParameter, names);
  AddNames(program.module->StateDict(), SlotRole::kBuffer, names);
  AddNames(optimizer.StateDict(), SlotRole::kOptimizer, names);
  const StepRequest& step = session->steps()[kSteps - 2];
  CapturedStep captured = {.name = name,
                           .graph = step.graph,
                           .fingerprint = step.fingerprint,
                           .sizes = step.sizes,
                           .scalars = step.scalars,
                           .samples = program.samples,
                           .tokens = program.tokens};
  MOAI_ASSIGN_OR_RETURN(captured.slots, DescribeSlots(step, names));
  for (const nn::NamedTensor& entry : parameters) captured.parameters += entry.tensor.elements();
  return captured;
}

}  // namespace

Tensor Placeholder(const TensorType& type) {
  if (!WithinLimits(type.shape)) {
    return Tensor::Poisoned(
        absl::InvalidArgumentError(absl::StrCat(ToString(type), " is too large for a tensor")));
  }
  const absl::Span<const std::byte> nothing(nullptr, static_cast<size_t>(type.bytes()));
  return Tensor::FromBytes(type, {.bytes = nothing});
}

absl::StatusOr<CapturedStep> CaptureTrainingStep(const std::string& name,
                                                 const std::function<TrainingProgram()>& make,
                                                 const CaptureOptions& options) {
  absl::StatusOr<CapturedStep> captured = absl::InternalError("not captured");
  std::thread thread([&] {
    captured = Capture(name, make, options);
    Recorder::SetCurrent(nullptr);
  });
  thread.join();
  return captured;
}

}  // namespace moai
