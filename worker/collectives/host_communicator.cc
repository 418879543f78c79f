#include "worker/collectives/host_communicator.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "program/collective_bytes.h"
#include "program/device_graph.h"
#include "worker/collectives/combine.h"

namespace moai {
namespace {

// One message a piece: neither side has strides.
constexpr MessageSize kWholePieces{int64_t{1} << 40};

MessageSize BlocksFor(GroupSpan group) {
  return {CollectiveBlockBytes(static_cast<int64_t>(group.size()))};
}

// Part `member` of a tensor that is split along one axis, in the whole tensor.
StridedBytes PartOfWhole(const AxisSplit& split, int64_t members, int64_t member, Dtype dtype) {
  const int64_t unit = split.unit * ByteSize(dtype);
  return Joined({.offset = PartBegin(split.units, members, member) * unit,
                 .run = PartOf(split.units, members, member) * unit,
                 .extents = {1, 1, split.outer},
                 .strides = {0, 0, split.units * unit}});
}

// The same part, alone.
StridedBytes PartAlone(const AxisSplit& split, int64_t members, int64_t member, Dtype dtype) {
  return ContiguousBytes(
      0, split.outer * PartOf(split.units, members, member) * split.unit * ByteSize(dtype));
}

// A range of one dim.
struct Range {
  int64_t begin = 0;
  int64_t length = 0;
};

Range PartRange(int64_t units, int64_t unit, int64_t members, int64_t member) {
  return {PartBegin(units, members, member) * unit, PartOf(units, members, member) * unit};
}

// The box of two ranges in a tensor [outer, first, middle, second, inner] whose dims `first` and
// `second` are `joined` and `split` elements long, or the other way round.
StridedBytes Box(const TwoAxisSplit& s, int64_t joined_extent, int64_t split_extent, Range joined,
                 Range split, Dtype dtype) {
  const int64_t first_extent = s.joined_first ? joined_extent : split_extent;
  const int64_t second_extent = s.joined_first ? split_extent : joined_extent;
  const Range first = s.joined_first ? joined : split;
  const Range second = s.joined_first ? split : joined;
  const int64_t inner = s.inner * ByteSize(dtype);
  const int64_t middle_stride = second_extent * inner;
  const int64_t first_stride = s.middle * middle_stride;
  return Joined({.offset = first.begin * first_stride + second.begin * inner,
                 .run = second.length * inner,
                 .extents = {s.outer, first.length, s.middle},
                 .strides = {first_extent * first_stride, first_stride, middle_stride}});
}

}  // namespace

HostCommunicator::HostCommunicator(uint32_t rank, const PeerLink::Shared* shared)
    : link_(rank, shared), flags_(shared->places.size()) {
  traffic_.reserve(size());
}

absl::Status HostCommunicator::Refuse(const std::string& why) {
  return link_.state().Break(
      absl::InvalidArgumentError(absl::StrCat("device ", rank(), ": ", why)));
}

absl::Status HostCommunicator::Enter(GroupSpan group) {
  traffic_.clear();
  me_ = -1;
  for (size_t i = 0; i < group.size(); ++i) {
    if (group[i] >= size()) return Refuse("a group names a device that the session lacks");
    for (size_t j = 0; j < i; ++j) {
      if (group[j] == group[i]) return Refuse("a group names a device twice");
    }
    if (group[i] == rank()) me_ = static_cast<int64_t>(i);
  }
  if (me_ < 0) {
    return Refuse(absl::StrCat("is not in the group ", absl::StrJoin(group, ",")));
  }
  return status();
}

absl::Status HostCommunicator::CheckPeers(absl::Span<const PeerMessage> messages) {
  for (const PeerMessage& message : messages) {
    if (message.peer < size() && message.peer != rank()) continue;
    return Refuse(absl::StrCat("exchanges a message with device ", message.peer, " of ", size()));
  }
  return absl::OkStatus();
}

absl::Status HostCommunicator::CheckReduction(Dtype dtype, ReduceKind reduce) {
  if (CanCombine(dtype, reduce)) return absl::OkStatus();
  return Refuse(
      absl::StrCat("no reduction of kind ", static_cast<int>(reduce), " of ", Name(dtype)));
}

absl::Status HostCommunicator::AllReduce(GroupSpan group, const std::byte* input, std::byte* output,
                                         int64_t count, Dtype dtype, ReduceKind reduce,
                                         absl::Span<std::byte> scratch) {
  MOAI_RETURN_IF_ERROR(Enter(group));
  MOAI_RETURN_IF_ERROR(CheckReduction(dtype, reduce));
  const int64_t members = static_cast<int64_t>(group.size());
  const int64_t element = ByteSize(dtype);
  if (members == 1) {
    if (count > 0 && output != input) std::memcpy(output, input, count * element);
    return absl::OkStatus();
  }
  if (count * element <= kSmallAllReduceBytes && members <= kSmallGroup) {
    return SmallAllReduce(group, input, output, count, dtype, reduce, scratch);
  }

  const AxisSplit split{.units = count};
  const StridedBytes mine = PartOfWhole(split, members, me_, dtype);
  for (int64_t i = 0; i < members; ++i) {
    if (i == me_) continue;
    traffic_.push_back(
        {.peer = group[i], .send = PartOfWhole(split, members, i, dtype), .remote = mine});
  }
  MOAI_RETURN_IF_ERROR(CombinePieces(
      link_, traffic_,
      {.dtype = dtype, .reduce = reduce, .mine = mine, .my_place = static_cast<size_t>(me_)}, input,
      output + mine.offset, BlocksFor(group), scratch));
  for (Traffic& entry : traffic_) {
    entry.remote = entry.place = entry.send;
    entry.send = mine;
  }
  return ExchangePieces(link_, traffic_, output, output, kWholePieces, {});
}

// Everybody combines everybody's whole tensor, in the same order.
absl::Status HostCommunicator::SmallAllReduce(GroupSpan group, const std::byte* input,
                                              std::byte* output, int64_t count, Dtype dtype,
                                              ReduceKind reduce, absl::Span<std::byte> scratch) {
  const StridedBytes whole = ContiguousBytes(0, count * ByteSize(dtype));
  for (uint32_t peer : group) {
    if (peer != rank()) traffic_.push_back({.peer = peer, .send = whole, .remote = whole});
  }
  // Others read the input until the end, and the output may be the same memory.
  alignas(kCollectiveAlignment) std::byte result[kSmallAllReduceBytes];
  MOAI_RETURN_IF_ERROR(CombinePieces(
      link_, traffic_,
      {.dtype = dtype, .reduce = reduce, .mine = whole, .my_place = static_cast<size_t>(me_)},
      input, result, BlocksFor(group), scratch));
  if (count > 0) std::memcpy(output, result, whole.run);
  return absl::OkStatus();
}

absl::Status HostCommunicator::AllGather(GroupSpan group, const std::byte* input, std::byte* output,
                                         const AxisSplit& split, Dtype dtype,
                                         absl::Span<std::byte> scratch) {
  MOAI_RETURN_IF_ERROR(Enter(group));
  const int64_t members = static_cast<int64_t>(group.size());
  const StridedBytes mine = PartAlone(split, members, me_, dtype);
  for (int64_t i = 0; i < members; ++i) {
    const StridedBytes place = PartOfWhole(split, members, i, dtype);
    if (i == me_) {
      CopyPiece(input, mine, 0, output, place, 0, mine.bytes());
    } else {
      traffic_.push_back({.peer = group[i],
                          .send = mine,
                          .remote = PartAlone(split, members, i, dtype),
                          .place = place});
    }
  }
  return ExchangePieces(link_, traffic_, input, output,
                        split.outer == 1 ? kWholePieces : BlocksFor(group), scratch);
}

absl::Status HostCommunicator::ReduceScatter(GroupSpan group, const std::byte* input,
                                             std::byte* output, const AxisSplit& split, Dtype dtype,
                                             ReduceKind reduce, absl::Span<std::byte> scratch) {
  MOAI_RETURN_IF_ERROR(Enter(group));
  MOAI_RETURN_IF_ERROR(CheckReduction(dtype, reduce));
  const int64_t members = static_cast<int64_t>(group.size());
  const StridedBytes mine = PartOfWhole(split, members, me_, dtype);
  for (int64_t i = 0; i < members; ++i) {
    if (i == me_) continue;
    traffic_.push_back(
        {.peer = group[i], .send = PartOfWhole(split, members, i, dtype), .remote = mine});
  }
  return CombinePieces(
      link_, traffic_,
      {.dtype = dtype, .reduce = reduce, .mine = mine, .my_place = static_cast<size_t>(me_)}, input,
      output, BlocksFor(group), scratch);
}

absl::Status HostCommunicator::AllToAll(GroupSpan group, const std::byte* input, std::byte* output,
                                        const TwoAxisSplit& s, Dtype dtype,
                                        absl::Span<std::byte> scratch) {
  MOAI_RETURN_IF_ERROR(Enter(group));
  const int64_t members = static_cast<int64_t>(group.size());
  const int64_t joined_whole = s.joined_units * s.joined_unit;
  const int64_t split_whole = s.split_units * s.split_unit;
  const Range my_joined = PartRange(s.joined_units, s.joined_unit, members, me_);
  const Range my_split = PartRange(s.split_units, s.split_unit, members, me_);
  for (int64_t i = 0; i < members; ++i) {
    const Range joined = PartRange(s.joined_units, s.joined_unit, members, i);
    const Range split = PartRange(s.split_units, s.split_unit, members, i);
    const Traffic entry{
        .peer = group[i],
        .send = Box(s, my_joined.length, split_whole, {0, my_joined.length}, split, dtype),
        .remote = Box(s, joined.length, split_whole, {0, joined.length}, my_split, dtype),
        .place = Box(s, joined_whole, my_split.length, joined, {0, my_split.length}, dtype)};
    if (i == me_) {
      CopyPiece(input, entry.remote, 0, output, entry.place, 0, entry.place.bytes());
    } else {
      traffic_.push_back(entry);
    }
  }
  return ExchangePieces(link_, traffic_, input, output, BlocksFor(group), scratch);
}

absl::Status HostCommunicator::BroadcastFromFirst(GroupSpan group, const std::byte* input,
                                                  std::byte* output, int64_t bytes) {
  MOAI_RETURN_IF_ERROR(Enter(group));
  const StridedBytes whole = ContiguousBytes(0, bytes);
  if (me_ == 0) {
    for (uint32_t peer : group.subspan(1)) traffic_.push_back({.peer = peer, .send = whole});
    if (bytes > 0 && output != input) std::memcpy(output, input, bytes);
  } else {
    traffic_.push_back({.peer = group[0], .remote = whole, .place = whole});
  }
  return ExchangePieces(link_, traffic_, input, output, kWholePieces, {});
}

absl::Status HostCommunicator::Exchange(absl::Span<const PeerMessage> messages) {
  MOAI_RETURN_IF_ERROR(CheckPeers(messages));
  MOAI_RETURN_IF_ERROR(status());
  // Who waits for a device of the process moves nothing to or from others, and the other way round:
  // such messages keep their order. To a device of the process there is one message at a time.
  for (size_t begin = 0; begin < messages.size();) {
    const bool local = link_.in_process(messages[begin].peer);
    const auto joins = [&](size_t i) {
      if (link_.in_process(messages[i].peer) != local) return false;
      for (size_t j = begin; j < i && local; ++j) {
        if (messages[j].peer == messages[i].peer && messages[j].incoming == messages[i].incoming) {
          return false;
        }
      }
      return true;
    };
    size_t end = begin + 1;
    while (end < messages.size() && joins(end)) ++end;
    const absl::Span<const PeerMessage> part = messages.subspan(begin, end - begin);
    MOAI_RETURN_IF_ERROR(local ? ExchangeLocalMessages(link_, part)
                               : ExchangeRemoteMessages(link_, part));
    begin = end;
  }
  return absl::OkStatus();
}

absl::Status HostCommunicator::BeginFlags(const StepFlag& mine) {
  MOAI_RETURN_IF_ERROR(status());
  flags_[rank()] = mine;
  const auto bytes = [this](uint32_t of) { return reinterpret_cast<std::byte*>(&flags_[of]); };
  const auto begin = [&]() -> absl::Status {
    for (uint32_t peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      if (link_.in_process(peer)) {
        MOAI_RETURN_IF_ERROR(link_.Show(peer, bytes(rank()), sizeof(StepFlag)));
      } else {
        MOAI_RETURN_IF_ERROR(link_.PostRecv(peer, bytes(peer), sizeof(StepFlag)));
        MOAI_RETURN_IF_ERROR(link_.PostSend(peer, bytes(rank()), sizeof(StepFlag)));
      }
    }
    return link_.Push();
  };
  const absl::Status status = begin();
  if (!status.ok()) {
    link_.Drop();
    link_.FinishLocal().IgnoreError();
  }
  return status;
}

absl::Status HostCommunicator::FinishFlags(std::vector<StepFlag>* all) {
  const auto finish = [this]() -> absl::Status {
    for (uint32_t peer = 0; peer < size(); ++peer) {
      if (!link_.in_process(peer)) MOAI_RETURN_IF_ERROR(link_.FinishSend(peer));
    }
    for (uint32_t peer = 0; peer < size(); ++peer) {
      if (!link_.in_process(peer)) MOAI_RETURN_IF_ERROR(link_.FinishRecv(peer));
    }
    for (uint32_t peer = 0; peer < size(); ++peer) {
      if (peer == rank() || !link_.in_process(peer)) continue;
      MOAI_ASSIGN_OR_RETURN(const std::byte* shown, link_.Look(peer, sizeof(StepFlag)));
      std::memcpy(&flags_[peer], shown, sizeof(StepFlag));
      link_.Release(peer);
    }
    return absl::OkStatus();
  };
  absl::Status status = finish();
  if (!status.ok()) link_.Drop();
  status.Update(link_.FinishLocal());
  if (status.ok()) *all = flags_;
  return status;
}

}  // namespace moai
