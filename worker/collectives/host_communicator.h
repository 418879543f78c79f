// A Communicator for devices whose memory the host addresses.
#ifndef MOAI_WORKER_COLLECTIVES_HOST_COMMUNICATOR_H_
#define MOAI_WORKER_COLLECTIVES_HOST_COMMUNICATOR_H_

#include <vector>

#include "worker/collectives/communicator.h"
#include "worker/collectives/exchange.h"
#include "worker/collectives/peer_link.h"

namespace moai {

// Made by ProcessGroup::For.
class HostCommunicator final : public Communicator {
 public:
  // `shared` outlives it.
  HostCommunicator(uint32_t rank, const PeerLink::Shared* shared);

  uint32_t rank() const override { return link_.rank(); }
  uint32_t size() const override { return link_.size(); }
  absl::Status AllReduce(GroupSpan group, const std::byte* input, std::byte* output, int64_t count,
                         Dtype dtype, ReduceKind reduce, absl::Span<std::byte> scratch) override;
  absl::Status AllGather(GroupSpan group, const std::byte* input, std::byte* output,
                         const AxisSplit& split, Dtype dtype,
                         absl::Span<std::byte> scratch) override;
  absl::Status ReduceScatter(GroupSpan group, const std::byte* input, std::byte* output,
                             const AxisSplit& split, Dtype dtype, ReduceKind reduce,
                             absl::Span<std::byte> scratch) override;
  absl::Status AllToAll(GroupSpan group, const std::byte* input, std::byte* output,
                        const TwoAxisSplit& split, Dtype dtype,
                        absl::Span<std::byte> scratch) override;
  absl::Status BroadcastFromFirst(GroupSpan group, const std::byte* input, std::byte* output,
                                  int64_t bytes) override;
  absl::Status Exchange(absl::Span<const PeerMessage> messages) override;
  absl::Status BeginFlags(const StepFlag& mine) override;
  absl::Status FinishFlags(std::vector<StepFlag>* all) override;
  absl::Status status() const override { return link_.state().status(); }
  void Abort(const absl::Status& error) override { link_.state().Break(error).IgnoreError(); }
  const TransferCounters& counters() const override { return link_.counters(); }

 private:
  // Sets me_. InvalidArgument, which breaks the state, for a group that cannot be.
  absl::Status Enter(GroupSpan group);
  absl::Status Refuse(const std::string& why);
  absl::Status CheckPeers(absl::Span<const PeerMessage> messages);
  absl::Status CheckReduction(Dtype dtype, ReduceKind reduce);
  absl::Status SmallAllReduce(GroupSpan group, const std::byte* input, std::byte* output,
                              int64_t count, Dtype dtype, ReduceKind reduce,
                              absl::Span<std::byte> scratch);

  PeerLink link_;
  int64_t me_ = 0;                // position in the group of the call that runs
  std::vector<Traffic> traffic_;  // of that call
  std::vector<StepFlag> flags_;   // by rank; since BeginFlags this device's own, and what comes
};

}  // namespace moai

#endif  // MOAI_WORKER_COLLECTIVES_HOST_COMMUNICATOR_H_
