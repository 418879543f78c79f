// What the client library needs from a virtual accelerator. Capture (tensor.h) talks to this
// interface only; behind it stands a server (session/grpc_session.h), or, in tests, the reference
// interpreter (testing/reference_session.h).
//
// Nothing here waits for the accelerator but Read and Synchronize: a step that fails poisons the
// ids it would have made, and the program learns of it at the next read of one of them. All methods
// may be called from any thread; submissions keep the order of the calls.
#ifndef MOAI_CLIENT_SESSION_H_
#define MOAI_CLIENT_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"

namespace moai {

// Names a value or slot of a session. Made by the client, never reused; 0 names nothing.
using ObjectId = uint64_t;

// Bytes that stay unchanged and alive for as long as `owner` does (a vector, a mapped file, ...).
struct SharedBytes {
  absl::Span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

// One execution of a graph.
struct StepRequest {
  Fingerprint fingerprint;
  // The structure; sent only where the session has not seen the fingerprint.
  std::shared_ptr<const Graph> graph;
  Sizes sizes;
  std::vector<ObjectId> slots;   // by slot binding
  std::vector<ObjectId> values;  // by value binding
  std::vector<Scalar> scalars;   // by scalar position
  std::vector<SharedBytes> feeds;
  ObjectId first_output = 0;  // value outputs take consecutive ids from here
};

// What the session has cost so far; printed by `--stats`.
struct SessionStats {
  uint64_t steps = 0;
  uint64_t graphs_registered = 0;
  uint64_t control_bytes_sent = 0;  // control messages without feeds and uploads
  uint64_t feed_bytes_sent = 0;     // feeds and uploads
  uint64_t bytes_read = 0;
  uint64_t blocking_round_trips = 0;
  uint64_t reconnects = 0;
  // Of the accelerator, as of the last Synchronize.
  uint64_t device_bytes_in_use = 0;
  uint64_t device_bytes_peak = 0;
};

class Session {
 public:
  virtual ~Session() = default;

  // Reserves `count` consecutive ids; never blocks.
  virtual ObjectId NewIds(uint64_t count) = 0;

  // Queues one step. Blocks only where the bounded run-ahead is used up. An error means that the
  // session has ended; errors of the step itself poison its outputs instead.
  virtual absl::Status Submit(StepRequest step) = 0;

  // Declares a slot or value whose content the client has. The bytes are sent in the background,
  // straight from where they lie.
  virtual absl::Status Upload(ObjectId id, const TensorType& type, SharedBytes bytes) = 0;

  // The program will not name these again. Steps already submitted still see them.
  virtual void Release(absl::Span<const ObjectId> ids) = 0;

  // Waits for the content of a value or slot, as of the steps submitted before the call, and writes
  // it to `destination`, whose size must be that of the tensor. A poisoned id gives its step's
  // error.
  virtual absl::Status Read(ObjectId id, absl::Span<std::byte> destination) = 0;

  // Waits until everything submitted has run. Returns the first error since the last call, if any.
  virtual absl::Status Synchronize() = 0;

  virtual SessionStats stats() const = 0;

  // The flavor's name and the memory of one device in bytes, for people.
  virtual std::string accelerator_name() const = 0;
  virtual uint64_t memory_bytes() const = 0;
};

}  // namespace moai

#endif  // MOAI_CLIENT_SESSION_H_
