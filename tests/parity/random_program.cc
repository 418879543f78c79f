#include "tests/parity/random_program.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/capture/recorder.h"
#include "client/tensor/record_op.h"
#include "graph/testing/conditioning.h"
#include "graph/testing/random_bindings.h"

namespace moai {
namespace {

constexpr int kMostOps = 12;         // of a graph, with the views and writes between them
constexpr size_t kMostTensors = 40;  // that a program holds
constexpr double kNotReadAgain = 1e30;

absl::Status Because(const absl::Status& status, absl::string_view what) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

// Infinite where an element is not finite.
double LargestMagnitude(Dtype dtype, const std::vector<std::byte>& bytes) {
  double largest = 0;
  for (size_t at = 0; at < bytes.size(); at += ByteSize(dtype)) {
    const double element = LoadElement(dtype, bytes.data() + at);
    largest = std::isfinite(element) ? std::max(largest, std::abs(element)) : INFINITY;
    if (std::isinf(largest)) break;
  }
  return largest;
}

absl::Status FlushRecorded() { return Recorder::Current()->Flush(); }

// A number of the program; exact in every dtype.
double SmallNumber(std::mt19937_64& random) { return 0.25 * double(RandomInt(random, 1, 6)); }

}  // namespace

OpDeck::OpDeck(uint64_t seed) : random_(seed) {
  for (const OpEntry& entry : ClientOps()) {
    for (Dtype dtype : DtypesOf(entry.op)) all_.push_back({entry.op, dtype});
  }
}

OpDtype OpDeck::Draw() {
  if (left_.empty()) {
    left_ = all_;
    for (size_t i = left_.size() - 1; i > 0; --i) std::swap(left_[i], left_[random_() % (i + 1)]);
  }
  const OpDtype drawn = left_.back();
  left_.pop_back();
  return drawn;
}

RandomProgram::RandomProgram(TeeSession& session, OpDeck& deck, uint64_t seed)
    : session_(session), deck_(deck), random_(seed) {}

absl::Status RandomProgram::RunGraph() {
  const int ops = static_cast<int>(RandomInt(random_, 1, kMostOps));
  for (int i = 0; i < ops; ++i) {
    MOAI_RETURN_IF_ERROR(Because(AddNode(), "a node"));
    if (OneOf(4)) MOAI_RETURN_IF_ERROR(Because(AddView(), "a view"));
    if (OneOf(5)) MOAI_RETURN_IF_ERROR(Because(WriteInPlace(), "a write"));
    if (OneOf(8)) MOAI_RETURN_IF_ERROR(Because(MakeState(), "state"));
    if (OneOf(20)) MOAI_RETURN_IF_ERROR(Because(RunBackward(), "a backward pass"));
  }
  MOAI_RETURN_IF_ERROR(FlushRecorded());
  if (OneOf(3)) MOAI_RETURN_IF_ERROR(Settle());
  // Forgetting releases: the session compares first.
  while (known_.size() > kMostTensors) known_.erase(known_.begin() + random_() % known_.size());
  return session_.difference();
}

absl::Status RandomProgram::Finish() {
  MOAI_RETURN_IF_ERROR(FlushRecorded());
  MOAI_RETURN_IF_ERROR(session_.CompareAll());
  return session_.difference();
}

absl::Status RandomProgram::Settle() {
  MOAI_RETURN_IF_ERROR(session_.CompareAll());
  std::vector<Known> tame;
  for (Known& known : known_) {
    std::vector<std::byte> bytes(known.tensor.type().bytes());
    MOAI_RETURN_IF_ERROR(known.tensor.ReadBytes(absl::MakeSpan(bytes)));
    const double largest = LargestMagnitude(known.tensor.dtype(), bytes);
    if (largest > kTameMagnitude) continue;
    tame.push_back({known.tensor, true, std::max(largest, 1.0)});
  }
  // Views that reading recorded.
  known_ = std::move(tame);
  return FlushRecorded();
}

void RandomProgram::Keep(Tensor tensor, bool exact, double bound) {
  known_.push_back({std::move(tensor), exact, bound});
}

Tensor RandomProgram::FromContent(const TensorType& type, const std::vector<std::byte>& content) {
  auto owner = std::make_shared<const std::vector<std::byte>>(content);
  Tensor tensor = Tensor::FromBytes(type, {.bytes = *owner, .owner = owner});
  // A third of what comes from the client is state: uploaded before the graph that reads it.
  if (OneOf(3)) tensor.MakeState();
  return tensor;
}

Tensor RandomProgram::Operand(Op op, size_t position, const TensorType& type,
                              const std::vector<std::byte>& own_content, Known& result) {
  std::vector<const Known*> equal, same_elements, larger;
  for (const Known& known : known_) {
    if (known.tensor.dtype() != type.dtype) continue;
    if (!known.exact && !(IsSmooth(op) && known.bound <= kTameMagnitude)) continue;
    if (known.bound > kTameMagnitude) continue;
    const Shape& shape = known.tensor.shape();
    if (shape == type.shape) equal.push_back(&known);
    if (shape.elements() == type.shape.elements()) same_elements.push_back(&known);
    if (shape.elements() > type.shape.elements() && type.shape.elements() > 0) {
      larger.push_back(&known);
    }
  }
  if (!NeedsOwnInput(op, position) && !OneOf(5)) {
    const std::vector<const Known*>& from = !equal.empty()           ? equal
                                            : !same_elements.empty() ? same_elements
                                                                     : larger;
    if (!from.empty()) {
      const Known& chosen = *from[random_() % from.size()];
      result.exact &= chosen.exact;
      result.bound = std::max(result.bound, chosen.bound);
      if (chosen.tensor.shape() == type.shape) return chosen.tensor;
      const int64_t count = type.shape.elements();
      const int64_t spare = chosen.tensor.elements() - count;
      return chosen.tensor.Reshape({-1})
          .Narrow(0, RandomInt(random_, 0, spare), count)
          .Reshape(type.shape);
    }
  }
  const Tensor made = FromContent(type, own_content);
  if (!NeedsOwnInput(op, position)) Keep(made, true, LargestMagnitude(type.dtype, own_content));
  return made;
}

absl::Status RandomProgram::AddNode() {
  const auto [op, dtype] = deck_.Draw();
  MOAI_ASSIGN_OR_RETURN(NodeSpec spec, RandomNodeSpec(op, dtype, random_, {.max_extent = 4}));
  // Contents that suit the node, from a graph of the node alone.
  GraphBuilder builder;
  std::vector<ValueId> values;
  for (const TensorType& type : spec.inputs) {
    const uint32_t index = static_cast<uint32_t>(values.size());
    values.push_back(builder.AddInput(InputKind::kValue, index, type));
  }
  MOAI_ASSIGN_OR_RETURN(const ValueId first,
                        builder.AddNode(op, values, spec.attributes, spec.extents, spec.numbers));
  for (int i = 0; i < Entry(op).outputs; ++i) builder.AddOutput(OutputKind::kValue, first + i);
  const std::vector<std::vector<std::byte>> contents = RandomBindings(builder.Finish(), random_);

  Known result;
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    inputs.push_back(Operand(op, i, spec.inputs[i], contents[i], result));
    MOAI_RETURN_IF_ERROR(Because(inputs.back().status(), Name(op)));
  }
  const std::vector<moai::Operand> operands(inputs.begin(), inputs.end());
  std::vector<Tensor> outputs(Entry(op).outputs);
  RecordOp({.op = op,
            .inputs = operands,
            .attributes = spec.attributes,
            .extents = spec.extents,
            .numbers = spec.numbers},
           absl::MakeSpan(outputs));
  double bound = result.bound;
  if (op == Op::kAdd || op == Op::kSub) bound *= 2;
  if (!IsGentle(op)) bound = kNotReadAgain;
  for (const Tensor& output : outputs) {
    MOAI_RETURN_IF_ERROR(Because(output.status(), Name(op)));
    const bool is_float = IsFloat(output.dtype());
    Keep(output, result.exact && (!is_float || CopiesElements(op)), is_float ? bound : 8);
  }
  return absl::OkStatus();
}

absl::Status RandomProgram::AddView() {
  if (known_.empty()) return absl::OkStatus();
  const Known from = known_[random_() % known_.size()];
  const Tensor& x = from.tensor;
  if (x.rank() == 0) return absl::OkStatus();
  const int dim = static_cast<int>(random_() % x.rank());
  const int64_t extent = x.size(dim);
  Tensor view;
  switch (random_() % 6) {
    case 0:
      view = x.Transpose(0, dim);
      break;
    case 1:
      view = x.Slice(dim, RandomInt(random_, 0, extent), extent, RandomInt(random_, 1, 2));
      break;
    case 2:
      if (extent == 0) return absl::OkStatus();
      view = x.Select(dim, RandomInt(random_, 0, extent - 1));
      break;
    case 3:
      view = x.Reshape({x.elements()});
      break;
    case 4:
      if (x.rank() >= 5) return absl::OkStatus();
      view = x.Unsqueeze(dim);
      break;
    default:
      view = x.Narrow(dim, extent / 3, extent - extent / 3);
      break;
  }
  MOAI_RETURN_IF_ERROR(view.status());
  Keep(view, from.exact, from.bound);
  return absl::OkStatus();
}

absl::Status RandomProgram::WriteInPlace() {
  std::vector<size_t> views, state, all;
  for (size_t i = 0; i < known_.size(); ++i) {
    const TensorImpl& impl = *known_[i].tensor.impl();
    if (impl.view) views.push_back(i);
    if (impl.storage->slot) state.push_back(i);
    all.push_back(i);
  }
  if (all.empty()) return absl::OkStatus();
  const std::vector<size_t>& from = !views.empty() && OneOf(2)    ? views
                                    : !state.empty() && !OneOf(4) ? state
                                                                  : all;
  const Known target = known_[from[random_() % from.size()]];
  Tensor written = target.tensor;
  const bool through_view = static_cast<bool>(written.impl()->view);
  const bool is_float = IsFloat(written.dtype());
  bool exact = true;
  double bound = 2;
  switch (random_() % 5) {
    case 0:
      written.Fill_(is_float ? SmallNumber(random_) : double(RandomInt(random_, 0, 1)));
      break;
    case 1: {  // another tensor of the dtype, in the same form
      const Known& other = known_[random_() % known_.size()];
      if (other.tensor.dtype() != written.dtype() || other.tensor.elements() < 1) break;
      exact = other.exact;
      bound = other.bound;
      written.Copy_(other.tensor.Reshape({-1}).Select(0, 0));
      break;
    }
    case 2:
      if (written.dtype() == Dtype::kBool) break;
      // Rounds, or adds up to more.
      written.Add_(is_float ? SmallNumber(random_) : 1);
      exact = !is_float;
      bound = target.bound + 2;
      break;
    case 3:
      if (written.dtype() == Dtype::kBool) break;
      written.Mul_(is_float ? SmallNumber(random_) : 2);
      exact = !is_float;
      bound = target.bound * 2;
      break;
    default:
      if (!is_float) break;
      written.Sub_(written);
      exact = target.exact;
      break;
  }
  MOAI_RETURN_IF_ERROR(written.status());
  if (through_view) ++writes_through_views_;
  for (Known& known : known_) {
    if (!known.tensor.SharesStorage(written)) continue;
    known.exact &= exact;
    if (is_float) known.bound = std::max(known.bound, bound);
  }
  return absl::OkStatus();
}

absl::Status RandomProgram::MakeState() {
  if (known_.empty()) return absl::OkStatus();
  Tensor tensor = known_[random_() % known_.size()].tensor;
  if (tensor.impl()->view || tensor.impl()->storage->slot) return absl::OkStatus();
  tensor.MakeState();
  return tensor.status();
}

absl::Status RandomProgram::RunBackward() {
  const Dtype dtype = OneOf(3) ? Dtype::kF64 : Dtype::kF32;
  const Shape shape{RandomInt(random_, 1, 4), RandomInt(random_, 1, 4)};
  const auto leaf = [&](const Shape& of) {
    Tensor tensor = Uniform(of, dtype);
    if (OneOf(2)) tensor.MakeState();
    return tensor.RequiresGrad();
  };
  Tensor x = leaf(shape);
  Tensor w = leaf({shape[1], shape[1]});
  Tensor y = Tanh(Matmul(x, w));
  y = OneOf(2) ? Softmax(y + x) : LogSoftmax(Mul(y, x));
  Tensor z = y.Clone();
  z.Select(0, 0).Mul_(2);  // a write that gradients flow through
  if (OneOf(2)) z = Concat({{z, Sigmoid(x.Transpose(0, 1)).Reshape({-1, shape[1]})}}, 0);
  MOAI_RETURN_IF_ERROR(Mean(Mul(z, z)).Backward());
  ++backward_passes_;
  for (const Tensor& tensor : {x, w}) Keep(tensor.Grad(), false, kNotReadAgain);
  Keep(y.Detach(), false, 8);
  return known_.back().tensor.status();
}

}  // namespace moai
