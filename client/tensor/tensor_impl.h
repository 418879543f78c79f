// What stands behind a Tensor: a storage, and a view of it.
//
// A storage has a current version, which in-place ops replace. A tensor is the whole storage or a
// chain of views of it; reading it gives the value of the current version, recording the chain
// again where the storage has changed since. Writing through a view records the inverse of the
// chain and makes a new version of the whole storage.
#ifndef MOAI_CLIENT_TENSOR_TENSOR_IMPL_H_
#define MOAI_CLIENT_TENSOR_TENSOR_IMPL_H_

#include <cstdint>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/autograd/grad_node.h"
#include "client/capture/lazy_value.h"
#include "client/capture/ref.h"
#include "graph/graph.h"

namespace moai {

class Storage : public RefCounted<Storage> {
 public:
  Storage() = default;
  ~Storage();

  Version current;
  uint32_t version = 1;
  Ref<Slot> slot;      // set: the content is state of the session
  Ref<GradNode> leaf;  // set: gradients with respect to the content are accumulated here
  // The current version in another dtype, for mixed precision. Null where not made yet.
  Ref<LazyValue> cast;
};

// One view op over a storage or over another view of it.
class View : public RefCounted<View> {
 public:
  Op op = Op::kInvalid;
  absl::InlinedVector<int32_t, 4> attributes;
  absl::InlinedVector<int64_t, 9> extents;
  TensorType input_type;
  Ref<View> parent;  // null: the storage
  Shape strides;     // of the result over the dense storage, in elements

  ~View() { DropCache(); }
  // What the view showed at a version of its storage. The value may be dropped with its graph while
  // nobody else refers to it, because the view can be recorded again.
  const Version& cached() const { return cached_; }
  bool IsCached(uint32_t storage_version) const {
    return cached_version_ == storage_version && !cached_.value->dropped();
  }
  void Cache(Version content, uint32_t storage_version) {
    DropCache();
    cached_ = std::move(content);
    cached_.value->set_droppable(true);
    cached_version_ = storage_version;
  }

 private:
  void DropCache() {
    if (cached_.value) cached_.value->set_droppable(false);
  }

  Version cached_;
  uint32_t cached_version_ = 0;
};

class TensorImpl : public RefCounted<TensorImpl> {
 public:
  Ref<Storage> storage;
  Ref<View> view;  // null: the whole storage
  TensorType type;
  bool detached = false;  // its reads carry no history
  absl::Status error;     // not OK: poisoned; there is no storage
};

// The value and history of what the tensor shows now. The result is valid until the next op.
absl::StatusOr<const Version*> ReadVersion(TensorImpl& tensor);

// Makes `content`, of the tensor's type, what the tensor and every alias of it show.
absl::Status WriteVersion(TensorImpl& tensor, Version content);

// Replaces the whole content of a storage.
absl::Status ReplaceContent(Storage& storage, Version content);

// A tensor over a new storage.
Ref<TensorImpl> NewTensorImpl(Version content);

}  // namespace moai

#endif  // MOAI_CLIENT_TENSOR_TENSOR_IMPL_H_
