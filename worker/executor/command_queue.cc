#include "worker/executor/command_queue.h"

#include <utility>

#include "base/spin_wait.h"

namespace moai {
namespace {

// A single large burst must not keep its memory for good.
constexpr size_t kKeepBytes = 4 << 20;

}  // namespace

void CommandQueue::Put(absl::string_view command) {
  MutexLock lock(mutex_);
  waiting_.bytes.append(command.data(), command.size());
  waiting_.ends.push_back(waiting_.bytes.size());
}

void CommandQueue::Notify() {
  MutexLock lock(mutex_);
  ready_.store(true, std::memory_order_release);
  if (asleep_) changed_.NotifyOne();
}

void CommandQueue::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  ready_.store(true, std::memory_order_release);
  changed_.NotifyOne();
}

bool CommandQueue::Poll() {
  for (SpinWait spin; spin_ && !ready_.load(std::memory_order_acquire) && spin.Again();) {
  }
  return ready_.load(std::memory_order_acquire);
}

bool CommandQueue::TakeIfReady(CommandBatch& batch) {
  return ready_.load(std::memory_order_acquire) && TakeAll(batch) && batch.size() > 0;
}

bool CommandQueue::TakeAll(CommandBatch& batch) {
  batch.Clear();
  if (batch.bytes.capacity() > kKeepBytes) batch.bytes.shrink_to_fit();
  MutexLock lock(mutex_);
  asleep_ = true;
  while (!ready_.load(std::memory_order_relaxed)) changed_.Wait(mutex_);
  asleep_ = false;
  std::swap(batch, waiting_);
  if (!closed_) ready_.store(false, std::memory_order_relaxed);
  spin_ = batch.size() <= kConversation;
  return batch.size() > 0 || !closed_;
}

}  // namespace moai
