#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "scheduler/cost/simulator.h"

namespace moai {

class TraceWriter {
 public:
  TraceWriter(const Schedule& schedule, const SimulationResult& result)
      : schedule_(schedule), result_(result) {
    for (const std::string& category : schedule.categories_) names_.push_back(Quoted(category));
  }

  // The JSON form of the Trace Event Format: complete events ("X"), times in microseconds.
  std::string Write() {
    text_ = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
    for (int device = 0; device < schedule_.devices_; ++device) {
      Name("process_name", device, 0, absl::StrCat("device ", device));
      Name("thread_name", device, 0, "compute");
      Name("thread_name", device, 1, "communication");
    }
    std::vector<bool> critical(schedule_.tasks_.size(), false);
    for (TaskId id : result_.critical_path) critical[id] = true;
    for (TaskId id = 0; id < schedule_.tasks_.size(); ++id) Event(id, critical[id]);
    // The last event has no comma after it.
    if (text_.ends_with(",\n")) text_.erase(text_.size() - 2, 1);
    absl::StrAppend(&text_, "]}\n");
    return std::move(text_);
  }

 private:
  static std::string Quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  void Name(const char* what, int device, int stream, const std::string& name) {
    absl::StrAppend(&text_, "{\"ph\": \"M\", \"name\": \"", what, "\", \"pid\": ", device,
                    ", \"tid\": ", stream, ", \"args\": {\"name\": ", Quoted(name), "}},\n");
  }

  void Event(TaskId id, bool critical) {
    const Schedule::Task& task = schedule_.tasks_[id];
    const TaskTimes& times = result_.tasks[id];
    absl::StrAppend(&text_, "{\"ph\": \"X\", \"name\": ", names_[task.category],
                    ", \"pid\": ", task.device, ", \"tid\": ", static_cast<int>(task.stream),
                    absl::StrFormat(", \"ts\": %.6f, \"dur\": %.6f", times.begin * 1e6,
                                    (times.end - times.begin) * 1e6),
                    ", \"args\": {\"task\": ", id);
    if (task.index >= 0) absl::StrAppend(&text_, ", \"index\": ", task.index);
    if (critical) absl::StrAppend(&text_, ", \"critical\": true");
    absl::StrAppend(&text_, "}},\n");
  }

  const Schedule& schedule_;
  const SimulationResult& result_;
  std::vector<std::string> names_;
  std::string text_;
};

std::string TraceOf(const Schedule& schedule, const SimulationResult& result) {
  return TraceWriter(schedule, result).Write();
}

absl::Status WriteTrace(const Schedule& schedule, const SimulationResult& result,
                        const std::string& path) {
  std::ofstream file(path, std::ios::trunc);
  file << TraceOf(schedule, result);
  file.close();
  if (!file) return absl::InternalError(absl::StrCat("cannot write the trace '", path, "'"));
  return absl::OkStatus();
}

}  // namespace moai
