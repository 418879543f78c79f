#include "tests/end_to_end/session_client.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "graph/builder.h"

namespace moai {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  fprintf(stderr, "session failed: %s\n", status.ToString().c_str());
  abort();
}

template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

template <typename T>
SharedBytes Share(std::vector<T> numbers) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(numbers));
  return {absl::MakeConstSpan(reinterpret_cast<const std::byte*>(owner->data()),
                              owner->size() * sizeof(T)),
          owner};
}

TensorType Floats(const Shape& shape) { return {Dtype::kF32, shape}; }

StepRequest RequestOf(CapturedGraph captured) {
  return {.fingerprint = captured.fingerprint,
          .graph = std::make_shared<const Graph>(std::move(captured.graph)),
          .sizes = std::move(captured.sizes)};
}

}  // namespace

SessionClient::SessionClient(const std::string& address, bool shared_memory)
    : session_(
          Require(GrpcSession::Connect({.address = address, .shared_memory = shared_memory}))) {}

ObjectId SessionClient::Upload(std::vector<float> numbers) {
  const Shape shape{int64_t(numbers.size())};
  return Upload(std::move(numbers), shape);
}

ObjectId SessionClient::Upload(std::vector<float> numbers, const Shape& shape) {
  const ObjectId id = session_->NewIds(1);
  Require(session_->Upload(id, Floats(shape), Share(std::move(numbers))));
  shapes_.push_back({id, shape});
  return id;
}

Shape SessionClient::ShapeOf(ObjectId id) const {
  for (const auto& [known, shape] : shapes_) {
    if (known == id) return shape;
  }
  return {};
}

ObjectId SessionClient::Add(ObjectId a, ObjectId b) {
  const TensorType type = Floats(ShapeOf(a));
  GraphBuilder builder;
  const ValueId left = builder.AddInput(InputKind::kValue, 0, type);
  const ValueId right = a == b ? left : builder.AddInput(InputKind::kValue, 1, type);
  builder.AddOutput(OutputKind::kValue, Require(builder.AddNode(Op::kAdd, {left, right})));
  StepRequest step = RequestOf(builder.Finish());
  step.values = {a};
  if (a != b) step.values.push_back(b);
  step.first_output = session_->NewIds(1);
  const ObjectId output = step.first_output;
  shapes_.push_back({output, type.shape});
  Require(session_->Submit(std::move(step)));
  return output;
}

ObjectId SessionClient::LookUpAndAdd(ObjectId table, std::vector<int64_t> indices) {
  const Shape shape = ShapeOf(table);
  const Shape found_shape{int64_t(indices.size()), shape[1]};
  GraphBuilder builder;
  const ValueId slot = builder.AddInput(InputKind::kSlot, 0, Floats(shape));
  const ValueId index =
      builder.AddInput(InputKind::kFeed, 0, {Dtype::kI64, Shape{int64_t(indices.size())}});
  const ValueId one = builder.AddScalar(Dtype::kF32);
  const ValueId found = Require(builder.AddNode(Op::kEmbedding, {slot, index}));
  const ValueId grown = Require(builder.AddNode(Op::kAdd, {slot, one}));
  builder.AddOutput(OutputKind::kValue, found);
  builder.AddOutput(OutputKind::kSlot, grown, 0);
  StepRequest step = RequestOf(builder.Finish());
  step.slots = {table};
  step.scalars = {Scalar{.f64 = 1.0}};
  step.feeds = {Share(std::move(indices))};
  step.first_output = session_->NewIds(1);
  const ObjectId output = step.first_output;
  shapes_.push_back({output, found_shape});
  Require(session_->Submit(std::move(step)));
  return output;
}

std::vector<float> SessionClient::Read(ObjectId id, size_t elements) {
  std::vector<float> numbers(elements);
  Require(session_->Read(
      id, absl::MakeSpan(reinterpret_cast<std::byte*>(numbers.data()), elements * sizeof(float))));
  return numbers;
}

absl::Status SessionClient::ReadError(ObjectId id, size_t elements) {
  std::vector<float> numbers(elements);
  return session_->Read(
      id, absl::MakeSpan(reinterpret_cast<std::byte*>(numbers.data()), elements * sizeof(float)));
}

}  // namespace moai
