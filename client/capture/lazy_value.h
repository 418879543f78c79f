// One immutable value of the program: a result that is still being recorded, an object on the
// accelerator, the content of a slot, or bytes that only the client has.
#ifndef MOAI_CLIENT_CAPTURE_LAZY_VALUE_H_
#define MOAI_CLIENT_CAPTURE_LAZY_VALUE_H_

#include <cstdint>
#include <memory>

#include "client/capture/ref.h"
#include "client/session.h"
#include "graph/graph.h"

namespace moai {

class Recorder;
class LazyValue;

// A persistent place of session state: a parameter, a buffer, a gradient, optimizer state. Steps
// read and replace its content; its id stays, so that every step binds the same ids.
class Slot : public RefCounted<Slot> {
 public:
  ~Slot();

  const TensorType& type() const { return type_; }
  // Of the content as steps name it. Another one after bytes of the client were assigned.
  ObjectId id() const { return id_; }

  // What the open graph was to store here is not wanted any more.
  void CancelAssignment();

 private:
  friend class Recorder;
  friend class LazyValue;
  Slot(Ref<Recorder> recorder, const TensorType& type);

  Ref<Recorder> recorder_;
  TensorType type_;
  ObjectId id_ = 0;
  LazyValue* content_ = nullptr;  // what is stored there now, if anyone still refers to it
  Ref<LazyValue> next_;           // what the open graph will store there
  uint64_t bound_in_ = 0;         // the generation in which `binding_` holds
  uint32_t binding_ = 0;
  uint32_t dirty_index_ = 0;  // in the recorder's list, while `next_` is there
};

class LazyValue : public RefCounted<LazyValue> {
 public:
  enum class State : uint8_t {
    kPending,  // made by the open graph
    kObject,   // a value object of the session
    kSlot,     // the content of a slot
    kBytes,    // the client has the bytes; they become a feed or an upload at first use
    kNumber,   // a rank 0 number the client knows; a scalar of each graph that uses it
    kDropped,  // droppable, and its graph was closed
    kLost,     // its graph could not be submitted
  };

  ~LazyValue();

  const TensorType& type() const { return type_; }
  State state() const { return state_; }
  // Requires kNumber.
  Scalar number() const { return number_; }

  // Says that whoever holds the only reference can record the value again, so that closing the
  // graph drops it instead of keeping it on the accelerator.
  void set_droppable(bool droppable) { droppable_ = droppable; }
  bool dropped() const { return state_ == State::kDropped; }

  // Values that need no recorder until an op uses them.
  static Ref<LazyValue> FromBytes(const TensorType& type, SharedBytes bytes);
  // An f64 for float dtypes, else an i64.
  static Ref<LazyValue> FromNumber(Dtype dtype, Scalar number);

 private:
  friend class Recorder;
  friend class Slot;
  LazyValue(State state, const TensorType& type);

  TensorType type_;
  State state_;
  bool droppable_ = false;
  ValueId id_ = 0;           // in the graph of generation bound_in_
  uint32_t live_index_ = 0;  // in the recorder's list of pending values
  uint64_t bound_in_ = 0;
  Ref<Recorder> recorder_;  // of kPending, kObject
  ObjectId object_ = 0;     // of kObject
  Scalar number_{.i64 = 0};
  Slot* claimed_by_ = nullptr;  // will be the content of this slot when the graph closes
  Ref<Slot> slot_;              // of kSlot
  std::unique_ptr<SharedBytes> bytes_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_CAPTURE_LAZY_VALUE_H_
