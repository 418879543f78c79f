// Runs the server's commands on the ExecutorCore of one device and collects what is to be told.
// Knows messages, but no transport.
#ifndef MOAI_WORKER_EXECUTOR_COMMAND_RUNNER_H_
#define MOAI_WORKER_EXECUTOR_COMMAND_RUNNER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/worker.pb.h"
#include "worker/executor/executor_core.h"

namespace moai {

// Where clients bring and fetch bulk bytes on tickets.
class BulkTransfers {
 public:
  virtual ~BulkTransfers() = default;
  // Takes bytes into `arrival.bytes`, and opens its gate when all have come or the ticket is
  // closed.
  virtual absl::Status OpenUpload(const proto::Ticket& ticket, Arrival arrival) = 0;
  // Gives `bytes` out, and opens the gate when the ticket is closed or expires.
  virtual absl::Status OpenDownload(const proto::Ticket& ticket, std::shared_ptr<Bytes> bytes,
                                    std::shared_ptr<TransferGate> gate) = 0;
  // Closing a ticket that does not exist does nothing. Any thread.
  virtual void Close(absl::string_view ticket_id) = 0;
};

// Where events go.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // May wait for Flush.
  virtual void Send(const proto::ExecutorEvent& event) = 0;
  virtual void Flush() = 0;
};

// Which device of the session this is.
struct DevicePosition {
  uint32_t rank = 0;         // among all devices of the session
  uint32_t local = 0;        // among those of this process
  std::string session = {};  // its label, for the log
};

// One thread calls everything; the sink and the transfers outlive this.
class CommandRunner {
 public:
  // `structures` is what the devices of the process share, and outlives this.
  CommandRunner(const ExecutorOptions& options, StructureStore* structures,
                BulkTransfers* transfers, EventSink* events, DevicePosition position = {});

  // The command that comes so many after the next one, where it is here already. Valid until the
  // runner is called again.
  using PeekCommand = std::function<std::optional<absl::string_view>(size_t distance)>;

  // Runs one serialised ExecutorCommand. Of those that follow it, answers reads of what the command
  // makes as soon as that is there: who waits for a loss goes on beside the rest of the step, and
  // its next one is here when this one ends. An error means that the server broke the protocol, or
  // that the devices cannot reach each other; what goes wrong with a step or tensor is told at its
  // reads.
  absl::Status Run(absl::string_view command, const PeekCommand& peek = nullptr);
  // After the last command at hand: sends answers that somebody waits for, if there are any, and
  // with them how far this has come.
  void FlushAnswers() {
    if (answers_waiting_) Flush();
  }
  // Says how far this has come; before waiting for long.
  void Flush();

  const ExecutorCore& core() const { return core_; }

 private:
  // Under load, progress is told at most this often; answers are told at once.
  static constexpr uint64_t kReportCommands = 16;
  static constexpr std::chrono::microseconds kReportInterval{200};

  absl::Status RunExecute(const proto::Execute& execute, const PeekCommand& peek);
  void AnswerEarly(const PeekCommand& peek);
  void RunRead(const proto::ExecutorRead& read);
  absl::Status RunUpload(const proto::ExecutorUpload& upload);
  void RunSynchronize(const proto::Synchronize& synchronize);
  absl::Status RunLoadStructure(const proto::LoadStructure& load);
  absl::Status RunLoadProgram(const proto::LoadProgram& load);
  void ReportProgress();

  ExecutorCore core_;
  const DevicePosition position_;
  StructureStore* const structures_;
  BulkTransfers* const transfers_;
  EventSink* const events_;
  uint64_t commands_ = 0;
  uint64_t reported_commands_ = 0;
  uint64_t step_ = 0;
  std::vector<uint64_t> answered_early_;  // commands, by their number
  std::chrono::steady_clock::time_point reported_at_;
  bool answers_waiting_ = false;  // sent but not flushed

  // Reused, so that a step makes no new messages.
  proto::ExecutorCommand command_, following_;
  proto::ExecutorEvent event_;
  std::vector<ObjectRange> slots_, values_;
  std::vector<ScalarUpdate> scalars_;
  std::vector<FeedSource> feeds_;
};

}  // namespace moai

#endif  // MOAI_WORKER_EXECUTOR_COMMAND_RUNNER_H_
