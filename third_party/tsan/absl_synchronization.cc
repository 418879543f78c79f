// Tells ThreadSanitizer what Abseil's locks order. Debian's Abseil is not compiled with it, so that
// every value guarded by an absl::Mutex would be reported as a race. The linker sends our own calls
// here (--wrap, see BUILD.bazel); calls between system libraries are not touched, nor are they
// checked.
//
// Memory accesses between pre_ and post_ are ignored: that is where Abseil evaluates the Conditions
// of other threads. Not handled: Await or CondVar::Wait by a thread that holds the lock as a
// reader.

#include <sanitizer/tsan_interface.h>

#include "absl/time/time.h"

namespace {

constexpr unsigned kWriter = 0;
constexpr unsigned kReader = __tsan_mutex_read_lock;

// Runs `acquire`, which takes the lock in any case.
template <typename Acquire>
auto Lock(void* mutex, unsigned flags, Acquire acquire) -> decltype(acquire()) {
  struct Scope {
    Scope(void* mutex, unsigned flags) : mutex(mutex), flags(flags) {
      __tsan_mutex_pre_lock(mutex, flags);
    }
    ~Scope() { __tsan_mutex_post_lock(mutex, flags, 0); }
    void* mutex;
    unsigned flags;
  } scope(mutex, flags);
  return acquire();
}

template <typename TryAcquire>
bool TryLock(void* mutex, unsigned flags, TryAcquire try_acquire) {
  __tsan_mutex_pre_lock(mutex, flags | __tsan_mutex_try_lock);
  const bool held = try_acquire();
  __tsan_mutex_post_lock(mutex,
                         flags | (held ? __tsan_mutex_try_lock : __tsan_mutex_try_lock_failed), 0);
  return held;
}

template <typename Release>
void Unlock(void* mutex, unsigned flags, Release release) {
  __tsan_mutex_pre_unlock(mutex, flags);
  release();
  __tsan_mutex_post_unlock(mutex, flags);
}

// Runs `wait`, which gives the lock up and takes it again.
template <typename Wait>
auto Relock(void* mutex, Wait wait) -> decltype(wait()) {
  Unlock(mutex, kWriter, [] {});
  return Lock(mutex, kWriter, wait);
}

// Where Notification::HasBeenNotified reads, inline: the word after the mutex.
void* FlagOf(void* notification) { return static_cast<char*>(notification) + 8; }

}  // namespace

// Defines the replacement of one Abseil function and names the original. `symbol` is the mangled
// name.
#define WRAP(result, symbol, ...)                 \
  extern "C" result __real_##symbol(__VA_ARGS__); \
  extern "C" result __wrap_##symbol(__VA_ARGS__)

WRAP(void, _ZN4absl7debian35MutexD1Ev, void* self) {
  __tsan_mutex_destroy(self, __tsan_mutex_not_static);
  __real__ZN4absl7debian35MutexD1Ev(self);
}

WRAP(void, _ZN4absl7debian35Mutex4LockEv, void* self) {
  Lock(self, kWriter, [&] { __real__ZN4absl7debian35Mutex4LockEv(self); });
}

WRAP(void, _ZN4absl7debian35Mutex6UnlockEv, void* self) {
  Unlock(self, kWriter, [&] { __real__ZN4absl7debian35Mutex6UnlockEv(self); });
}

WRAP(bool, _ZN4absl7debian35Mutex7TryLockEv, void* self) {
  return TryLock(self, kWriter, [&] { return __real__ZN4absl7debian35Mutex7TryLockEv(self); });
}

WRAP(void, _ZN4absl7debian35Mutex10ReaderLockEv, void* self) {
  Lock(self, kReader, [&] { __real__ZN4absl7debian35Mutex10ReaderLockEv(self); });
}

WRAP(void, _ZN4absl7debian35Mutex12ReaderUnlockEv, void* self) {
  Unlock(self, kReader, [&] { __real__ZN4absl7debian35Mutex12ReaderUnlockEv(self); });
}

WRAP(bool, _ZN4absl7debian35Mutex13ReaderTryLockEv, void* self) {
  return TryLock(self, kReader,
                 [&] { return __real__ZN4absl7debian35Mutex13ReaderTryLockEv(self); });
}

WRAP(void, _ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE, void* self, const void* condition) {
  Lock(self, kWriter,
       [&] { __real__ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE(self, condition); });
}

WRAP(bool, _ZN4absl7debian35Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE, void* self,
     const void* condition, absl::Duration timeout) {
  return Lock(self, kWriter, [&] {
    return __real__ZN4absl7debian35Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE(
        self, condition, timeout);
  });
}

WRAP(bool, _ZN4absl7debian35Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE, void* self,
     const void* condition, absl::Time deadline) {
  return Lock(self, kWriter, [&] {
    return __real__ZN4absl7debian35Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE(
        self, condition, deadline);
  });
}

WRAP(void, _ZN4absl7debian35Mutex14ReaderLockWhenERKNS0_9ConditionE, void* self,
     const void* condition) {
  Lock(self, kReader,
       [&] { __real__ZN4absl7debian35Mutex14ReaderLockWhenERKNS0_9ConditionE(self, condition); });
}

WRAP(bool, _ZN4absl7debian35Mutex25ReaderLockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE,
     void* self, const void* condition, absl::Duration timeout) {
  return Lock(self, kReader, [&] {
    return __real__ZN4absl7debian35Mutex25ReaderLockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE(
        self, condition, timeout);
  });
}

WRAP(bool, _ZN4absl7debian35Mutex26ReaderLockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE,
     void* self, const void* condition, absl::Time deadline) {
  return Lock(self, kReader, [&] {
    return __real__ZN4absl7debian35Mutex26ReaderLockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE(
        self, condition, deadline);
  });
}

WRAP(void, _ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE, void* self, const void* condition) {
  Relock(self, [&] { __real__ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE(self, condition); });
}

WRAP(bool, _ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE, void* self,
     const void* condition, absl::Duration timeout) {
  return Relock(self, [&] {
    return __real__ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE(
        self, condition, timeout);
  });
}

WRAP(bool, _ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE, void* self,
     const void* condition, absl::Time deadline) {
  return Relock(self, [&] {
    return __real__ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE(
        self, condition, deadline);
  });
}

WRAP(void, _ZN4absl7debian37CondVar4WaitEPNS0_5MutexE, void* self, void* mutex) {
  Relock(mutex, [&] { __real__ZN4absl7debian37CondVar4WaitEPNS0_5MutexE(self, mutex); });
}

WRAP(bool, _ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE, void* self,
     void* mutex, absl::Duration timeout) {
  return Relock(mutex, [&] {
    return __real__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(self, mutex,
                                                                                       timeout);
  });
}

WRAP(bool, _ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE, void* self,
     void* mutex, absl::Time deadline) {
  return Relock(mutex, [&] {
    return __real__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(self, mutex,
                                                                                    deadline);
  });
}

WRAP(void, _ZN4absl7debian312Notification6NotifyEv, void* self) {
  __tsan_release(FlagOf(self));
  __real__ZN4absl7debian312Notification6NotifyEv(self);
}

WRAP(void, _ZNK4absl7debian312Notification19WaitForNotificationEv, void* self) {
  __real__ZNK4absl7debian312Notification19WaitForNotificationEv(self);
  __tsan_acquire(FlagOf(self));
}

WRAP(bool, _ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE,
     void* self, absl::Duration timeout) {
  const bool notified =
      __real__ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE(
          self, timeout);
  if (notified) __tsan_acquire(FlagOf(self));
  return notified;
}

WRAP(bool, _ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_4TimeE, void* self,
     absl::Time deadline) {
  const bool notified =
      __real__ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_4TimeE(self,
                                                                                         deadline);
  if (notified) __tsan_acquire(FlagOf(self));
  return notified;
}

WRAP(bool, _ZN4absl7debian315BlockingCounter14DecrementCountEv, void* self) {
  __tsan_release(self);
  return __real__ZN4absl7debian315BlockingCounter14DecrementCountEv(self);
}

WRAP(void, _ZN4absl7debian315BlockingCounter4WaitEv, void* self) {
  __real__ZN4absl7debian315BlockingCounter4WaitEv(self);
  __tsan_acquire(self);
}

WRAP(bool, _ZN4absl7debian37Barrier5BlockEv, void* self) {
  __tsan_release(self);
  const bool last = __real__ZN4absl7debian37Barrier5BlockEv(self);
  __tsan_acquire(self);
  return last;
}
