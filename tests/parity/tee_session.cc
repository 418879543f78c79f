#include "tests/parity/tee_session.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/tolerance.h"

namespace moai {
namespace {

// The dtype that names an op, as DtypesOf has it.
Dtype NamedDtype(const Graph& graph, const Node& node) {
  if (Entry(node.op).op_class == OpClass::kCreate) return graph.values[node.first_output].dtype;
  const bool second = node.op == Op::kSelect || node.op == Op::kEmbeddingGrad;
  return graph.values[node.inputs[second ? 1 : 0]].dtype;
}

// The nodes that a value of a graph depends on, a line each.
std::string History(const Graph& graph, ValueId value) {
  std::vector<bool> wanted(graph.values.size(), false);
  wanted[value] = true;
  std::string text;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    bool any = false;
    for (int i = 0; i < node->output_count; ++i) any |= wanted[node->first_output + i];
    if (!any) continue;
    std::string line = absl::StrCat("\n  v", node->first_output, " = ", Name(node->op));
    for (ValueId input : node->inputs) {
      wanted[input] = true;
      absl::StrAppend(&line, " v", input, ":", Name(graph.values[input].dtype));
    }
    text = line + text;
  }
  return absl::StrCat(", v", value, " of", text);
}

}  // namespace

std::string RoundingDifference(const Comparison& comparison) {
  const TensorType& type = comparison.type;
  const std::vector<std::byte> want = comparison.reference.ToBytes();
  const int64_t size = ByteSize(type.dtype);
  if (!IsFloat(type.dtype)) {
    for (int64_t i = 0; i < type.shape.elements(); ++i) {
      if (std::memcmp(comparison.real.data() + i * size, want.data() + i * size, size) == 0) {
        continue;
      }
      return absl::StrCat("element ", i, " of ", ToString(type), " is ",
                          LoadElement(type.dtype, comparison.real.data() + i * size), ", expected ",
                          LoadElement(type.dtype, want.data() + i * size));
    }
    return "";
  }
  const double tolerance = RoundingTolerance(Coarser(type.dtype, comparison.coarsest));
  // The gradients of norms magnify the rounding of differences by 1 / sqrt(eps), some 300, where
  // the variance is 0. Of a 16-bit float's own rounding that is little.
  const double share = tolerance < 1e-3 ? 1 : 0.1;
  double scale = 1;
  for (double value : comparison.reference.floats) {
    if (std::isfinite(value)) scale = std::max(scale, std::abs(value));
  }
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    const double a = LoadElement(type.dtype, comparison.real.data() + i * size);
    const double b = LoadElement(type.dtype, want.data() + i * size);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (std::abs(a - b) <= tolerance * (std::abs(b) + share * scale)) continue;
    return absl::StrCat("element ", i, " of ", ToString(type), " is ", a, ", expected ", b);
  }
  return "";
}

absl::Status TeeSession::Compare(ObjectId id) {
  const auto it = objects_.find(id);
  if (it == objects_.end()) return absl::NotFoundError(absl::StrCat("no object ", id));
  Object& object = it->second;
  if (object.compared) return absl::OkStatus();
  object.compared = true;
  Comparison comparison{.id = id, .type = object.type, .coarsest = object.coarsest};
  comparison.real.resize(object.type.bytes());
  const absl::Status read = real_->Read(id, absl::MakeSpan(comparison.real));
  absl::StatusOr<ReferenceTensor> content = reference_.Content(id);
  ++compared_;
  absl::Status status;
  if (read.code() != content.status().code()) {
    status =
        absl::InternalError(absl::StrCat("object ", id, ": the accelerator says ", read.ToString(),
                                         ", the reference ", content.status().ToString()));
  } else if (read.ok()) {
    comparison.reference = *std::move(content);
    const std::string words = comparer_(comparison);
    if (!words.empty()) {
      status = absl::InternalError(
          absl::StrCat("object ", id, ": ", words, History(*object.graph, object.value)));
    }
    object.coarsest = object.type.dtype;
    reference_.Release({id});
    MOAI_RETURN_IF_ERROR(reference_.Upload(id, object.type, {.bytes = comparison.real}));
  }
  if (difference_.ok()) difference_ = status;
  return status;
}

absl::Status TeeSession::CompareAll() {
  absl::Status first;
  for (const auto& [id, object] : objects_) {
    const absl::Status status = Compare(id);
    if (first.ok()) first = status;
  }
  return first;
}

void TeeSession::CountNodes(const StepRequest& step) {
  const Graph& graph = *step.graph;
  std::vector<bool> wanted(graph.values.size(), false);
  for (const Output& output : graph.outputs) wanted[output.value] = true;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    bool any = false;
    for (int i = 0; i < node->output_count; ++i) any |= wanted[node->first_output + i];
    if (!any) continue;
    for (ValueId input : node->inputs) wanted[input] = true;
    covered_.insert({node->op, NamedDtype(graph, *node)});
    ++nodes_;
  }
  ++steps_;
}

absl::Status TeeSession::Submit(StepRequest step) {
  const Graph& graph = *step.graph;
  CountNodes(step);
  Dtype coarsest = Dtype::kF64;
  for (const Value& value : graph.values) coarsest = Coarser(coarsest, value.dtype);
  for (const std::vector<ObjectId>* ids : {&step.slots, &step.values}) {
    for (ObjectId id : *ids) coarsest = Coarser(coarsest, objects_[id].coarsest);
  }
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, step.sizes));
  ObjectId next_value = step.first_output;
  for (const Output& output : graph.outputs) {
    const bool is_value = output.kind == OutputKind::kValue;
    const ObjectId id = is_value ? next_value++ : step.slots[output.index];
    Object& object = objects_[id];
    if (!is_value) {
      // What a created slot is has no bytes yet: its type is still that of an empty object.
      const bool exists = reference_.Content(id).status().code() != absl::StatusCode::kNotFound;
      ++(exists ? slots_replaced_ : slots_created_);
      if (comparing_ && exists) (void)Compare(id);  // kept in difference_
    }
    object = {.type = types[output.value],
              .coarsest = coarsest,
              .compared = false,
              .graph = step.graph,
              .value = output.value};
  }
  MOAI_RETURN_IF_ERROR(reference_.Submit(step));
  return real_->Submit(std::move(step));
}

absl::Status TeeSession::Upload(ObjectId id, const TensorType& type, SharedBytes bytes) {
  objects_[id] = {.type = type, .coarsest = type.dtype};
  MOAI_RETURN_IF_ERROR(reference_.Upload(id, type, bytes));
  return real_->Upload(id, type, std::move(bytes));
}

void TeeSession::Release(absl::Span<const ObjectId> ids) {
  for (ObjectId id : ids) {
    if (comparing_ && objects_.contains(id)) (void)Compare(id);  // kept in difference_
    objects_.erase(id);
  }
  reference_.Release(ids);
  real_->Release(ids);
}

absl::Status TeeSession::Read(ObjectId id, absl::Span<std::byte> destination) {
  last_read_ = reference_.Content(id);
  if (comparing_) (void)Compare(id);  // kept in difference_
  return real_->Read(id, destination);
}

absl::Status TeeSession::Synchronize() {
  const absl::Status status = real_->Synchronize();
  const absl::Status expected = reference_.Synchronize();
  if (status.code() != expected.code() && difference_.ok()) {
    difference_ =
        absl::InternalError(absl::StrCat("the accelerator says ", status.ToString(),
                                         " where the reference says ", expected.ToString()));
  }
  return status;
}

}  // namespace moai
