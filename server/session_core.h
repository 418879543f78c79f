// One session, without its transport: takes the client's messages, checks every field against the
// session, and forwards what may run to the session's devices; takes their executors' events and
// answers the client.
//
// Nothing a client sends is trusted, and nothing but a broken protocol ends a session: a step that
// cannot run poisons the ids it would have made, and reading one of them tells why.
//
// Not synchronised: the caller locks.
#ifndef MOAI_SERVER_SESSION_CORE_H_
#define MOAI_SERVER_SESSION_CORE_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "proto/session.pb.h"
#include "proto/worker.pb.h"
#include "scheduler/dispatch.h"
#include "server/graph_registry.h"
#include "server/layout_table.h"
#include "server/object_table.h"
#include "server/redistributions.h"
#include "server/region_table.h"
#include "server/structure_table.h"

namespace moai {

// Where answers to the client go.
class ClientSink {
 public:
  virtual ~ClientSink() = default;
  // May wait for Flush. Never blocks.
  virtual void Send(const proto::ServerMessage& message) = 0;
  virtual void Flush() = 0;
};

struct SessionLimits {
  // Commands that the executor has not finished; a client that runs further ahead breaks the
  // protocol (it is told how far the executor has come).
  size_t max_commands_in_flight = 65536;
  size_t max_bytes_in_flight = size_t{512} << 20;
  size_t max_requests_in_flight = 4096;  // reads and synchronisations
  uint32_t ticket_seconds = 60;
  RegistryLimits registry;
};

struct SessionSettings {
  std::string label;                   // of the session, for the log
  std::vector<DeviceProfile> devices;  // leased to the session, by rank
  // How many of them each executor has, in order. Empty: one executor has all.
  std::vector<size_t> executors;
  std::vector<DeviceProfile> flavors;  // of the whole pool: what a refusal may name
  std::vector<PlannedSize> larger;     // likewise, of a plan; smallest first
  SessionLimits limits;
};

class SessionCore {
 public:
  // Ids from here on are the server's own; clients may not make any.
  static constexpr uint64_t kFirstOwnId = uint64_t{1} << 63;

  // The planner and the sinks outlive this.
  SessionCore(SessionSettings settings, Planner* planner, DeviceSink* device, ClientSink* client);

  // An error means that the client broke the protocol, and ends the session. `message` is consumed.
  absl::Status OnClientMessage(proto::ClientMessage& message);
  // Whether a message takes so long (verification, planning) that it should not run on a thread
  // that serves other sessions.
  bool TakesLong(const proto::ClientMessage& message) const;
  // Does the long part of such a message ahead of OnClientMessage. Uses only what messages of the
  // client change: OnExecutor... and Flush may run beside it, nothing else may.
  void Prepare(const proto::ClientMessage& message);
  // After the last message at hand: sends what was held back.
  void Flush();

  // An error means that the executor of this position broke the protocol, or cannot go on.
  absl::Status OnExecutorEvent(size_t executor, proto::ExecutorEvent& event);
  // Where the executor of the first device takes and gives bulk bytes.
  void OnExecutorReady(std::vector<std::string> transfer_addresses);
  // Everything in flight, and every later message, is answered with `why`.
  void OnExecutorLost(const absl::Status& why);

  bool closed_by_client() const { return closed_; }
  uint64_t steps() const { return last_step_; }
  const ObjectTable& objects() const { return objects_; }
  // Whether the devices have commands that they have not finished.
  bool busy() const { return !in_flight_.empty(); }
  // What the session takes of each of its devices: its objects, and the space for temporaries.
  void MemoryInUse(std::vector<int64_t>& by_device) const;

 private:
  struct PendingRead {
    TensorType type;
    proto::Ticket ticket;  // empty: inline
  };
  struct PendingSynchronization {
    absl::Status refusal;  // the first step refused before it, since the one before
    size_t answers = 0;    // of executors
    proto::SynchronizeResult result;
  };
  struct Progress {
    uint64_t commands = 0;
    uint64_t step = 0;
  };

  absl::Status OnRegisterGraph(const proto::RegisterGraph& message);
  absl::Status OnStep(proto::Step& step);
  absl::Status OnRelease(const proto::Release& release);
  absl::Status OnRead(const proto::Read& read);
  absl::Status OnUpload(proto::Upload& upload);
  absl::Status OnSynchronize(const proto::Synchronize& synchronize);
  absl::Status OnTransferDone(const proto::TransferDone& done);

  // Takes what later steps of the graph may leave out.
  absl::Status TakeChanges(const proto::Step& step, RegisteredGraph& graph);
  absl::Status TakeSlots(const proto::Step& step, RegisteredGraph& graph);
  absl::Status TakeScalars(const proto::Step& step, RegisteredGraph& graph);
  // Whether the step may run; an error refuses it.
  absl::Status CheckStep(proto::Step& step, RegisteredGraph& graph);
  // Brings what it binds to where its plan wants it, and the plan to the executors.
  absl::Status MakeReady(proto::Step& step, RegisteredGraph& graph, PlannedProgram& planned);
  // Runs it, or refuses it.
  void RunStep(proto::Step& step, RegisteredGraph& graph);
  // Tells the person at the terminal what was chosen.
  void Announce(const Plan& plan);
  absl::Status CheckSlots(RegisteredGraph& graph, const PlannedProgram& planned);
  absl::Status CheckValues(const proto::Step& step, const RegisteredGraph& graph,
                           const Plan& plan) const;
  absl::Status CheckFeeds(const proto::Step& step, const Plan& plan) const;
  absl::Status CheckOutputs(const proto::Step& step, const Plan& plan) const;
  absl::Status NumberLayouts(PlannedProgram& planned);
  // What is alive beside the step's bindings, of the device where that is most.
  int64_t OtherBytes(const proto::Step& step, const RegisteredGraph& graph) const;
  int64_t BytesBeside(std::vector<uint64_t> ids) const;
  // At the sizes of the step.
  bool HasPlan(const proto::Step& step, const RegisteredGraph& graph) const;
  void PreparePlan(const proto::Step& step);
  absl::Status CheckFit(const std::vector<StepMemory>& step) const;
  void Forward(proto::Step& step, RegisteredGraph& graph);
  void RecordResults(const proto::Step& step, const RegisteredGraph& graph);
  // A step consumes what was uploaded for it, whether it runs or not.
  void ReleaseFeeds(const proto::Step& step);
  void Refuse(const proto::Step& step, RegisteredGraph* graph, const absl::Status& status);

  // session_layout.cc: where objects lie.
  // Brings what the step binds to where its plan wants it. May replace ids in step.values by ones
  // of temporaries_.
  absl::Status Arrange(proto::Step& step, RegisteredGraph& graph, const PlannedProgram& planned);
  absl::Status ArrangeSlots(RegisteredGraph& graph, const PlannedProgram& planned);
  absl::Status ArrangeValues(proto::Step& step, const RegisteredGraph& graph,
                             const PlannedProgram& planned);
  absl::Status ArrangeFeeds(const proto::Step& step);
  // Changes the layout of an object.
  absl::Status Move(uint64_t id, LayoutId to);
  // Makes a copy of another layout, under a new id of the server's own.
  absl::StatusOr<uint64_t> CopyAs(uint64_t id, LayoutId to);
  void ReleaseObject(uint64_t id);
  void ReleaseTemporaries();
  // Tells the executors of a program's parts; `client_graph` is the graph that they are parts of,
  // or null.
  void Load(const std::vector<DeviceGraph>& parts, const RegisteredGraph* client_graph,
            LoadedParts& loaded);
  void Unload(const LoadedParts& loaded);
  // Before the execution of a program is sent: what it will take and send. At debug level only.
  void LogExecution(const LoadedParts& loaded, const std::vector<StepMemory>& memory) const;

  // session_region.cc: two steps that are planned as one.
  // Before a message is taken: ends a region, or runs its late part, where the message is about
  // what it has left open. True where the message is done with it.
  bool BeforeMessage(const proto::ClientMessage& message);
  // A step whose changes have been taken: whether it begins a region, or is the one that the open
  // region waits for. If not, it runs alone.
  bool BeginRegion(const proto::Step& step, RegisteredGraph& graph);
  bool ContinueRegion(proto::Step& step, RegisteredGraph& graph);
  bool IsExpected(const proto::Step& step, const RegisteredGraph& graph);
  void Note(const proto::Step& step, RegisteredGraph& graph, NotedStep& note) const;
  void Observe(const proto::Step& step, RegisteredGraph& graph);
  // At the step after a pair: what the program holds of its first one is not made for the second
  // only.
  void LearnWhatIsKept();
  // The pair that this step begins if no plan is missing for it but the region's.
  RegionCandidate* WithoutPlan(const proto::Step& step) const;
  void PrepareRegion(const proto::Step& step, RegionCandidate& candidate);
  absl::Status CheckRegion(const NotedStep& first, RegionCandidate& candidate);
  absl::Status ArrangeRegion(const NotedStep& first, RegionPlan& plan);
  void SendHalf(PlannedHalf& half, uint64_t step, uint64_t first_output);
  void RecordLate(const proto::Step& step, const RegisteredGraph& graph);
  bool AnyDeferred() const;
  void RunLate();
  // Runs the first step alone, as the second did not come or the program wants more of it, and then
  // the second if it waits.
  void LeaveRegion();
  void RunFirstAlone(OpenRegion& region);
  void DropCrossing(const OpenRegion& region);

  size_t executor_count() const { return std::max<size_t>(1, settings_.executors.size()); }
  void SendToDevices(const proto::ExecutorCommand& command);
  // Of a command of which each executor was sent its form.
  void CountCommand(size_t bytes);
  void SendReadError(uint64_t request, const absl::Status& status);
  void SendUploadGrant(uint64_t id, const absl::Status& status, const proto::Ticket* ticket);
  absl::Status OnReadResult(proto::ReadResult& result);
  absl::Status OnUploadOpened(const proto::UploadOpened& opened);
  absl::Status OnCommandsDone(size_t executor, const proto::CommandsDone& done);
  absl::Status OnSynchronizeResult(const proto::SynchronizeResult& result);
  void ReportSteps();
  absl::Status UnknownId(uint64_t id) const;
  proto::Ticket NewTicket(uint64_t object, int64_t bytes, bool upload) const;

  const SessionSettings settings_;
  DeviceSink* const device_;
  ClientSink* const client_;
  GraphRegistry registry_;
  LayoutTable layouts_;
  ObjectTable objects_;
  StructureTable structures_;
  Redistributions redistributions_;
  Planner* const planner_;
  RegionTable regions_;
  NotedStep previous_;                  // where it may begin a region
  RegionCandidate* watched_ = nullptr;  // of which a step of the second was the last to come
  uint64_t watched_output_ = 0;         // where the outputs of its first began
  OpenRegion region_;
  uint64_t next_own_id_ = kFirstOwnId;
  std::vector<uint64_t> temporaries_;  // of the step at hand
  // Copies that a client reads on tickets, by ticket: released when it says that it has them.
  absl::flat_hash_map<std::string, uint64_t> copies_;

  uint64_t last_step_ = 0;       // received
  uint64_t last_forwarded_ = 0;  // step
  uint64_t done_step_ = 0;       // of the slowest executor
  uint64_t reported_step_ = 0;   // as the client was told
  uint64_t commands_done_ = 0;
  std::vector<int64_t> arena_bytes_;  // the largest of the steps so far, by device
  std::vector<Progress> progress_;    // by executor
  // Bytes of each command that an executor has not finished; 0 for the server's own, which a client
  // does not know of.
  std::deque<uint32_t> in_flight_;
  size_t commands_in_flight_ = 0;  // the client's
  size_t bytes_in_flight_ = 0;

  absl::flat_hash_map<uint64_t, PendingRead> reads_;                        // by request
  absl::flat_hash_map<uint64_t, proto::Ticket> uploads_;                    // by id
  absl::flat_hash_map<uint64_t, PendingSynchronization> synchronizations_;  // by request
  absl::Status first_refusal_;
  // Steps of unknown structure: which ids they would have made is not known but where they begin.
  std::map<uint64_t, absl::Status> lost_outputs_;
  absl::Status executor_lost_;
  std::vector<std::string> transfer_addresses_;
  bool closed_ = false;

  // Reused, so that a step makes no new messages.
  proto::ExecutorCommand command_;
  proto::ServerMessage answer_;
};

}  // namespace moai

#endif  // MOAI_SERVER_SESSION_CORE_H_
