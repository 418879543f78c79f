// Runs one session's commands on one device, in order: the objects (slots and values), the loaded
// programs, and the arena they share. Knows no transport.
//
// A step whose data is bad, or that depends on one, poisons what it would have made and leaves
// every slot as it was. Nothing here ends the process. Where a session has several devices, a step
// commits on all of them or on none: they agree before its first donated write.
//
// One thread (the device's) calls everything. Threads that move bulk bytes hold the Bytes and
// gates they were given and touch nothing else.
#ifndef MOAI_WORKER_EXECUTOR_EXECUTOR_CORE_H_
#define MOAI_WORKER_EXECUTOR_EXECUTOR_CORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/graph.h"
#include "program/compile.h"
#include "program/device_graph.h"
#include "program/step_account.h"
#include "worker/executor/background_kernels.h"
#include "worker/executor/device_memory.h"
#include "worker/executor/device_peers.h"
#include "worker/executor/loaded_program.h"
#include "worker/executor/structure_store.h"
#include "worker/executor/transfer_gate.h"
#include "worker/kernels/kernel.h"

namespace moai {

struct ExecutorOptions {
  int64_t memory_bytes = 0;
  DeviceShape device;
  KernelFactory make_kernel = nullptr;
  DevicePeers* peers = nullptr;  // outlives the core; null: the session has no other device
};

// Memory of one object. Freed when the last holder lets go.
class Bytes {
 public:
  static absl::StatusOr<std::shared_ptr<Bytes>> Allocate(DeviceMemory& memory, int64_t size);
  ~Bytes() { memory_.Free(data_, size_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  Bytes(DeviceMemory& memory, std::byte* data, int64_t size)
      : memory_(memory), data_(data), size_(size) {}

  DeviceMemory& memory_;
  std::byte* const data_;
  const int64_t size_;
};

struct ObjectRange {
  uint64_t first = 0;
  uint64_t count = 0;
};

struct ScalarUpdate {
  uint32_t position = 0;
  Scalar value;
};

// The bytes of a feed, or the id they were uploaded under.
struct FeedSource {
  absl::Span<const std::byte> bytes;
  uint64_t uploaded = 0;  // 0: inline
};

struct StepCommand {
  uint64_t step = 0;  // 0: none that the client knows by a number
  uint32_t program = 0;
  bool same_slots = false;  // as in the last step of the same graph
  absl::Span<const ObjectRange> slots;
  absl::Span<const ObjectRange> values;
  absl::Span<const ScalarUpdate> scalars;  // that changed since the last step of the graph
  absl::Span<const FeedSource> feeds;
  uint64_t first_output = 0;
};

// A structure placed on this device (program/device_graph.h).
struct ProgramPart {
  // The client's graph: programs of one graph remember its slots and scalars together. 0: none.
  uint32_t graph = 0;
  uint32_t structure = 0;
  absl::Span<const int64_t> sizes;
  std::vector<DeviceGroup> groups;
  std::vector<Scalar> constants;
  bool collectives = false;  // of any device: all must be ready before one begins
};

// The content of an object at one moment. `bytes` is null where status is an error.
struct ReadView {
  absl::Status status;
  TensorType type;
  std::shared_ptr<Bytes> bytes;
};

// Where bytes that arrive later go; whoever moves them opens the gate.
struct Arrival {
  std::shared_ptr<Bytes> bytes;
  std::shared_ptr<TransferGate> gate;
};

class ExecutorCore {
 public:
  explicit ExecutorCore(const ExecutorOptions& options);
  ~ExecutorCore();

  // `structure` names it in LoadProgram.
  absl::Status LoadStructure(uint32_t structure, std::shared_ptr<const Structure> content);
  void UnloadStructure(uint32_t structure);  // with its programs
  absl::Status LoadProgram(uint32_t program, ProgramPart part);
  void UnloadProgram(uint32_t program);

  // The step's own failure: outputs hold it already. Never blocks but for uploads that the step
  // needs and for reads of slots that it writes. `settled`, if there is one, is called when nothing
  // can undo the step any more but the loss of a device: outputs that are complete by then can be
  // read in it.
  absl::Status Execute(const StepCommand& command, const std::function<void()>& settled = nullptr);
  // Those outputs, ascending. Empty but within `settled`.
  absl::Span<const uint64_t> complete_early() const { return early_; }

  // An object whose bytes are here.
  absl::Status Upload(uint64_t id, const TensorType& type, absl::Span<const std::byte> bytes);
  // An object whose bytes will come; steps that use it wait at the gate.
  absl::StatusOr<Arrival> OpenUpload(uint64_t id, const TensorType& type,
                                     std::chrono::steady_clock::time_point deadline);

  // NotFound for an id that does not exist, the poison of one that has it. Waits for an upload.
  ReadView Read(uint64_t id);
  // Keeps the content of `id` as it is until the gate opens.
  void HoldForRead(uint64_t id, std::shared_ptr<TransferGate> gate);

  void Release(ObjectRange range);

  // Makes the content of `from` that of `to`, which may be new. Waits for reads of what `to` was.
  void Rename(uint64_t from, uint64_t to);

  // Not OK once the devices cannot reach each other: no later step can run.
  absl::Status link_status() const {
    return options_.peers == nullptr ? absl::OkStatus() : options_.peers->status();
  }

  // Of the last step that could begin: bytes as this device's memory counts them.
  const StepAccount& last_step() const { return last_step_; }

  // The first error of a step since the last call.
  absl::Status TakeFirstError();

  int64_t bytes_in_use() const { return memory_.in_use(); }
  int64_t bytes_peak() const { return memory_.peak(); }
  size_t object_count() const { return objects_.size(); }

 private:
  struct Object {
    TensorType type;
    std::shared_ptr<Bytes> bytes;           // null where poisoned
    absl::Status status;                    // the poison
    bool is_slot = false;                   // some graph has resolved it
    std::shared_ptr<TransferGate> arrival;  // not null until its bytes have been waited for
    std::vector<std::shared_ptr<TransferGate>> readers;
  };

  // What steps of one graph of the client may leave out.
  struct Bindings {
    std::vector<uint64_t> slots;    // ids, as of the last step
    std::vector<Object*> resolved;  // the same, null where the object does not exist yet
    uint64_t resolved_at = 0;       // value of slots_erased_ then
    std::vector<Scalar> scalars;
  };

  struct LoadedProgramEntry {
    uint32_t graph = 0;
    uint32_t structure = 0;
    absl::Status status;
    std::unique_ptr<LoadedProgram> program;
    std::vector<Scalar> constants;
    bool collectives = false;
  };

  absl::StatusOr<std::unique_ptr<LoadedProgram>> MakeProgram(const ProgramPart& part);
  absl::Status RunStep(const StepCommand& command, const LoadedProgramEntry& entry,
                       const Structure& structure, Bindings& bindings,
                       const std::function<void()>& settled);
  // Everything before the first instruction.
  absl::Status Prepare(const StepCommand& command, const LoadedProgramEntry& entry,
                       const Structure& structure, Bindings& bindings);
  // Remembers what later steps of the graph will not repeat.
  absl::Status TakeBindings(const StepCommand& command, const LoadedProgramEntry& entry,
                            const Structure& structure, Bindings& bindings);
  void ResolveSlots(Bindings& bindings);
  absl::Status BindSlots(LoadedProgram& program, Bindings& bindings);
  absl::Status BindValues(const StepCommand& command, LoadedProgram& program);
  absl::Status BindFeeds(const StepCommand& command, LoadedProgram& program);
  // Memory for outputs and created slots, in that order, into fresh_.
  absl::Status MakeFresh(LoadedProgram& program);
  absl::Status EnsureArena(const StepMemory& needed);
  void FreeArena();
  // Moves the outputs that are complete before the first write from fresh_.
  void PublishEarly(const StepCommand& command, const LoadedProgram& program);
  Object& Publish(uint64_t id, const TensorType& type, std::shared_ptr<Bytes> bytes);
  void Commit(const StepCommand& command, const LoadedProgram& program, const Bindings& bindings);
  void Poison(const StepCommand& command, const Structure& structure, const Bindings& bindings,
              const absl::Status& status);
  absl::StatusOr<std::shared_ptr<Bytes>> AllocateObject(int64_t bytes);
  // Waits for the object's bytes; its poison if it has one.
  absl::Status Ready(Object& object);
  static void WaitForReaders(Object& object);
  Object* Find(uint64_t id);
  void Erase(uint64_t id);

  const ExecutorOptions options_;
  DeviceMemory memory_;
  BackgroundKernels background_;
  // Pointers to objects stay valid until the object is erased.
  absl::node_hash_map<uint64_t, Object> objects_;
  uint64_t slots_erased_ = 1;  // counts erasures of slots: resolved pointers may dangle after one
  absl::flat_hash_map<uint32_t, std::shared_ptr<const Structure>> structures_;
  absl::flat_hash_map<uint32_t, LoadedProgramEntry> programs_;
  absl::node_hash_map<uint32_t, Bindings> bindings_;  // by graph
  std::byte* arena_ = nullptr;
  int64_t arena_bytes_ = 0;
  absl::Status first_error_;
  StepAccount last_step_;
  // Of the running step, kept to reuse their memory.
  std::vector<std::shared_ptr<Bytes>> fresh_;
  std::vector<uint64_t> early_;  // outputs that can be read within `settled`
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_EXECUTOR_CORE_H_
