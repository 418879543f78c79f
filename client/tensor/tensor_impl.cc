#include "client/tensor/tensor_impl.h"

#include <utility>

#include "base/status.h"
#include "client/capture/recorder.h"
#include "client/tensor/record_node.h"

namespace moai {
namespace {

absl::StatusOr<const Version*> ReadView(const Storage& storage, View& view) {
  if (view.IsCached(storage.version)) return &view.cached();
  const Version* input = &storage.current;
  if (view.parent) {
    MOAI_ASSIGN_OR_RETURN(input, ReadView(storage, *view.parent));
  }
  const NodeInput inputs[] = {{.version = input}};
  Version result;
  MOAI_RETURN_IF_ERROR(RecordNode({.op = view.op,
                                   .inputs = inputs,
                                   .attributes = view.attributes,
                                   .extents = view.extents,
                                   .tape = Tape::kAlways},
                                  absl::MakeSpan(&result, 1)));
  view.Cache(std::move(result), storage.version);
  return &view.cached();
}

absl::StatusOr<Version> Record1(Op op, absl::Span<const NodeInput> inputs,
                                absl::Span<const int32_t> attributes,
                                absl::Span<const int64_t> extents) {
  Version result;
  MOAI_RETURN_IF_ERROR(
      RecordNode({.op = op,
                  .inputs = inputs,
                  .attributes = attributes,
                  .extents = extents,
                  // What was not written keeps its history, whoever writes the rest.
                  .tape = Tape::kAlways},
                 absl::MakeSpan(&result, 1)));
  return result;
}

// `input` (what the view is of) after `update` was written through the view.
absl::StatusOr<Version> Unview(const View& view, const Version& input, const Version& update) {
  const NodeInput inputs[] = {{.version = &input}, {.version = &update}};
  const absl::Span<const NodeInput> update_only(inputs + 1, 1);
  switch (view.op) {
    case Op::kReshape: {
      const int32_t rank[] = {view.input_type.shape.rank()};
      return Record1(Op::kReshape, update_only, rank, view.input_type.shape.span());
    }
    case Op::kTranspose: {
      absl::InlinedVector<int32_t, 8> inverse(view.attributes.size());
      for (size_t d = 0; d < view.attributes.size(); ++d) {
        inverse[view.attributes[d]] = static_cast<int32_t>(d);
      }
      return Record1(Op::kTranspose, update_only, inverse, {});
    }
    case Op::kSlice: {
      absl::InlinedVector<int64_t, 8> extents;  // start and step of each dim
      for (size_t d = 0; d < view.extents.size(); d += 3) {
        extents.push_back(view.extents[d]);
        extents.push_back(view.extents[d + 2]);
      }
      return Record1(Op::kSliceUpdate, inputs, {}, extents);
    }
    default:
      return absl::InvalidArgumentError(
          "cannot write to an expanded tensor, whose elements share memory; Clone() it first");
  }
}

}  // namespace

Storage::~Storage() {
  if (slot) slot->CancelAssignment();
}

absl::StatusOr<const Version*> ReadVersion(TensorImpl& tensor) {
  if (!tensor.error.ok()) return tensor.error;
  if (!tensor.view) return &tensor.storage->current;
  return ReadView(*tensor.storage, *tensor.view);
}

absl::Status ReplaceContent(Storage& storage, Version content) {
  if (storage.slot) {
    MOAI_ASSIGN_OR_RETURN(content.value,
                          Recorder::Current()->Assign(storage.slot, std::move(content.value)));
  }
  if (storage.leaf) content.edge = {.node = storage.leaf};
  storage.current = std::move(content);
  storage.cast = nullptr;
  ++storage.version;
  return absl::OkStatus();
}

absl::Status WriteVersion(TensorImpl& tensor, Version content) {
  Storage& storage = *tensor.storage;
  if (storage.leaf && GradEnabled() && !tensor.detached) {
    return absl::FailedPreconditionError(
        "in-place op on a tensor that requires a gradient; use a NoGradGuard");
  }
  if (tensor.detached) content.edge = Edge();
  if (!tensor.view) return ReplaceContent(storage, std::move(content));
  Version update = content;
  for (View* view = tensor.view.get(); view != nullptr; view = view->parent.get()) {
    Version input = storage.current;
    if (view->parent) {
      MOAI_ASSIGN_OR_RETURN(const Version* parent, ReadView(storage, *view->parent));
      input = *parent;
    }
    MOAI_ASSIGN_OR_RETURN(update, Unview(*view, input, update));
  }
  MOAI_RETURN_IF_ERROR(ReplaceContent(storage, std::move(update)));
  // Reading the view back needs no op, but where the storage adds a history of its own.
  if (!storage.leaf) tensor.view->Cache(std::move(content), storage.version);
  return absl::OkStatus();
}

Ref<TensorImpl> NewTensorImpl(Version content) {
  Ref<TensorImpl> tensor(new TensorImpl());
  tensor->type = content.value->type();
  tensor->storage = Ref<Storage>(new Storage());
  tensor->storage->current = std::move(content);
  return tensor;
}

}  // namespace moai
