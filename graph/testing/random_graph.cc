#include "graph/testing/random_graph.h"

#include <algorithm>

#include "graph/testing/conditioning.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

struct Known {
  bool exact = false;  // the same bits on every implementation
  double bound = 0;    // roughly the largest magnitude
};

class Maker {
 public:
  Maker(std::mt19937_64& random, const RandomGraphOptions& options)
      : random_(random), options_(options) {}

  CapturedGraph Run() {
    std::vector<Op> ops = options_.ops;
    if (ops.empty()) {
      for (const OpEntry& entry : ClientOps()) ops.push_back(entry.op);
    }
    for (int tries = 0; tries < 20 * options_.nodes; ++tries) {
      if (static_cast<int>(builder_.node_count()) >= options_.nodes) break;
      AddRandomNode(ops[random_() % ops.size()]);
    }
    AddOutputs();
    return builder_.Finish();
  }

 private:
  bool OneOf(int n) { return OneIn(random_, n); }

  std::vector<Dtype> DtypesFor(Op op) const {
    std::vector<Dtype> dtypes = DtypesOf(op);
    if (options_.dtypes.empty()) return dtypes;
    std::erase_if(dtypes, [&](Dtype dtype) {
      return std::find(options_.dtypes.begin(), options_.dtypes.end(), dtype) ==
             options_.dtypes.end();
    });
    return dtypes;
  }

  void AddRandomNode(Op op) {
    const std::vector<Dtype> dtypes = DtypesFor(op);
    if (dtypes.empty()) return;
    const RandomNodeOptions node_options{options_.allow_empty, options_.max_extent};
    Dtype dtype = dtypes[random_() % dtypes.size()];
    for (int tries = 0; tries < 3 && !known_.empty(); ++tries) {
      // Rather a dtype that is there already, so that nodes join.
      const Dtype other = builder_.type(random_() % known_.size()).dtype;
      if (std::find(dtypes.begin(), dtypes.end(), other) != dtypes.end()) dtype = other;
    }
    absl::StatusOr<NodeSpec> spec = RandomNodeSpec(op, dtype, random_, node_options);
    if (!spec.ok()) return;
    if (Entry(op).op_class == OpClass::kPointwise && op != Op::kAdamW) AdoptShape(*spec);
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < spec->inputs.size(); ++i) {
      inputs.push_back(Operand(op, i, spec->inputs[i], inputs));
    }
    Add(*spec, inputs);
  }

  // Gives a pointwise node the shape of a value that is there, so that chains form.
  void AdoptShape(NodeSpec& spec) {
    if (known_.empty() || OneOf(4)) return;
    const Shape shape = builder_.type(random_() % known_.size()).shape;
    for (TensorType& type : spec.inputs) {
      if (type.shape.rank() > 0) type.shape = shape;
    }
  }

  bool Suits(Op op, ValueId value) const {
    const Known& known = known_[value];
    return known.exact || (IsSmooth(op) && known.bound <= kTameMagnitude);
  }

  // A value of this type: one that is there, one made from such by a view, or a new input.
  ValueId Operand(Op op, size_t position, const TensorType& type,
                  const std::vector<ValueId>& taken) {
    if (NeedsOwnInput(op, position) || OneOf(6)) return NewInput(type);
    std::vector<ValueId> equal, same_elements, others;
    for (ValueId value = 0; value < known_.size(); ++value) {
      const TensorType& other = builder_.type(value);
      if (!Suits(op, value) || other.dtype != type.dtype) continue;
      // The same operand twice is a case of its own, but rare.
      if (!OneOf(4) && std::find(taken.begin(), taken.end(), value) != taken.end()) continue;
      if (other.shape == type.shape) equal.push_back(value);
      if (other.shape.elements() == type.shape.elements()) same_elements.push_back(value);
      if (other.shape.elements() > 0) others.push_back(value);
    }
    if (!equal.empty()) return equal[random_() % equal.size()];
    if (!same_elements.empty()) {
      return Reshape(same_elements[random_() % same_elements.size()], type.shape);
    }
    if (others.empty() || OneOf(3)) return NewInput(type);
    return Fit(others[random_() % others.size()], type.shape);
  }

  ValueId Reshape(ValueId value, const Shape& shape) {
    if (builder_.type(value).shape == shape) return value;
    NodeSpec reshape{.op = Op::kReshape};
    reshape.attributes = {shape.rank()};
    reshape.extents.assign(shape.begin(), shape.end());
    return Add(reshape, {value});
  }

  // A value of this shape from the elements of another, repeated or cut.
  ValueId Fit(ValueId value, const Shape& shape) {
    const int64_t have = builder_.type(value).shape.elements();
    const int64_t need = shape.elements();
    value = Reshape(value, {have});
    const int64_t copies = (need + have - 1) / have;
    if (copies > 1) {
      const NodeSpec broadcast{
          .op = Op::kBroadcast, .attributes = {2, 1}, .extents = {copies, have}};
      value = Reshape(Add(broadcast, {value}), {copies * have});
    }
    if (std::max<int64_t>(copies, 1) * have > need) {
      const NodeSpec slice{.op = Op::kSlice, .extents = {0, need, 1}};
      value = Add(slice, {value});
    }
    return Reshape(value, shape);
  }

  ValueId NewInput(const TensorType& type) {
    InputKind kind = static_cast<InputKind>(RandomInt(random_, 1, 3));
    if (type.shape.rank() == 0 && OneOf(2)) kind = InputKind::kScalar;
    known_.push_back({.exact = true, .bound = 2});
    switch (kind) {
      case InputKind::kSlot:
        slots_.push_back(type);
        return builder_.AddInput(kind, static_cast<uint32_t>(slots_.size() - 1), type);
      case InputKind::kValue:
        return builder_.AddInput(kind, builder_.graph().value_count, type);
      case InputKind::kFeed:
        return builder_.AddInput(kind, builder_.graph().feed_count, type);
      case InputKind::kScalar:
        break;
    }
    return builder_.AddScalar(type.dtype);
  }

  ValueId Add(const NodeSpec& spec, const std::vector<ValueId>& inputs) {
    const absl::StatusOr<ValueId> first =
        builder_.AddNode(spec.op, inputs, spec.attributes, spec.extents, spec.numbers);
    if (!first.ok()) return 0;  // Pointwise on an adopted shape: cannot be.
    bool exact = true;
    double bound = 2;
    for (ValueId input : inputs) {
      exact &= known_[input].exact;
      bound = std::max(bound, known_[input].bound);
    }
    if (spec.op == Op::kAdd || spec.op == Op::kSub) bound *= 2;
    if (!IsGentle(spec.op)) bound = 1e30;
    for (int i = 0; i < Entry(spec.op).outputs; ++i) {
      const Dtype dtype = builder_.type(*first + i).dtype;
      known_.push_back({.exact = exact && (!IsFloat(dtype) || CopiesElements(spec.op)),
                        .bound = IsFloat(dtype) ? bound : 8});
    }
    return *first;
  }

  void AddOutputs() {
    // Slots that are read are sometimes replaced, by a value of the same type.
    for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
      std::vector<ValueId> candidates;
      for (ValueId value = 0; value < known_.size(); ++value) {
        if (builder_.type(value) == slots_[slot]) candidates.push_back(value);
      }
      if (OneOf(3)) continue;
      builder_.AddOutput(OutputKind::kSlot, candidates[random_() % candidates.size()], slot);
    }
    uint32_t created = static_cast<uint32_t>(slots_.size());
    std::vector<bool> read(known_.size(), false);
    for (const Node& node : builder_.graph().nodes) {
      for (ValueId input : node.inputs) read[input] = true;
    }
    for (const Node& node : builder_.graph().nodes) {
      for (ValueId value = node.first_output; value < node.first_output + node.output_count;
           ++value) {
        // Mostly what nothing else reads; a little stays dead.
        if (read[value] ? !OneOf(6) : OneOf(12)) continue;
        const bool create = OneOf(6);
        builder_.AddOutput(create ? OutputKind::kSlot : OutputKind::kValue, value,
                           create ? created++ : 0);
      }
    }
  }

  std::mt19937_64& random_;
  const RandomGraphOptions& options_;
  GraphBuilder builder_;
  std::vector<Known> known_;  // by value
  std::vector<TensorType> slots_;
};

}  // namespace

CapturedGraph RandomGraph(std::mt19937_64& random, const RandomGraphOptions& options) {
  return Maker(random, options).Run();
}

}  // namespace moai
