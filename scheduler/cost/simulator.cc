#include "scheduler/cost/simulator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace moai {

// Building a schedule.

uint16_t Schedule::Category(absl::string_view name) {
  const auto [found, added] =
      category_numbers_.try_emplace(std::string(name), static_cast<uint16_t>(categories_.size()));
  if (added) categories_.emplace_back(name);
  return found->second;
}

TaskId Schedule::Add(const Task& task, absl::Span<const TaskId> after) {
  const TaskId id = static_cast<TaskId>(tasks_.size());
  tasks_.push_back(task);
  for (TaskId first : after) dependencies_.push_back({first, id});
  return id;
}

TaskId Schedule::AddCompute(uint32_t device, double seconds, uint16_t category,
                            absl::Span<const TaskId> after, int32_t index) {
  return Add({.seconds = seconds, .device = device, .index = index, .category = category}, after);
}

CollectiveId Schedule::NewCollective(double seconds, uint32_t members) {
  collectives_.push_back({seconds, members});
  return static_cast<CollectiveId>(collectives_.size() - 1);
}

TaskId Schedule::AddCollective(uint32_t device, CollectiveId collective, uint16_t category,
                               absl::Span<const TaskId> after, int32_t index, Stream stream) {
  return Add({.device = device,
              .collective = collective,
              .index = index,
              .category = category,
              .stream = stream,
              .kind = Kind::kCollective},
             after);
}

TaskId Schedule::AddTransfer(uint32_t sender, double seconds, uint16_t category,
                             absl::Span<const TaskId> after, int32_t index) {
  return Add({.seconds = seconds,
              .device = sender,
              .index = index,
              .category = category,
              .stream = Stream::kCommunication,
              .kind = Kind::kTransfer},
             after);
}

std::string Schedule::Describe(TaskId id) const {
  const Task& task = tasks_[id];
  return absl::StrCat("'", categories_[task.category],
                      task.index >= 0 ? absl::StrCat(" ", task.index) : "", "' (task ", id,
                      " of device ", task.device, ")");
}

// Running it.

class Simulation {
 public:
  Simulation(const Schedule& schedule, const SimulationOptions& options)
      : schedule_(schedule), slowdown_(options.overlap_slowdown) {}

  absl::StatusOr<SimulationResult> Run();

 private:
  using Task = Schedule::Task;
  using Kind = Schedule::Kind;
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  struct StreamState {
    std::vector<TaskId> order;
    size_t next = 0;       // position of the head
    bool running = false;  // the head has begun
    TaskId last = kNone;   // what ended last on it
  };
  struct DeviceState {
    StreamState streams[kStreams];
    int sending = 0;        // collectives and transfers that run
    TaskId kernel = kNone;  // the compute task that runs
    double work_left = 0;   // of it, in seconds without slowdown
    double since = 0;       // when work_left and the times were brought up to date
    uint32_t version = 0;   // of its end event; a change of speed makes older ones void
    DeviceTimes times;
  };
  struct CollectiveState {
    uint32_t arrived = 0;
    TaskId first_part = kNone;  // list through next_part_
    TaskId last_arrival = kNone;
  };
  struct Event {
    double time;
    TaskId task;  // of a collective, its first part
    uint32_t version;
    // By time; of equal times in the order of tasks, so that a result never depends on the heap.
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : task > other.task;
    }
  };

  absl::Status Prepare();
  void TryBegin(uint32_t device, Stream stream);
  void Begin(TaskId id, TaskId cause);
  void Settle(DeviceState& device);
  void ChangeSending(uint32_t device, int by);
  void ScheduleKernelEnd(DeviceState& device);
  void OnEvent(const Event& event);
  void End(TaskId id);
  // The task whose end let this one be ready: the later of its stream's and its last condition's.
  TaskId ReadyCause(TaskId id) const;
  absl::Status Deadlock() const;
  void FindCriticalPath();

  StreamState& StreamOf(const Task& task) {
    return devices_[task.device].streams[static_cast<int>(task.stream)];
  }

  const Schedule& schedule_;
  const double slowdown_;
  double now_ = 0;
  size_t ended_ = 0;
  std::vector<DeviceState> devices_;
  std::vector<CollectiveState> collectives_;
  std::vector<uint32_t> next_part_;                     // of each task, the collective's next part
  std::vector<uint32_t> waits_for_;                     // conditions that are still open
  std::vector<uint32_t> first_successor_, successors_;  // compressed rows
  std::vector<TaskId> last_condition_;                  // the condition that was met last
  std::vector<TaskId> cause_;                           // what decided when a task began
  std::vector<bool> arrived_;                           // parts of collectives that stand at it
  std::vector<bool> done_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  SimulationResult result_;
};

absl::Status Simulation::Prepare() {
  const size_t count = schedule_.tasks_.size();
  devices_.resize(schedule_.devices_);
  collectives_.resize(schedule_.collectives_.size());
  waits_for_.assign(count, 0);
  first_successor_.assign(count + 1, 0);
  next_part_.assign(count, kNone);
  last_condition_.assign(count, kNone);
  cause_.assign(count, kNone);
  arrived_.assign(count, false);
  done_.assign(count, false);
  result_.tasks.resize(count);
  if (!(slowdown_ >= 1)) return absl::InvalidArgumentError("overlap_slowdown must be at least 1");
  std::vector<uint32_t> parts(collectives_.size(), 0);
  for (TaskId id = 0; id < count; ++id) {
    const Task& task = schedule_.tasks_[id];
    if (task.device >= devices_.size() || task.category >= schedule_.categories_.size() ||
        (task.kind == Kind::kCollective && task.collective >= collectives_.size())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "task ", id, " names a device, a category or a collective that does not exist"));
    }
    const double seconds = task.kind == Kind::kCollective
                               ? schedule_.collectives_[task.collective].seconds
                               : task.seconds;
    if (!(seconds >= 0) || !std::isfinite(seconds)) {
      return absl::InvalidArgumentError(
          absl::StrCat(schedule_.Describe(id), " takes ", seconds, " seconds"));
    }
    StreamOf(task).order.push_back(id);
    if (task.kind != Kind::kCollective) continue;
    CollectiveState& collective = collectives_[task.collective];
    next_part_[id] = collective.first_part;
    collective.first_part = id;
    if (++parts[task.collective] > schedule_.collectives_[task.collective].members) {
      return absl::InvalidArgumentError(absl::StrCat(
          schedule_.Describe(id), " is one part more than its collective has members"));
    }
  }
  for (const auto& [first, then] : schedule_.dependencies_) {
    if (first >= count || then >= count) {
      return absl::InvalidArgumentError(
          absl::StrCat("a task waits for task ", first, ", which does not exist"));
    }
    ++first_successor_[first + 1];
    ++waits_for_[then];
  }
  for (size_t i = 0; i < count; ++i) first_successor_[i + 1] += first_successor_[i];
  successors_.resize(schedule_.dependencies_.size());
  std::vector<uint32_t> fill(first_successor_.begin(), first_successor_.end() - 1);
  for (const auto& [first, then] : schedule_.dependencies_) successors_[fill[first]++] = then;
  return absl::OkStatus();
}

TaskId Simulation::ReadyCause(TaskId id) const {
  const Task& task = schedule_.tasks_[id];
  const TaskId before = devices_[task.device].streams[static_cast<int>(task.stream)].last;
  const TaskId condition = last_condition_[id];
  if (before == kNone || condition == kNone) return before == kNone ? condition : before;
  return result_.tasks[condition].end > result_.tasks[before].end ? condition : before;
}

void Simulation::TryBegin(uint32_t device, Stream stream) {
  StreamState& state = devices_[device].streams[static_cast<int>(stream)];
  if (state.running || state.next == state.order.size()) return;
  const TaskId id = state.order[state.next];
  if (waits_for_[id] > 0 || arrived_[id]) return;
  const Task& task = schedule_.tasks_[id];
  if (task.kind != Kind::kCollective) {
    Begin(id, ReadyCause(id));
    return;
  }
  arrived_[id] = true;
  cause_[id] = ReadyCause(id);
  CollectiveState& collective = collectives_[task.collective];
  collective.last_arrival = id;
  if (++collective.arrived < schedule_.collectives_[task.collective].members) return;
  const TaskId cause = cause_[id];
  for (TaskId part = collective.first_part; part != kNone; part = next_part_[part]) {
    Begin(part, cause);
  }
  events_.push({now_ + schedule_.collectives_[task.collective].seconds, collective.first_part, 0});
}

void Simulation::Begin(TaskId id, TaskId cause) {
  const Task& task = schedule_.tasks_[id];
  DeviceState& device = devices_[task.device];
  StreamOf(task).running = true;
  cause_[id] = cause;
  result_.tasks[id].begin = now_;
  if (task.kind == Kind::kCompute) {
    Settle(device);
    device.kernel = id;
    device.work_left = task.seconds;
    ScheduleKernelEnd(device);
    return;
  }
  ChangeSending(task.device, +1);
  if (task.kind == Kind::kTransfer) events_.push({now_ + task.seconds, id, 0});
}

// Brings a device's times and remaining work up to now.
void Simulation::Settle(DeviceState& device) {
  const double passed = now_ - device.since;
  device.since = now_;
  if (passed <= 0) return;
  const bool computes = device.kernel != kNone;
  const bool sends = device.sending > 0;
  if (computes) {
    device.times.compute += passed;
    device.work_left = std::max(0.0, device.work_left - passed / (sends ? slowdown_ : 1));
  }
  if (sends) device.times.communication += passed;
  if (computes && sends) device.times.overlapped += passed;
}

void Simulation::ChangeSending(uint32_t index, int by) {
  DeviceState& device = devices_[index];
  Settle(device);
  const bool before = device.sending > 0;
  device.sending += by;
  if (device.kernel != kNone && before != (device.sending > 0)) ScheduleKernelEnd(device);
}

void Simulation::ScheduleKernelEnd(DeviceState& device) {
  const double speed = device.sending > 0 ? slowdown_ : 1;
  events_.push({now_ + device.work_left * speed, device.kernel, ++device.version});
}

void Simulation::OnEvent(const Event& event) {
  const Task& task = schedule_.tasks_[event.task];
  switch (task.kind) {
    case Kind::kCompute: {
      DeviceState& device = devices_[task.device];
      if (device.kernel != event.task || device.version != event.version) return;
      now_ = event.time;
      Settle(device);
      device.kernel = kNone;
      End(event.task);
      return;
    }
    case Kind::kTransfer:
      now_ = event.time;
      ChangeSending(task.device, -1);
      End(event.task);
      return;
    case Kind::kCollective:
      now_ = event.time;
      for (TaskId part = event.task; part != kNone; part = next_part_[part]) {
        ChangeSending(schedule_.tasks_[part].device, -1);
      }
      for (TaskId part = event.task; part != kNone; part = next_part_[part]) End(part);
      return;
  }
}

void Simulation::End(TaskId id) {
  const Task& task = schedule_.tasks_[id];
  ++ended_;
  done_[id] = true;
  result_.tasks[id].end = now_;
  StreamState& stream = StreamOf(task);
  stream.running = false;
  stream.last = id;
  ++stream.next;
  for (uint32_t i = first_successor_[id]; i < first_successor_[id + 1]; ++i) {
    const TaskId then = successors_[i];
    last_condition_[then] = id;
    if (--waits_for_[then] == 0) {
      TryBegin(schedule_.tasks_[then].device, schedule_.tasks_[then].stream);
    }
  }
  TryBegin(task.device, task.stream);
}

absl::Status Simulation::Deadlock() const {
  constexpr size_t kMost = 8;  // that are named
  std::vector<std::string> waiting;
  for (const DeviceState& device : devices_) {
    for (const StreamState& stream : device.streams) {
      if (stream.next == stream.order.size()) continue;
      const TaskId id = stream.order[stream.next];
      const Task& task = schedule_.tasks_[id];
      std::string line = schedule_.Describe(id);
      if (arrived_[id]) {
        absl::StrAppend(&line, " has ", collectives_[task.collective].arrived, " of ",
                        schedule_.collectives_[task.collective].members, " members");
      } else {
        for (const auto& [first, then] : schedule_.dependencies_) {
          if (then != id || done_[first]) continue;
          absl::StrAppend(&line, " waits for ", schedule_.Describe(first));
          break;
        }
      }
      waiting.push_back(std::move(line));
      if (waiting.size() == kMost) break;
    }
    if (waiting.size() == kMost) break;
  }
  return absl::FailedPreconditionError(absl::StrCat("the schedule blocks itself after ", ended_,
                                                    " of ", schedule_.tasks_.size(),
                                                    " tasks: ", absl::StrJoin(waiting, "; ")));
}

void Simulation::FindCriticalPath() {
  TaskId last = kNone;
  for (TaskId id = 0; id < result_.tasks.size(); ++id) {
    if (last == kNone || result_.tasks[id].end > result_.tasks[last].end) last = id;
  }
  for (TaskId id = last; id != kNone; id = cause_[id]) {
    result_.critical_path.push_back(id);
    result_.critical_seconds[schedule_.categories_[schedule_.tasks_[id].category]] +=
        result_.tasks[id].end - result_.tasks[id].begin;
  }
  std::reverse(result_.critical_path.begin(), result_.critical_path.end());
}

absl::StatusOr<SimulationResult> Simulation::Run() {
  MOAI_RETURN_IF_ERROR(Prepare());
  for (uint32_t device = 0; device < devices_.size(); ++device) {
    for (int stream = 0; stream < kStreams; ++stream) {
      TryBegin(device, static_cast<Stream>(stream));
    }
  }
  while (!events_.empty()) {
    const Event event = events_.top();
    events_.pop();
    OnEvent(event);
  }
  if (ended_ < schedule_.tasks_.size()) return Deadlock();
  result_.finish = now_;
  for (DeviceState& device : devices_) {
    Settle(device);
    const DeviceTimes& times = device.times;
    device.times.idle = now_ - (times.compute + times.communication - times.overlapped);
    result_.devices.push_back(device.times);
  }
  FindCriticalPath();
  return std::move(result_);
}

absl::StatusOr<SimulationResult> Simulate(const Schedule& schedule,
                                          const SimulationOptions& options) {
  return Simulation(schedule, options).Run();
}

}  // namespace moai
