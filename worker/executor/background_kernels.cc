#include "worker/executor/background_kernels.h"

namespace moai {

BackgroundKernels::~BackgroundKernels() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void BackgroundKernels::Start(Kernel* kernel, const KernelArguments& arguments) {
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  MutexLock lock(mutex_);
  started_.push_back({kernel, arguments});
  changed_.NotifyAll();
}

void BackgroundKernels::AwaitAllBut(size_t remaining) {
  MutexLock lock(mutex_);
  while (started_.size() - complete_ > remaining) changed_.Wait(mutex_);
}

void BackgroundKernels::Run() {
  MutexLock lock(mutex_);
  while (true) {
    while (complete_ == started_.size() && !ending_) changed_.Wait(mutex_);
    if (complete_ == started_.size()) return;
    const Started next = started_[complete_];
    mutex_.Unlock();
    next.kernel->Run(next.arguments);
    mutex_.Lock();
    if (++complete_ == started_.size()) {
      started_.clear();
      complete_ = 0;
    }
    changed_.NotifyAll();
  }
}

}  // namespace moai
