#include "wire/poller.h"

#include <grpc/support/time.h>

#include <utility>

#include "base/spin_wait.h"

namespace moai::wire {

// One RunAt. The alarm completes exactly once: when it is due, or early when it is cancelled.
class Poller::Task : public Completion {
 public:
  Task(Poller* poller, std::function<void(bool)> run) : poller_(poller), run_(std::move(run)) {}

  void Start(std::chrono::system_clock::time_point when) {
    alarm_.Set(poller_->queue(), when, static_cast<Completion*>(this));
  }
  void Cancel() { alarm_.Cancel(); }

  void OnComplete(bool ok) override {
    bool closing;
    {
      MutexLock lock(poller_->mutex_);
      closing = poller_->closing_;
    }
    run_(ok && !closing);
    // What the task holds may count in the shutdown: let go of it first.
    run_ = nullptr;
    Poller* const poller = poller_;
    {
      MutexLock lock(poller->mutex_);
      poller->tasks_.erase(this);
      if (poller->tasks_.empty()) poller->unused_.NotifyAll();
    }
    delete this;
  }

 private:
  Poller* const poller_;
  std::function<void(bool)> run_;
  grpc::Alarm alarm_;
};

Poller::Poller(std::unique_ptr<grpc::CompletionQueue> queue)
    : queue_(std::move(queue)), thread_([this] { Run(); }) {}

Poller::~Poller() { Shutdown(); }

void Poller::RunAt(std::chrono::system_clock::time_point when, std::function<void(bool)> task) {
  {
    MutexLock lock(mutex_);
    if (!down_) {
      Task* const alarm = new Task(this, std::move(task));
      tasks_.insert(alarm);
      tasks_made_.fetch_add(1, std::memory_order_release);
      // Under the lock, so that Shutdown cancels only what has started.
      alarm->Start(closing_ ? std::chrono::system_clock::now() : when);
      return;
    }
  }
  task(false);
}

void Poller::Shutdown() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    closing_ = true;
    for (Task* task : tasks_) task->Cancel();
    while (streams_ > 0 || !tasks_.empty()) unused_.Wait(mutex_);
    down_ = true;
  }
  queue_->Shutdown();
  thread_.join();
}

void Poller::StreamBegan() {
  MutexLock lock(mutex_);
  ++streams_;
}

void Poller::StreamEnded() {
  MutexLock lock(mutex_);
  if (--streams_ == 0) unused_.NotifyAll();
}

bool Poller::Next(void** tag, bool* ok) {
  for (SpinWait spin; interactive_; interactive_ = spin.Again()) {
    switch (queue_->AsyncNext(tag, ok, gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::GOT_EVENT:
        return true;
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::TIMEOUT:
        break;
    }
  }
  return queue_->Next(tag, ok);
}

void Poller::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (Next(&tag, &ok)) {
    // An alarm comes after its task was made. gRPC sees to that, but ThreadSanitizer does not see
    // into gRPC.
    tasks_made_.load(std::memory_order_acquire);
    static_cast<Completion*>(tag)->OnComplete(ok);
  }
}

}  // namespace moai::wire
