#include "program/collective_bytes.h"

#include <algorithm>

#include "program/device_graph.h"

namespace moai {
namespace {

// Rounding each block of kSmallGroup peers up to the alignment, two for each direction.
constexpr int64_t kAlignmentSlack = 4 * kSmallGroup * kCollectiveAlignment;

int64_t Bytes(const Operand& operand) { return operand.type().bytes(); }

// Two blocks for each of `bytes` that are staged, within the window.
int64_t Staged(int64_t bytes) {
  return bytes == 0 ? 0 : std::min(kCollectiveWindow, 2 * bytes) + kAlignmentSlack;
}

}  // namespace

int64_t AllReduceBytesSent(int64_t elements, Dtype dtype, int64_t members, int64_t member) {
  const int64_t size = ByteSize(dtype);
  if (elements * size <= kSmallAllReduceBytes && members <= kSmallGroup) {
    return (members - 1) * elements * size;
  }
  const int64_t mine = PartOf(elements, members, member);
  return (elements - mine + (members - 1) * mine) * size;
}

int64_t AllGatherBytesSent(int64_t part_bytes, int64_t members) {
  return (members - 1) * part_bytes;
}

int64_t ReduceScatterBytesSent(int64_t input_bytes, int64_t part_bytes, int64_t members) {
  return members == 1 ? 0 : input_bytes - part_bytes;
}

int64_t AllToAllBytesSent(int64_t input_bytes, int64_t kept_bytes, int64_t members) {
  return members == 1 ? 0 : input_bytes - kept_bytes;
}

int64_t BroadcastBytesSent(int64_t bytes, int64_t members, int64_t member) {
  return member == 0 ? (members - 1) * bytes : 0;
}

int64_t CollectiveBytesSent(Op op, const TensorType& input, const TensorType& output,
                            absl::Span<const int32_t> attributes, absl::Span<const int64_t> extents,
                            int64_t members, int64_t member) {
  switch (op) {
    case Op::kAllReduce:
      return AllReduceBytesSent(input.shape.elements(), input.dtype, members, member);
    case Op::kAllGather:
      return AllGatherBytesSent(input.bytes(), members);
    case Op::kReduceScatter:
      return ReduceScatterBytesSent(input.bytes(), output.bytes(), members);
    case Op::kAllToAll: {
      // It keeps its part of the dim that is split.
      const int64_t whole = input.shape[attributes[1]];
      const int64_t kept = whole == 0 ? 0 : input.bytes() / whole * extents[2];
      return AllToAllBytesSent(input.bytes(), kept, members);
    }
    case Op::kBroadcastFromFirst:
      return BroadcastBytesSent(output.bytes(), members, member);
    case Op::kSend:
      return input.bytes();
    default:
      return 0;
  }
}

int64_t CollectiveBlockBytes(int64_t members) {
  const int64_t bytes = kCollectiveWindow / (4 * std::max<int64_t>(1, members - 1));
  return std::max(kCollectiveAlignment, bytes / kCollectiveAlignment * kCollectiveAlignment);
}

int64_t CollectiveScratchBytes(const Instruction& instruction) {
  switch (instruction.op) {
    case Op::kAllReduce: {
      const int64_t bytes = Bytes(instruction.inputs[0]);
      if (bytes == 0) return 0;
      if (bytes <= kSmallAllReduceBytes) return kSmallGroup * bytes + kAlignmentSlack;
      return Staged(bytes + kSmallGroup * ByteSize(instruction.inputs[0].dtype));
    }
    case Op::kReduceScatter:
      // What leaves is all but one's own part; one's own part comes from every other member.
      return Staged(Bytes(instruction.inputs[0]) + kSmallGroup * Bytes(instruction.outputs[0]));
    case Op::kAllGather: {
      // Parts along the outermost dim go straight to their place.
      const Shape& whole = instruction.outputs[0].shape;
      int64_t outer = 1;
      for (int d = 0; d < instruction.attributes[0]; ++d) outer *= whole[d];
      return outer == 1 ? 0 : Staged(Bytes(instruction.outputs[0]));
    }
    case Op::kAllToAll:
      return Staged(Bytes(instruction.inputs[0]) + Bytes(instruction.outputs[0]));
    default:
      return 0;
  }
}

}  // namespace moai
