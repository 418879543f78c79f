#include "worker/profile/measure_links.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "base/status.h"
#include "program/collective_bytes.h"
#include "worker/collectives/process_group.h"

namespace moai {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);
// On a machine that is busy with other things, the awaited thread often does not run: so of large
// calls the fastest counts. Of small ones it does not: what one costs in a step is that a device is
// woken. All but the slowest count.
constexpr int kSmallCalls = 128, kLargeCalls = 6;
constexpr double kSmallShare = 0.9;
constexpr double kWorkSeconds = 0.5e-3;  // before each small call
constexpr int64_t kFirstBytes = int64_t{64} << 10;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Memory as kernels have it.
struct Buffer {
  explicit Buffer(int64_t bytes)
      : memory(size_t(bytes) + kCollectiveAlignment, std::byte{0}),
        begin(memory.data() + kCollectiveAlignment -
              reinterpret_cast<uintptr_t>(memory.data()) % kCollectiveAlignment) {}
  std::vector<std::byte> memory;
  std::byte* begin;
};

int64_t AllReduceScratch(int64_t elements) {
  Instruction instruction;
  instruction.op = Op::kAllReduce;
  Operand operand;
  operand.dtype = Dtype::kF32;
  operand.shape = {elements};
  instruction.inputs = {operand};
  instruction.outputs = {operand};
  return CollectiveScratchBytes(instruction);
}

// Arithmetic that a processor cannot do at once: each turn needs the one before.
void Work(int64_t turns) {
  volatile double result = 0;
  double x = 1;
  for (int64_t i = 0; i < turns; ++i) x = x * 0.999999 + 1e-6;
  result = x;
  (void)result;
}

// How many turns take so long, on a processor that does nothing else.
int64_t TurnsOf(double seconds) {
  constexpr int64_t kTurns = 100000;
  double least = 1;
  for (int i = 0; i < 5; ++i) {
    const double begin = Now();
    Work(kTurns);
    least = std::min(least, Now() - begin);
  }
  return std::max<int64_t>(1, int64_t(seconds / std::max(least, 1e-6) * kTurns));
}

// Two devices that call the same collectives, a thread each.
class Pair {
 public:
  static absl::StatusOr<std::unique_ptr<Pair>> Open(std::vector<uint32_t> process_of_rank,
                                                    const LinkOptions& options, bool host_memory) {
    auto pair = std::make_unique<Pair>();
    const uint32_t processes = process_of_rank.back() + 1;
    for (uint32_t process = 0; process < processes; ++process) {
      MOAI_ASSIGN_OR_RETURN(std::unique_ptr<ProcessGroup> group,
                            ProcessGroup::Open({.process = process,
                                                .process_of_rank = process_of_rank,
                                                .listen_address = options.host,
                                                .host_memory = host_memory,
                                                .deadline = kPatience,
                                                .throttle = options.throttle}));
      pair->groups_.push_back(std::move(group));
    }
    const std::vector<absl::Status> connected = pair->OnBoth([&](size_t i) {
      if (i >= processes) return absl::OkStatus();
      std::vector<std::string> blobs;
      for (const auto& group : pair->groups_) blobs.push_back(group->blobs()[i]);
      return pair->groups_[i]->Connect(blobs, kPatience);
    });
    for (const absl::Status& status : connected) MOAI_RETURN_IF_ERROR(status);
    for (uint32_t rank = 0; rank < 2; ++rank) {
      ProcessGroup& group = *pair->groups_[process_of_rank[rank]];
      const std::vector<uint32_t>& ranks = group.ranks();
      pair->devices_.push_back(
          group.For(size_t(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin())));
    }
    return pair;
  }

  using Call = std::function<absl::Status(Communicator&)>;
  struct Span {
    double begin = 0, end = 0;
  };

  // Seconds that so many calls take, ascending: of each, on the device that took longer. The other
  // may have come late and found everything there.
  absl::StatusOr<std::vector<double>> Seconds(int calls, const Call& call) {
    MOAI_RETURN_IF_ERROR(Run(calls, /*work=*/0, call));
    return Sorted(
        [](const Span& a, const Span& b) { return std::max(a.end - a.begin, b.end - b.begin); });
  }

  // The same after work, of which the devices have more by turns: from when the later one calls.
  // The other sleeps by then, and has to be woken.
  absl::StatusOr<std::vector<double>> SecondsAfterWork(int calls, int64_t work, const Call& call) {
    MOAI_RETURN_IF_ERROR(Run(calls, work, call));
    return Sorted([](const Span& a, const Span& b) {
      return std::max(a.end, b.end) - std::max(a.begin, b.begin);
    });
  }

 private:
  absl::Status Run(int calls, int64_t work, const Call& call) {
    const std::vector<absl::Status> results = OnBoth([&](size_t i) -> absl::Status {
      std::vector<StepFlag> flags;
      spans_[i].clear();
      spans_[i].reserve(size_t(calls));
      for (int k = 0; k < calls; ++k) {
        MOAI_RETURN_IF_ERROR(devices_[i]->ExchangeFlags({}, &flags));  // both begin together
        Work(work * int64_t(1 + (i + size_t(k)) % 2));
        const double begin = Now();
        MOAI_RETURN_IF_ERROR(call(*devices_[i]));
        spans_[i].push_back({begin, Now()});
      }
      return absl::OkStatus();
    });
    for (const absl::Status& result : results) MOAI_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }

  template <typename Combine>
  std::vector<double> Sorted(const Combine& combine) const {
    std::vector<double> sorted;
    for (size_t k = 0; k < spans_[0].size(); ++k) {
      sorted.push_back(std::max(combine(spans_[0][k], spans_[1][k]), 1e-9));
    }
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }

  static std::vector<absl::Status> OnBoth(const std::function<absl::Status(size_t)>& run) {
    std::vector<absl::Status> results(2);
    std::thread other([&] { results[1] = run(1); });
    results[0] = run(0);
    other.join();
    return results;
  }

  std::vector<std::unique_ptr<ProcessGroup>> groups_;
  std::vector<std::unique_ptr<Communicator>> devices_;  // before the groups at the end
  std::vector<Span> spans_[2];                          // of the last calls
};

const std::vector<uint32_t>& Both() {
  static const auto* both = new std::vector<uint32_t>{0, 1};
  return *both;
}

// `bytes` of each device, to both.
absl::Status Gather(Communicator& device, Buffer& part, Buffer& whole, int64_t bytes) {
  return device.AllGather(Both(), part.begin, whole.begin, {.units = 2 * bytes / 4}, Dtype::kF32,
                          {});
}

absl::StatusOr<LinkMeasurement> MeasureLink(Pair& pair, const LinkOptions& options) {
  LinkMeasurement link;
  Buffer small_part[2] = {Buffer(4), Buffer(4)}, small_whole[2] = {Buffer(8), Buffer(8)};
  MOAI_ASSIGN_OR_RETURN(
      const std::vector<double> small,
      pair.SecondsAfterWork(kSmallCalls, TurnsOf(kWorkSeconds), [&](Communicator& device) {
        return Gather(device, small_part[device.rank()], small_whole[device.rank()], 4);
      }));
  const auto counted = small.begin() + ptrdiff_t(kSmallShare * kSmallCalls);
  link.latency_us =
      std::accumulate(small.begin(), counted, 0.0) / double(counted - small.begin()) * 1e6;
  for (int64_t bytes = kFirstBytes; bytes <= options.most_bytes; bytes *= 2) {
    Buffer part[2] = {Buffer(bytes), Buffer(bytes)},
           whole[2] = {Buffer(2 * bytes), Buffer(2 * bytes)};
    MOAI_ASSIGN_OR_RETURN(const std::vector<double> gather,
                          pair.Seconds(kLargeCalls, [&](Communicator& device) {
                            return Gather(device, part[device.rank()], whole[device.rank()], bytes);
                          }));
    const int64_t elements = bytes / 4;  // of which each device sends as many bytes
    Buffer scratch[2] = {Buffer(AllReduceScratch(elements)), Buffer(AllReduceScratch(elements))};
    MOAI_ASSIGN_OR_RETURN(
        const std::vector<double> reduce, pair.Seconds(kLargeCalls, [&](Communicator& device) {
          const uint32_t rank = device.rank();
          return device.AllReduce(
              Both(), part[rank].begin, part[rank].begin, elements, Dtype::kF32, ReduceKind::kSum,
              absl::MakeSpan(scratch[rank].begin, size_t(AllReduceScratch(elements))));
        }));
    const double latency = link.latency_us * 1e-6;
    const auto rate = [&](double seconds, double steps) {
      return double(bytes) / std::max(seconds - steps * latency, seconds / 10) / 1e9;
    };
    link.gather_gb_per_s = rate(gather[0], 1);
    link.reduce_gb_per_s = rate(reduce[0], 2);
    if (gather[0] > options.seconds_each) break;
  }
  return link;
}

}  // namespace

absl::StatusOr<LinksMeasurement> MeasureLinks(const LinkOptions& options) {
  LinksMeasurement links;
  const auto measure = [&](const std::vector<uint32_t>& process_of_rank,
                           bool host_memory) -> absl::StatusOr<LinkMeasurement> {
    MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<Pair> pair,
                          Pair::Open(process_of_rank, options, host_memory));
    return MeasureLink(*pair, options);
  };
  MOAI_ASSIGN_OR_RETURN(links.process, measure({0, 0}, false));
  MOAI_ASSIGN_OR_RETURN(links.host, measure({0, 1}, true));
  MOAI_ASSIGN_OR_RETURN(links.network, measure({0, 1}, false));
  return links;
}

}  // namespace moai
