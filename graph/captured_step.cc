#include "graph/captured_step.h"

#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/fingerprint.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "graph/verify.h"
#include "proto/captured.pb.h"

namespace moai {
namespace {

// A graph at its limit, and as much again for sizes, numbers and names.
constexpr int64_t kMaxFileBytes = 2 * static_cast<int64_t>(kMaxGraphBytes);

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return absl::NotFoundError("no such file, or it cannot be read");
  const int64_t size = static_cast<int64_t>(file.tellg());
  if (size < 0 || size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a captured step: ", size, " bytes; at most ", kMaxFileBytes));
  }
  std::string bytes(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), size)) return absl::NotFoundError("it cannot be read");
  return bytes;
}

absl::Status CheckCounts(const proto::CapturedStepProto& from, const Graph& graph) {
  if (static_cast<uint32_t>(from.slots_size()) != graph.slot_count ||
      static_cast<uint32_t>(from.scalars_size()) != graph.scalar_count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the graph has ", graph.slot_count, " slots and ", graph.scalar_count,
        " scalars, the file describes ", from.slots_size(), " and ", from.scalars_size()));
  }
  for (const uint64_t count : {from.parameters(), from.samples(), from.tokens()}) {
    if (count > static_cast<uint64_t>(kMaxElements)) {
      return absl::InvalidArgumentError(absl::StrCat("a count of parameters, samples or tokens is ",
                                                     count, "; at most ", kMaxElements));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CapturedSlot>> SlotsOf(const proto::CapturedStepProto& from,
                                                  const Graph& graph,
                                                  const std::vector<TensorType>& types) {
  std::vector<CapturedSlot> slots(from.slots_size());
  for (int i = 0; i < from.slots_size(); ++i) {
    const proto::CapturedSlotProto& slot = from.slots(i);
    if (slot.role() > static_cast<uint32_t>(SlotRole::kBuffer)) {
      return absl::InvalidArgumentError(
          absl::StrCat("slots[", i, "].role ", slot.role(), " is none"));
    }
    slots[i].name = slot.name();
    slots[i].role = static_cast<SlotRole>(slot.role());
  }
  for (const Output& output : graph.outputs) {
    if (output.kind == OutputKind::kSlot) slots[output.index].type = types[output.value];
  }
  for (const Input& input : graph.inputs) {
    if (input.kind == InputKind::kSlot) slots[input.index].type = types[input.value];
  }
  return slots;
}

absl::StatusOr<CapturedStep> Parse(const std::string& bytes) {
  proto::CapturedStepProto from;
  if (!from.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("not a captured step: no CapturedStepProto message");
  }
  MOAI_ASSIGN_OR_RETURN(Graph graph, ParseGraph(from.graph()));
  MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
  CapturedStep step;
  step.sizes.assign(from.sizes().begin(), from.sizes().end());
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, step.sizes));
  MOAI_RETURN_IF_ERROR(CheckCounts(from, graph));
  MOAI_ASSIGN_OR_RETURN(step.slots, SlotsOf(from, graph, types));
  for (const uint64_t bits : from.scalars()) {
    step.scalars.push_back({.i64 = static_cast<int64_t>(bits)});
  }
  step.name = from.name();
  step.fingerprint = ComputeFingerprint(graph);
  step.graph = std::make_shared<const Graph>(std::move(graph));
  step.parameters = static_cast<int64_t>(from.parameters());
  step.samples = static_cast<int64_t>(from.samples());
  step.tokens = static_cast<int64_t>(from.tokens());
  return step;
}

}  // namespace

absl::string_view Name(SlotRole role) {
  switch (role) {
    case SlotRole::kOther:
      return "other";
    case SlotRole::kParameter:
      return "parameter";
    case SlotRole::kOptimizer:
      return "optimizer";
    case SlotRole::kBuffer:
      return "buffer";
  }
  return "invalid";
}

absl::Status SaveCapturedStep(const CapturedStep& step, const std::string& path) {
  proto::CapturedStepProto to;
  to.set_name(step.name);
  to.set_graph(SerializeGraph(*step.graph));
  to.mutable_sizes()->Add(step.sizes.begin(), step.sizes.end());
  for (const CapturedSlot& slot : step.slots) {
    proto::CapturedSlotProto& added = *to.add_slots();
    added.set_name(slot.name);
    added.set_role(static_cast<uint32_t>(slot.role));
  }
  for (const Scalar& scalar : step.scalars) {
    uint64_t bits = 0;
    static_assert(sizeof(bits) == sizeof(scalar));
    std::memcpy(&bits, &scalar, sizeof(bits));
    to.add_scalars(bits);
  }
  to.set_parameters(static_cast<uint64_t>(step.parameters));
  to.set_samples(static_cast<uint64_t>(step.samples));
  to.set_tokens(static_cast<uint64_t>(step.tokens));
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": the file cannot be made"));
  file << to.SerializeAsString();
  file.close();
  if (!file) return absl::InternalError(absl::StrCat(path, ": the file cannot be written"));
  return absl::OkStatus();
}

absl::StatusOr<CapturedStep> LoadCapturedStep(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path);
  absl::StatusOr<CapturedStep> step = bytes.ok() ? Parse(*bytes) : bytes.status();
  if (step.ok()) return step;
  return absl::Status(step.status().code(), absl::StrCat(path, ": ", step.status().message()));
}

}  // namespace moai
