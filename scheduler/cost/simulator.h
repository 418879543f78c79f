// An event-level simulation of a step: what every device computes and sends, in which order, and
// what waits for what. Finds the finish time, where devices idle, the chain of tasks that decides
// the finish, and schedules that block themselves.
//
// A device has two streams that run beside each other: compute and communication. Each runs its
// tasks one after the other, in the order in which they were added. While a device communicates,
// its kernels run slower by a stated factor.
//
// Not thread-safe; a Schedule is built by one thread and may then be simulated by any.
#ifndef MOAI_SCHEDULER_COST_SIMULATOR_H_
#define MOAI_SCHEDULER_COST_SIMULATOR_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace moai {

using TaskId = uint32_t;
using CollectiveId = uint32_t;

enum class Stream : uint8_t { kCompute = 0, kCommunication = 1 };
inline constexpr int kStreams = 2;

class Schedule {
 public:
  explicit Schedule(int devices) : devices_(devices) {}

  // A name for what tasks are, by which times are summed up: "forward", "all_reduce gradients".
  // The same name gives the same number.
  uint16_t Category(absl::string_view name);

  // Tasks begin when the one before them on their stream and all tasks in `after` (of any device,
  // added before or later) have ended. `after` may be empty. `index` is for people: the
  // micro-batch, say; -1: none.
  //
  // A kernel, or a run of kernels that nothing else waits for in between.
  TaskId AddCompute(uint32_t device, double seconds, uint16_t category,
                    absl::Span<const TaskId> after = {}, int32_t index = -1);

  // A collective begins when all its `members` have reached it, and takes the same time on all.
  // A send that waits for its receiver is a collective of two.
  CollectiveId NewCollective(double seconds, uint32_t members);
  // One member's part. On the compute stream it holds kernels up, as where one thread does both.
  TaskId AddCollective(uint32_t device, CollectiveId collective, uint16_t category,
                       absl::Span<const TaskId> after = {}, int32_t index = -1,
                       Stream stream = Stream::kCommunication);

  // A send that does not wait for its receiver: takes the sender's communication stream for this
  // long. Whoever needs the data names the returned task in its `after`.
  TaskId AddTransfer(uint32_t sender, double seconds, uint16_t category,
                     absl::Span<const TaskId> after = {}, int32_t index = -1);

  // One more condition of a task that exists.
  void AddDependency(TaskId task, TaskId after) { dependencies_.push_back({after, task}); }

  int devices() const { return devices_; }
  size_t task_count() const { return tasks_.size(); }

 private:
  friend class Simulation;
  friend class TraceWriter;

  enum class Kind : uint8_t { kCompute, kCollective, kTransfer };
  struct Task {
    double seconds = 0;
    uint32_t device = 0;
    uint32_t collective = 0;
    int32_t index = -1;
    uint16_t category = 0;
    Stream stream = Stream::kCompute;
    Kind kind = Kind::kCompute;
  };
  struct Collective {
    double seconds = 0;
    uint32_t members = 0;
  };
  struct Dependency {
    TaskId first, then;
  };

  TaskId Add(const Task& task, absl::Span<const TaskId> after);
  std::string Describe(TaskId task) const;

  int devices_;
  std::vector<Task> tasks_;
  std::vector<Collective> collectives_;
  std::vector<Dependency> dependencies_;
  std::vector<std::string> categories_;
  absl::flat_hash_map<std::string, uint16_t> category_numbers_;
};

struct TaskTimes {
  double begin = 0;
  double end = 0;
};

// Seconds of one device.
struct DeviceTimes {
  double compute = 0;        // its compute stream works (not: waits in a collective)
  double communication = 0;  // it sends, receives or reduces
  double overlapped = 0;     // both at once
  double idle = 0;           // neither, until the last device has finished
};

struct SimulationResult {
  double finish = 0;
  std::vector<TaskTimes> tasks;  // by TaskId
  std::vector<DeviceTimes> devices;
  // Tasks of which each could begin only when the one before it had ended; the last one ends last.
  std::vector<TaskId> critical_path;
  // How much of the finish time each category has on that path. The sum is `finish`.
  std::map<std::string, double> critical_seconds;
};

struct SimulationOptions {
  double overlap_slowdown = 1.15;  // at least 1; see Cluster::overlap_slowdown
};

// InvalidArgument where a task names a device or a task that does not exist, or a collective has
// more parts than members. FailedPrecondition where tasks wait for each other for ever: names those
// that stand at the head of a stream, and what they wait for.
absl::StatusOr<SimulationResult> Simulate(const Schedule& schedule,
                                          const SimulationOptions& options = {});

// The result as a trace that opens in Perfetto (ui.perfetto.dev): one process a device, one track a
// stream.
std::string TraceOf(const Schedule& schedule, const SimulationResult& result);
absl::Status WriteTrace(const Schedule& schedule, const SimulationResult& result,
                        const std::string& path);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_SIMULATOR_H_
