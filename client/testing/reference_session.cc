#include "client/testing/reference_session.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"
#include "graph/verify.h"

namespace moai {

ObjectId ReferenceSession::NewIds(uint64_t count) {
  const ObjectId first = next_id_;
  next_id_ += count;
  return first;
}

absl::StatusOr<ReferenceTensor> ReferenceSession::Content(ObjectId id) const {
  const auto it = objects_.find(id);
  if (it == objects_.end()) return absl::NotFoundError(absl::StrCat("no object ", id));
  return it->second;
}

absl::StatusOr<std::vector<ReferenceTensor>> ReferenceSession::Bind(const StepRequest& step) const {
  const Graph& graph = *step.graph;
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorType> types, InferGraph(graph, step.sizes));
  std::vector<ReferenceTensor> bindings;
  for (const Input& input : graph.inputs) {
    const TensorType& type = types[input.value];
    switch (input.kind) {
      case InputKind::kSlot:
      case InputKind::kValue: {
        const ObjectId id =
            input.kind == InputKind::kSlot ? step.slots[input.index] : step.values[input.index];
        MOAI_ASSIGN_OR_RETURN(ReferenceTensor content, Content(id));
        if (!(content.type == type)) {
          return absl::InvalidArgumentError(absl::StrCat(
              "object ", id, " is ", ToString(content.type), ", not ", ToString(type)));
        }
        bindings.push_back(std::move(content));
        break;
      }
      case InputKind::kFeed:
        if (step.feeds[input.index].bytes.size() != static_cast<size_t>(type.bytes())) {
          return absl::InvalidArgumentError("a feed has the wrong size");
        }
        bindings.push_back(ReferenceTensor::FromBytes(type, step.feeds[input.index].bytes));
        break;
      case InputKind::kScalar: {
        ReferenceTensor scalar = ReferenceTensor::Zeros(type);
        if (IsFloat(type.dtype)) {
          scalar.floats[0] = step.scalars[input.index].f64;
        } else {
          scalar.integers[0] = step.scalars[input.index].i64;
        }
        bindings.push_back(std::move(scalar));
        break;
      }
    }
  }
  return bindings;
}

absl::Status ReferenceSession::Submit(StepRequest step) {
  const Graph& graph = *step.graph;
  MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
  if (!(ComputeFingerprint(graph) == step.fingerprint)) {
    return absl::InvalidArgumentError("the fingerprint is not that of the graph");
  }
  if (step.slots.size() != graph.slot_count || step.values.size() != graph.value_count ||
      step.feeds.size() != graph.feed_count || step.scalars.size() != graph.scalar_count) {
    return absl::InvalidArgumentError("the bindings do not fit the graph");
  }
  ++stats_.steps;
  if (known_.insert(step.fingerprint).second) ++stats_.graphs_registered;
  absl::StatusOr<std::vector<ReferenceTensor>> results = Bind(step);
  if (results.ok()) results = Interpret(graph, step.sizes, *results, options_.interpreter);
  if (!results.ok() && first_error_.ok()) first_error_ = results.status();
  ObjectId next_value = step.first_output;
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const Output& output = graph.outputs[i];
    const bool is_value = output.kind == OutputKind::kValue;
    const ObjectId id = is_value ? next_value++ : step.slots[output.index];
    if (results.ok()) {
      objects_.insert_or_assign(id, std::move((*results)[i]));
    } else if (is_value || !objects_.contains(id)) {
      objects_.insert_or_assign(id, results.status());
    }
  }
  if (options_.keep_graphs) steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status ReferenceSession::Upload(ObjectId id, const TensorType& type, SharedBytes bytes) {
  if (bytes.bytes.size() != static_cast<size_t>(type.bytes())) {
    return absl::InvalidArgumentError("an upload has the wrong size");
  }
  if (objects_.contains(id)) {
    return absl::InvalidArgumentError(absl::StrCat("object ", id, " exists already"));
  }
  objects_.insert_or_assign(id, ReferenceTensor::FromBytes(type, bytes.bytes));
  return absl::OkStatus();
}

void ReferenceSession::Release(absl::Span<const ObjectId> ids) {
  for (ObjectId id : ids) objects_.erase(id);
}

absl::Status ReferenceSession::Read(ObjectId id, absl::Span<std::byte> destination) {
  ++stats_.blocking_round_trips;
  MOAI_ASSIGN_OR_RETURN(const ReferenceTensor content, Content(id));
  const std::vector<std::byte> bytes = content.ToBytes();
  if (bytes.size() != destination.size()) {
    return absl::InvalidArgumentError("a read has the wrong size");
  }
  std::memcpy(destination.data(), bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status ReferenceSession::Synchronize() {
  ++stats_.blocking_round_trips;
  return std::exchange(first_error_, absl::OkStatus());
}

}  // namespace moai
