// What both ends of a transfer share: the wire's constants, and chunks that alias memory.
//
// Includes gRPC: for .cc files of wire/ only.
#ifndef MOAI_WIRE_TRANSFER_STREAM_H_
#define MOAI_WIRE_TRANSFER_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "base/mutex.h"

namespace moai::wire {

inline constexpr char kUploadMethod[] = "/moai.proto.TransferService/Upload";
inline constexpr char kDownloadMethod[] = "/moai.proto.TransferService/Download";

inline constexpr size_t kChunkBytes = 1 << 20;
// Chunks shrink to this while connections break before one arrives.
inline constexpr size_t kMinChunkBytes = 16 << 10;
// The receiver of an upload says so often how far it is.
inline constexpr size_t kProgressBytes = 8 << 20;
// gRPC may let go of a slice on any thread, after it was made, of course; but ThreadSanitizer does
// not see into gRPC.
inline std::atomic<uint64_t> slices_made = 0;

// A message that aliases `bytes`, and keeps `owner` until the transport is done with it.
inline grpc::ByteBuffer AliasBytes(absl::Span<const std::byte> bytes,
                                   std::shared_ptr<const void> owner) {
  auto* const keeper = new std::shared_ptr<const void>(std::move(owner));
  slices_made.fetch_add(1, std::memory_order_release);
  const grpc::Slice slice(
      const_cast<std::byte*>(bytes.data()), bytes.size(),
      [](void* kept) {
        slices_made.load(std::memory_order_acquire);
        delete static_cast<std::shared_ptr<const void>*>(kept);
      },
      keeper);
  return grpc::ByteBuffer(&slice, 1);
}

// Calls take(span) for each piece of a message; stops at the first false.
template <typename Take>
bool ForEachPiece(const grpc::ByteBuffer& message, Take&& take) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return false;
  for (const grpc::Slice& slice : slices) {
    if (!take(
            absl::MakeConstSpan(reinterpret_cast<const std::byte*>(slice.begin()), slice.size()))) {
      return false;
    }
  }
  return true;
}

// One thread that runs jobs in order: the copies through shared memory, which may wait for a peer.
class CopyThread {
 public:
  CopyThread() : thread_([this] { Run(); }) {}
  ~CopyThread() { Stop(); }

  // Runs what is queued, then ends the thread. Not on the thread itself.
  void Stop() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }

  // Not after Stop.
  void Add(std::function<void()> job) {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.NotifyAll();
  }

 private:
  void Run() {
    while (true) {
      std::vector<std::function<void()>> jobs;
      {
        MutexLock lock(mutex_);
        while (jobs_.empty() && !stopping_) changed_.Wait(mutex_);
        if (jobs_.empty()) return;
        jobs.swap(jobs_);
      }
      for (std::function<void()>& job : jobs) {
        job();
        job = nullptr;
      }
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace moai::wire

#endif  // MOAI_WIRE_TRANSFER_STREAM_H_
