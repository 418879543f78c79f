// Records ops into the open graph and submits it as a step of the session.
//
// The open graph is closed (Flush) when a value is read, when an optimizer step ends (MarkStep) and
// when it grows past a bound. What then becomes an output: every value that someone still refers
// to, and the new content of every slot that was assigned. Nothing but a read waits.
//
// A recorder and all that is made with it belong to one thread at a time.
#ifndef MOAI_CLIENT_CAPTURE_RECORDER_H_
#define MOAI_CLIENT_CAPTURE_RECORDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/capture/lazy_value.h"
#include "client/capture/location.h"
#include "client/capture/ref.h"
#include "client/session.h"
#include "graph/builder.h"

namespace moai {

struct RecorderOptions {
  // A graph that is not closed otherwise is closed after this many nodes, at the first place that
  // looks like the place of the last such cut (so that a loop is cut where it was cut before); at
  // the latest after `max_nodes`.
  size_t min_nodes_to_cut = 8192;
  size_t max_nodes = 32768;
  // Bytes of the client up to this size are sent with each step that uses them; larger ones are
  // uploaded once.
  size_t max_feed_bytes = size_t{256} << 10;
  // Told, once, which line of the program makes a training step two parts. May be empty.
  std::function<void(absl::string_view line)> warn;
};

class Recorder : public RefCounted<Recorder> {
 public:
  static Ref<Recorder> Create(std::shared_ptr<Session> session,
                              const RecorderOptions& options = {});
  ~Recorder();

  // The recorder that tensors of this thread are made with; null where none was attached.
  static const Ref<Recorder>& Current();
  static void SetCurrent(Ref<Recorder> recorder);

  Session& session() { return *session_; }

  // ---- Recording one op: Begin, an Id or Number for each input, Node, a NewValue for each output.

  // Closes the graph if it has grown enough. An error means that the session has ended.
  absl::Status Begin() {
    if (builder_.node_count() >= options_.min_nodes_to_cut) CutIfDue();
    return ended_;
  }
  // The value's id in the open graph, binding it if it is not there yet.
  // FailedPrecondition for a value of another recorder, or one whose graph was lost.
  absl::StatusOr<ValueId> Id(LazyValue* value) {
    if (value->bound_in_ == generation_ && value->recorder_.get() == this) return value->id_;
    return Bind(value);
  }
  // A number that stays out of the structure: each call is a scalar position of its own, whatever
  // the number is.
  ValueId Number(Dtype dtype, double number);
  absl::StatusOr<ValueId> Node(Op op, absl::Span<const ValueId> inputs,
                               absl::Span<const int32_t> attributes,
                               absl::Span<const int64_t> extents,
                               absl::Span<const double> numbers) {
    Mix(static_cast<uint64_t>(op));
    return builder_.AddNode(op, inputs, attributes, extents, numbers);
  }
  const TensorType& type(ValueId id) const { return builder_.type(id); }
  Ref<LazyValue> NewValue(ValueId id);

  // ---- State

  // A new slot for tensors of this type; empty until something is assigned.
  Ref<Slot> NewSlot(const TensorType& type);
  // The slot takes `value` when the open graph closes. Returns the value that stands for the
  // content from now on (another one where `value` is already the content of another slot).
  absl::StatusOr<Ref<LazyValue>> Assign(const Ref<Slot>& slot, Ref<LazyValue> value);

  // ---- Closing

  // Submits the open graph.
  absl::Status Flush();
  // Flush at the end of a training step. Warns where the second step in a row went on, after a
  // read, with values from before it: the step waits there, and what the server does not plan as
  // one (docs/architecture.md) stores them.
  absl::Status MarkStep();
  // Flushes if the value is pending, waits for it and copies its bytes out. `location` is where the
  // program reads.
  absl::Status Read(LazyValue* value, absl::Span<std::byte> destination, Location location = {});
  // Flushes and waits until everything has run; the first error since the last call.
  absl::Status Synchronize();

  size_t open_nodes() const { return builder_.node_count(); }
  uint64_t recorded_nodes() const { return recorded_nodes_ + builder_.node_count(); }

 private:
  friend class Slot;
  friend class LazyValue;

  Recorder(std::shared_ptr<Session> session, const RecorderOptions& options)
      : session_(std::move(session)), options_(options) {}

  absl::StatusOr<ValueId> Bind(LazyValue* value);
  uint32_t SlotBinding(Slot* slot);
  // Another value that stands for the same content, for a second owner.
  absl::StatusOr<Ref<LazyValue>> Alias(LazyValue* value);
  void Register(LazyValue* value);
  void Unregister(LazyValue* value) { live_[value->live_index_] = nullptr; }
  void ForgetDirty(Slot* slot) { dirty_[slot->dirty_index_] = nullptr; }
  void Release(ObjectId id) { releases_.push_back(id); }
  void CutIfDue();

  // Notes that an object is bound which a read of this step may have cut off.
  void NoteUse(ObjectId object, const TensorType& type);

  // The parts of Flush, in this order.
  bool NothingToSubmit() const;
  void KeepReplacedContents();
  std::vector<Slot*> AddSlotOutputs();  // returns those whose content is uploaded instead
  std::vector<LazyValue*> AddValueOutputs();
  absl::Status SubmitGraph(size_t value_outputs, ObjectId& first_output);
  void BecomeObjects(absl::Span<LazyValue* const> outputs, ObjectId first_output);
  absl::Status StoreContents(absl::Span<Slot* const> uploads);
  void SendReleases();

  // A hash of the last ops recorded: what the place of a cut looks like.
  void Mix(uint64_t op) { window_ = (window_ << 4) ^ (op * 0x9E3779B97F4A7C15u >> 16); }

  std::shared_ptr<Session> session_;
  RecorderOptions options_;
  GraphBuilder builder_;
  uint64_t generation_ = 1;  // of the open graph
  absl::Status ended_;
  uint64_t window_ = 0;
  uint64_t cut_window_ = 0;
  bool has_cut_ = false;
  uint64_t recorded_nodes_ = 0;  // in closed graphs

  // The first read of this step that closed a graph: where it was, and what the graph left behind.
  struct ReadCut {
    Location location;
    ObjectId first_object = 0, object_limit = 0;
    int64_t values_used = 0;  // later in the step
    int64_t bytes_used = 0;
  };
  std::optional<ReadCut> read_cut_;
  std::pair<ObjectId, ObjectId> last_outputs_;  // of the last graph closed: [first, limit)
  int split_steps_ = 0;                         // in a row
  bool warned_ = false;

  std::vector<LazyValue*> live_;  // pending values in the order of their making; null: dropped
  std::vector<Slot*> dirty_;      // slots with `next_`, in the order of assignment; null: dropped
  // Bindings of the open graph.
  std::vector<ObjectId> slots_;
  std::vector<ObjectId> values_;
  std::vector<Scalar> scalars_;
  std::vector<SharedBytes> feeds_;
  std::vector<ObjectId> releases_;  // sent after the open graph, which may use them
};

}  // namespace moai

#endif  // MOAI_CLIENT_CAPTURE_RECORDER_H_
