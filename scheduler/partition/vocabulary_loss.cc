#include "scheduler/partition/vocabulary_loss.h"

#include <algorithm>
#include <vector>

#include "base/status.h"

namespace moai {
namespace {

constexpr int kClasses = 1;  // the dim of logits

bool SplitsClassesAt(const AxisPlacement& axis) {
  return axis.kind == PlacementKind::kShard && axis.dim == kClasses;
}

// Nodes around one cross entropy. The first error stays; what is recorded after it means nothing.
class Recorder {
 public:
  Recorder(DevicesBuilder& builder, const Node& node, absl::Span<const ValueId> inputs,
           const Placement& where, const TensorType& logits, const Coordinates& at)
      : builder_(builder),
        inputs_(inputs),
        where_(where),
        classes_(logits.shape[kClasses]),
        at_(at),
        labels_(inputs[1]),
        label_dtype_(builder.dtype(inputs[1])) {
    ignored_ = Add(Op::kEq, {labels_, Number(label_dtype_, node.attributes[0])});
  }

  const absl::Status& status() const { return status_; }
  ValueId ignored() const { return ignored_; }
  ValueId labels() const { return labels_; }
  Dtype label_dtype() const { return label_dtype_; }

  ValueId Add(Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {},
              const DeviceExtents& extents = {}) {
    if (!status_.ok()) return 0;
    const absl::StatusOr<ValueId> made = builder_.AddNode(op, inputs, attributes, extents);
    if (made.ok()) return *made;
    status_ = made.status();
    return 0;
  }
  ValueId Number(Dtype dtype, double number) { return builder_.AddConstant(dtype, number); }
  ValueId Cast(ValueId value, Dtype dtype) {
    return !status_.ok() || builder_.dtype(value) == dtype
               ? value
               : Add(Op::kCast, {value}, {int32_t(dtype)});
  }

  // Over the devices that share the rows.
  ValueId AllReduce(ValueId value, ReduceKind reduce) {
    for (int axis = 0; axis < at_.axes(); ++axis) {
      if (SplitsClassesAt(where_[size_t(axis)])) {
        value = Add(Op::kAllReduce, {value}, {axis, int32_t(reduce)});
      }
    }
    return value;
  }

  // One row's number for each of the device's classes, or one class's for each row.
  ValueId AcrossClasses(ValueId rows) { return Add(Op::kBroadcast, {rows}, {2, 0}, LogitShapes()); }
  ValueId AcrossRows(ValueId classes) {
    return Add(Op::kBroadcast, {classes}, {2, kClasses}, LogitShapes());
  }

  // The numbers of the device's classes: i32 or i64 [classes].
  ValueId OwnClasses() {
    return Iota([&](size_t device) {
      const Range range = RangeAt(device);
      return std::vector<int64_t>{range.end - range.begin, classes_, range.begin};
    });
  }
  // The first of them, and the one behind the last: rank 0.
  ValueId Begin() { return Border(&Range::begin); }
  ValueId End() { return Border(&Range::end); }

  // The labels, 0 where they are ignored: an index that is no class raises the step's error, with
  // the limit that the user knows.
  ValueId CheckedLabels() {
    const ValueId all = Iota([&](size_t) { return std::vector<int64_t>{classes_, classes_, 0}; });
    const ValueId kept = Add(Op::kSelect, {ignored_, Number(label_dtype_, 0), labels_});
    return Add(Op::kGather, {all, kept}, {/*axis=*/0});
  }

 private:
  struct Range {
    int64_t begin = 0, end = 0;
  };

  Range RangeAt(size_t device) const {
    Range range{0, classes_};
    for (const AxisPlacement& axis : where_) {
      if (!SplitsClassesAt(axis)) continue;
      const LocalRange part = RangeOf(axis, where_, int(where_.size()), at_, device);
      range = {part.begin * axis.unit, (part.begin + part.count) * axis.unit};
    }
    return range;
  }

  template <typename ExtentsOf>
  ValueId Iota(const ExtentsOf& extents_of) {
    DeviceExtents extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      extents.push_back(extents_of(device));
    }
    return Add(Op::kIota, {}, {int32_t(label_dtype_), /*axis=*/0, /*rank=*/1}, extents);
  }

  ValueId Border(int64_t Range::*border) {
    // One more than there are: a border may be the last.
    const ValueId one = Iota([&](size_t device) {
      return std::vector<int64_t>{1, classes_ + 1, RangeAt(device).*border};
    });
    return Add(Op::kReshape, {one}, {/*rank=*/0});
  }

  DeviceExtents LogitShapes() const {
    DeviceExtents extents;
    for (size_t device = 0; device < builder_.devices(); ++device) {
      const Shape& shape = builder_.shape(inputs_[0], device);
      extents.push_back({shape.begin(), shape.end()});
    }
    return extents;
  }

  DevicesBuilder& builder_;
  const absl::Span<const ValueId> inputs_;
  const Placement& where_;
  const int64_t classes_;
  const Coordinates& at_;
  const ValueId labels_;
  const Dtype label_dtype_;
  ValueId ignored_ = 0;
  absl::Status status_;
};

absl::StatusOr<std::vector<ValueId>> Losses(Recorder& r, DevicesBuilder& builder,
                                            absl::Span<const ValueId> inputs) {
  const ValueId labels = r.CheckedLabels(), begin = r.Begin();
  const ValueId inside =
      r.Add(Op::kAnd, {r.Add(Op::kGe, {labels, begin}), r.Add(Op::kLt, {labels, r.End()})});
  const ValueId here = r.Add(Op::kAnd, {inside, r.Add(Op::kNot, {r.ignored()})});
  const int32_t elsewhere = -1;
  const ValueId own = r.Add(
      Op::kSelect, {here, r.Add(Op::kSub, {labels, begin}), r.Number(r.label_dtype(), elsewhere)});
  const ValueId own_loss = r.Add(Op::kCrossEntropy, {inputs[0], own}, {elsewhere});
  const ValueId own_lse = own_loss + 1;
  MOAI_RETURN_IF_ERROR(r.status());
  const ValueId zero = r.Number(builder.dtype(own_loss), 0);
  const ValueId own_logit = r.Add(Op::kSelect, {here, r.Add(Op::kSub, {own_lse, own_loss}), zero});

  const ValueId maximum = r.AllReduce(own_lse, ReduceKind::kMax);
  const ValueId sum =
      r.AllReduce(r.Add(Op::kExp, {r.Add(Op::kSub, {own_lse, maximum})}), ReduceKind::kSum);
  const ValueId logit = r.AllReduce(own_logit, ReduceKind::kSum);
  const ValueId lse = r.Add(Op::kAdd, {maximum, r.Add(Op::kLog, {sum})});
  const ValueId loss = r.Add(Op::kSelect, {r.ignored(), zero, r.Add(Op::kSub, {lse, logit})});
  MOAI_RETURN_IF_ERROR(r.status());
  return std::vector<ValueId>{loss, lse};
}

absl::StatusOr<std::vector<ValueId>> Gradient(Recorder& r, DevicesBuilder& builder,
                                              absl::Span<const ValueId> inputs) {
  const Dtype dtype = builder.dtype(inputs[2]);  // in which logsumexps and their gradients are
  const ValueId zero = r.Number(dtype, 0);
  const ValueId softmax =
      r.Add(Op::kExp, {r.Add(Op::kSub, {r.Cast(inputs[0], dtype), r.AcrossClasses(inputs[2])})});
  const ValueId is_label =
      r.Add(Op::kEq, {r.AcrossRows(r.OwnClasses()), r.AcrossClasses(r.labels())});
  const ValueId one_hot = r.Add(Op::kSelect, {is_label, r.Number(dtype, 1), zero});
  const ValueId gradient =
      r.Add(Op::kMul, {r.Add(Op::kSub, {softmax, one_hot}), r.AcrossClasses(inputs[3])});
  const ValueId kept = r.Add(Op::kSelect, {r.AcrossClasses(r.ignored()), zero, gradient});
  const ValueId result = r.Cast(kept, builder.dtype(inputs[0]));
  MOAI_RETURN_IF_ERROR(r.status());
  return std::vector<ValueId>{result};
}

}  // namespace

bool SplitsClasses(const Node& node, absl::Span<const Placement> inputs) {
  return (node.op == Op::kCrossEntropy || node.op == Op::kCrossEntropyGrad) &&
         std::any_of(inputs[0].begin(), inputs[0].end(), SplitsClassesAt);
}

absl::StatusOr<std::vector<ValueId>> RecordSplitLoss(DevicesBuilder& builder, const Node& node,
                                                     absl::Span<const ValueId> inputs,
                                                     absl::Span<const Placement> places,
                                                     const TensorType& logits,
                                                     const Coordinates& at) {
  Recorder recorder(builder, node, inputs, places[0], logits, at);
  return node.op == Op::kCrossEntropy ? Losses(recorder, builder, inputs)
                                      : Gradient(recorder, builder, inputs);
}

}  // namespace moai
