#include "worker/executor/device_events.h"

#include <algorithm>

namespace moai {

class DeviceEvents::Device : public EventSink {
 public:
  Device(DeviceEvents* events, size_t device) : events_(events), device_(device) {}
  void Send(const proto::ExecutorEvent& event) override { events_->Send(device_, event); }
  void Flush() override { events_->Flush(); }

 private:
  DeviceEvents* const events_;
  const size_t device_;
};

DeviceEvents::DeviceEvents(size_t devices, EventSink* sink) : sink_(sink), progress_(devices) {
  for (size_t i = 0; i < devices; ++i) devices_.push_back(std::make_unique<Device>(this, i));
}
DeviceEvents::~DeviceEvents() = default;

EventSink* DeviceEvents::For(size_t device) { return devices_[device].get(); }

void DeviceEvents::Send(size_t device, const proto::ExecutorEvent& event) {
  MutexLock lock(mutex_);
  switch (event.kind_case()) {
    case proto::ExecutorEvent::kCommandsDone:
      return TakeProgress(device, event.commands_done());
    case proto::ExecutorEvent::kSynchronizeResult:
      return TakeSynchronization(device, event.synchronize_result());
    default:
      return sink_->Send(event);  // of the one device that was asked
  }
}

void DeviceEvents::Flush() {
  MutexLock lock(mutex_);
  sink_->Flush();
}

void DeviceEvents::TakeProgress(size_t device, const proto::CommandsDone& done) {
  progress_[device] = {done.commands(), done.step()};
  const Progress& slowest =
      *std::min_element(progress_.begin(), progress_.end(),
                        [](const auto& a, const auto& b) { return a.commands < b.commands; });
  if (slowest.commands <= told_) return;
  told_ = slowest.commands;
  event_.Clear();
  event_.mutable_commands_done()->set_commands(slowest.commands);
  event_.mutable_commands_done()->set_step(slowest.step);
  sink_->Send(event_);
}

void DeviceEvents::TakeSynchronization(size_t device, const proto::SynchronizeResult& result) {
  Synchronization& all = synchronizations_[result.request()];
  all.results.resize(devices_.size());
  all.results[device] = result;
  if (++all.answers < devices_.size()) return;
  event_.Clear();
  proto::SynchronizeResult* answer = event_.mutable_synchronize_result();
  answer->set_request(result.request());
  for (const proto::SynchronizeResult& one : all.results) {
    if (answer->status().code() == 0 && one.status().code() != 0) {
      *answer->mutable_status() = one.status();
    }
    answer->set_device_bytes_in_use(
        std::max(answer->device_bytes_in_use(), one.device_bytes_in_use()));
    answer->set_device_bytes_peak(std::max(answer->device_bytes_peak(), one.device_bytes_peak()));
  }
  synchronizations_.erase(result.request());
  sink_->Send(event_);
}

}  // namespace moai
