#include "worker/executor/session_peers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "base/status.h"
#include "worker/collectives/collective_kernels.h"
#include "worker/collectives/communicator.h"
#include "worker/collectives/process_group.h"

namespace moai {
namespace {

// A device may wait for another that waits for a client: until the client's ticket expires, which
// is a minute from its issue, and for the steps that were before it.
constexpr absl::Duration kStepDeadline = absl::Seconds(180);
constexpr absl::Duration kConnectDeadline = absl::Seconds(60);

// An error on its way to the other devices.
struct ErrorText {
  static constexpr size_t kMaxLength = 1016;
  int32_t code = 0;
  uint32_t length = 0;
  char text[kMaxLength] = {};
};

// Counts what a collective sends, at the transport.
class CountingKernel final : public Kernel {
 public:
  // What is pointed to outlives the kernel.
  CountingKernel(std::unique_ptr<Kernel> kernel, const TransferCounters* counters,
                 CollectiveCount* count)
      : kernel_(std::move(kernel)), counters_(counters), count_(count) {}

  void Run(const KernelArguments& arguments) override {
    const int64_t before = counters_->bytes();
    kernel_->Run(arguments);
    ++count_->calls;
    count_->bytes += counters_->bytes() - before;
  }

 private:
  const std::unique_ptr<Kernel> kernel_;
  const TransferCounters* const counters_;
  CollectiveCount* const count_;
};

class Peers : public DevicePeers {
 public:
  explicit Peers(const ProcessGroup* links) : links_(links) {}

  void Use(std::unique_ptr<Communicator> communicator, std::unique_ptr<Communicator> agreements) {
    communicator_ = std::move(communicator);
    agreements_ = std::move(agreements);
  }

  void BeginAgreement(const absl::Status& mine) override {
    mine_ = mine;
    StepFlag flag;
    flag.raised = mine.ok() ? 0 : 1;
    begun_ = status();
    if (begun_.ok()) begun_ = agreements_->BeginFlags(flag);
  }

  absl::Status FinishAgreement() override {
    MOAI_RETURN_IF_ERROR(begun_);
    MOAI_RETURN_IF_ERROR(agreements_->FinishFlags(&flags_));
    const auto first = std::find_if(flags_.begin(), flags_.end(),
                                    [](const StepFlag& other) { return other.raised != 0; });
    if (first == flags_.end()) return absl::OkStatus();
    return ErrorOf(uint32_t(first - flags_.begin()));
  }

  absl::Status status() const override { return links_->status(); }

  absl::StatusOr<std::unique_ptr<Kernel>> MakeKernel(
      const Program& program, uint32_t index, absl::Span<const DeviceGroup> groups) override {
    if (communicator_ == nullptr) {
      return absl::InternalError("a program came before the devices were connected");
    }
    MOAI_ASSIGN_OR_RETURN(std::unique_ptr<Kernel> kernel,
                          MakeCollectiveKernel(program, index, groups, communicator_.get()));
    return std::make_unique<CountingKernel>(std::move(kernel), &communicator_->counters(),
                                            &sent_[program.instructions[index].op]);
  }

  CollectiveCounts TakeSent() override {
    CollectiveCounts taken;
    for (auto& [op, count] : sent_) {
      if (count.calls > 0) taken[op] = std::exchange(count, {});
    }
    return taken;
  }

 private:
  // What the device of that rank has to say, as it says it to all.
  absl::Status ErrorOf(uint32_t rank) {
    std::vector<uint32_t> group = {rank};
    for (uint32_t i = 0; i < agreements_->size(); ++i) {
      if (i != rank) group.push_back(i);
    }
    ErrorText given, taken;
    given.code = int32_t(mine_.code());
    given.length = uint32_t(std::min(mine_.message().size(), ErrorText::kMaxLength));
    std::copy_n(mine_.message().begin(), given.length, given.text);
    MOAI_RETURN_IF_ERROR(
        agreements_->BroadcastFromFirst(group, reinterpret_cast<const std::byte*>(&given),
                                        reinterpret_cast<std::byte*>(&taken), sizeof(taken)));
    const size_t length = std::min(size_t(taken.length), ErrorText::kMaxLength);
    return absl::Status(absl::StatusCode(taken.code), absl::string_view(taken.text, length));
  }

  const ProcessGroup* const links_;
  std::unique_ptr<Communicator> communicator_, agreements_;  // null until connected
  // Of the agreement that has begun.
  absl::Status mine_, begun_;
  std::vector<StepFlag> flags_;
  CollectiveCounts sent_;  // entries stay: kernels count in them
};

class GroupPeers : public SessionPeers {
 public:
  explicit GroupPeers(std::unique_ptr<ProcessGroup> links) : links_(std::move(links)) {
    for (size_t i = 0; i < links_->ranks().size(); ++i) {
      devices_.push_back(std::make_unique<Peers>(links_.get()));
    }
  }

  const std::vector<std::string>& addresses() const override { return links_->blobs(); }

  absl::Status Connect(const proto::ConnectPeers& peers) override {
    MutexLock lock(mutex_);
    if (connected_) return links_->status();
    connected_ = true;
    std::vector<std::string> blobs(peers.addresses().begin(), peers.addresses().end());
    blobs.resize(links_->processes());
    MOAI_RETURN_IF_ERROR(links_->Connect(blobs, kConnectDeadline));
    for (size_t i = 0; i < devices_.size(); ++i) {
      devices_[i]->Use(links_->For(i), links_->ForAgreements(i));
    }
    return absl::OkStatus();
  }

  DevicePeers* For(size_t device) override { return devices_[device].get(); }
  void Abort(const absl::Status& why) override { links_->Abort(why); }

 private:
  const std::unique_ptr<ProcessGroup> links_;
  std::vector<std::unique_ptr<Peers>> devices_;
  Mutex mutex_;  // held while the first device connects
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SessionPeers>> SessionPeers::Open(const proto::SessionShape& shape,
                                                                 const std::string& host,
                                                                 const LinkThrottle& throttle) {
  ProcessGroupOptions options;
  options.throttle = throttle;
  options.process = shape.executor();
  options.deadline = kStepDeadline;
  if (!host.empty()) options.listen_address = host;
  for (int process = 0; process < shape.devices_size(); ++process) {
    options.process_of_rank.insert(options.process_of_rank.end(), shape.devices(process),
                                   uint32_t(process));
  }
  MOAI_ASSIGN_OR_RETURN(std::unique_ptr<ProcessGroup> links, ProcessGroup::Open(options));
  return std::make_unique<GroupPeers>(std::move(links));
}

}  // namespace moai
