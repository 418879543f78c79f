#include "client/tensor/record_node.h"

#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/autograd/gradient_rule.h"
#include "client/capture/number_bytes.h"
#include "client/capture/recorder.h"

namespace moai {
namespace {

bool HasHistory(const NodeInput& input) {
  return input.version != nullptr && !input.ignore_history && input.version->edge.node;
}

Ref<GradNode> MakeGradNode(const NodeCall& call, const GradientRule& rule,
                           absl::Span<const Version> outputs) {
  Ref<GradNode> node(new GradNode());
  node->op = call.op;
  node->output_count = static_cast<uint8_t>(outputs.size());
  node->attributes.assign(call.attributes.begin(), call.attributes.end());
  node->numbers.assign(call.numbers.begin(), call.numbers.end());
  int with_history = 0;
  for (const NodeInput& input : call.inputs) with_history += HasHistory(input);
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const NodeInput& input = call.inputs[i];
    const bool has_history = HasHistory(input);
    node->inputs.push_back(has_history ? input.version->edge : Edge());
    const bool rank0 = input.version == nullptr || input.version->value->type().shape.rank() == 0;
    if (rank0 && i < 16) node->rank0_inputs |= 1u << i;
    if (i < 16 && (rule.saved_inputs >> i & 1) != 0) {
      const bool wanted = !rule.saves_for_others || with_history - has_history > 0;
      if (!wanted) {
        node->saved.emplace_back();
      } else if (input.version != nullptr) {
        node->saved.push_back(input.version->value);
      } else {
        node->saved.push_back(
            LazyValue::FromNumber(input.dtype, NumberOf(input.dtype, input.number)));
      }
    }
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if ((rule.saved_outputs >> i & 1) != 0) node->saved.push_back(outputs[i].value);
  }
  if (rule.needs_sizes) {
    node->extents.assign(call.extents.begin(), call.extents.end());
    for (const NodeInput& input : call.inputs) {
      node->input_types.push_back(input.version != nullptr ? input.version->value->type()
                                                           : TensorType{.dtype = input.dtype});
    }
  }
  return node;
}

}  // namespace

absl::Status RecordNode(const NodeCall& call, absl::Span<Version> outputs) {
  Recorder* recorder = Recorder::Current().get();
  if (recorder == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        Name(call.op), ": this thread has no accelerator; call Accelerator::Connect first"));
  }
  absl::InlinedVector<ValueId, 4> ids;
  for (const NodeInput& input : call.inputs) {
    if (input.version == nullptr) {
      ids.push_back(recorder->Number(input.dtype, input.number));
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(const ValueId id, recorder->Id(input.version->value.get()));
    ids.push_back(id);
  }
  MOAI_ASSIGN_OR_RETURN(const ValueId first,
                        recorder->Node(call.op, ids, call.attributes, call.extents, call.numbers));
  for (size_t i = 0; i < outputs.size(); ++i) {
    outputs[i].value = recorder->NewValue(first + static_cast<ValueId>(i));
    outputs[i].edge = Edge();
  }
  RecordHistory(call, outputs);
  return absl::OkStatus();
}

void RecordHistory(const NodeCall& call, absl::Span<Version> outputs) {
  if (call.tape == Tape::kIfEnabled && !GradEnabled()) return;
  bool has_history = false;
  for (const NodeInput& input : call.inputs) has_history |= HasHistory(input);
  if (!has_history) return;
  const GradientRule& rule = GradientRuleOf(call.op);
  if (rule.function == nullptr) return;
  const Ref<GradNode> node = MakeGradNode(call, rule, outputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (IsFloat(outputs[i].value->type().dtype)) {
      outputs[i].edge = {.node = node, .output = static_cast<uint32_t>(i)};
    }
  }
}

}  // namespace moai
