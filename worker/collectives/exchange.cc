#include "worker/collectives/exchange.h"

#include <algorithm>
#include <cstring>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "program/collective_bytes.h"
#include "worker/collectives/combine.h"

namespace moai {
namespace {

constexpr size_t kInlinePeers = 16;

int64_t Blocks(int64_t bytes, int64_t block) { return (bytes + block - 1) / block; }

// What passes between this device and a peer in another process, block by block. Two blocks of each
// direction may be on their way; those that have strides, or are combined, live in scratch.
struct Stream {
  const Traffic* traffic = nullptr;
  int64_t send_bytes = 0, recv_bytes = 0;
  int64_t send_blocks = 0, recv_blocks = 0;
  bool gathers = false;   // sends from scratch
  bool collects = false;  // receives into scratch
  std::byte* send_slots[2] = {};
  std::byte* recv_slots[2] = {};
};

class NetworkTraffic {
 public:
  NetworkTraffic(PeerLink& link, const std::byte* input, std::byte* output, MessageSize size,
                 absl::Span<std::byte> scratch)
      : link_(link), input_(input), output_(output), block_(size.block), scratch_(scratch) {}

  absl::Status Add(const Traffic& traffic, bool combines) {
    Stream stream{.traffic = &traffic,
                  .send_bytes = traffic.send.bytes(),
                  .recv_bytes = traffic.remote.bytes()};
    stream.send_blocks = Blocks(stream.send_bytes, block_);
    stream.recv_blocks = Blocks(stream.recv_bytes, block_);
    stream.gathers = !traffic.send.contiguous();
    stream.collects = combines || !traffic.place.contiguous();
    if (stream.gathers) MOAI_RETURN_IF_ERROR(TakeSlots(stream.send_bytes, stream.send_slots));
    if (stream.collects) MOAI_RETURN_IF_ERROR(TakeSlots(stream.recv_bytes, stream.recv_slots));
    rounds_ = std::max({rounds_, stream.send_blocks, stream.recv_blocks});
    streams_.push_back(stream);
    return absl::OkStatus();
  }

  int64_t rounds() const { return rounds_; }
  absl::Span<const Stream> streams() const { return streams_; }
  int64_t block() const { return block_; }

  // Posts what may be on its way at first.
  absl::Status Begin() {
    for (const Stream& stream : streams_) {
      const int64_t ahead = stream.collects ? 2 : stream.recv_blocks;
      for (int64_t k = 0; k < ahead; ++k) MOAI_RETURN_IF_ERROR(PostRecv(stream, k));
    }
    for (const Stream& stream : streams_) {
      const int64_t ahead = stream.gathers ? 2 : stream.send_blocks;
      for (int64_t k = 0; k < ahead; ++k) MOAI_RETURN_IF_ERROR(PostSend(stream, k));
    }
    return absl::OkStatus();
  }

  // Waits for block k of every peer.
  absl::Status Receive(int64_t k) {
    for (const Stream& stream : streams_) {
      if (k < stream.recv_blocks) MOAI_RETURN_IF_ERROR(link_.FinishRecv(stream.traffic->peer));
    }
    return absl::OkStatus();
  }

  // Once block k has been used: posts what takes its place.
  absl::Status Refill(int64_t k) {
    for (const Stream& stream : streams_) {
      if (stream.collects) MOAI_RETURN_IF_ERROR(PostRecv(stream, k + 2));
    }
    for (const Stream& stream : streams_) {
      if (!stream.gathers || k + 2 >= stream.send_blocks) continue;
      MOAI_RETURN_IF_ERROR(link_.FinishSend(stream.traffic->peer));
      MOAI_RETURN_IF_ERROR(PostSend(stream, k + 2));
    }
    return absl::OkStatus();
  }

  absl::Status FinishSends() {
    for (const Stream& stream : streams_) {
      while (link_.sends_on_their_way(stream.traffic->peer) > 0) {
        MOAI_RETURN_IF_ERROR(link_.FinishSend(stream.traffic->peer));
      }
    }
    return absl::OkStatus();
  }

  // Block k as it came from the peer.
  const std::byte* Received(const Stream& stream, int64_t k) const {
    return stream.recv_slots[k % 2];
  }
  int64_t BytesOf(int64_t total, int64_t k) const {
    return std::clamp<int64_t>(total - k * block_, 0, block_);
  }

 private:
  absl::Status TakeSlots(int64_t bytes, std::byte** slots) {
    const int64_t slot = std::min(
        block_, (bytes + kCollectiveAlignment - 1) / kCollectiveAlignment * kCollectiveAlignment);
    const int64_t count = std::min<int64_t>(2, Blocks(bytes, block_));
    for (int64_t i = 0; i < count; ++i) {
      if (used_ + slot > static_cast<int64_t>(scratch_.size())) {
        return link_.state().Break(absl::InternalError(absl::StrCat(
            "a collective has ", scratch_.size(), " bytes of scratch, too few for ", "its group")));
      }
      slots[i] = scratch_.data() + used_;
      used_ += slot;
    }
    return absl::OkStatus();
  }

  absl::Status PostRecv(const Stream& stream, int64_t k) {
    if (k >= stream.recv_blocks) return absl::OkStatus();
    std::byte* const place = stream.collects ? stream.recv_slots[k % 2]
                                             : output_ + stream.traffic->place.offset + k * block_;
    return link_.PostRecv(stream.traffic->peer, place, BytesOf(stream.recv_bytes, k));
  }

  absl::Status PostSend(const Stream& stream, int64_t k) {
    if (k >= stream.send_blocks) return absl::OkStatus();
    const int64_t bytes = BytesOf(stream.send_bytes, k);
    const std::byte* source = input_ + stream.traffic->send.offset + k * block_;
    if (stream.gathers) {
      std::byte* const slot = stream.send_slots[k % 2];
      CopyPiece(input_, stream.traffic->send, k * block_, slot, ContiguousBytes(0, bytes), 0,
                bytes);
      source = slot;
    }
    return link_.PostSend(stream.traffic->peer, source, bytes);
  }

  PeerLink& link_;
  const std::byte* const input_;
  std::byte* const output_;
  const int64_t block_;
  const absl::Span<std::byte> scratch_;
  int64_t used_ = 0;
  int64_t rounds_ = 0;
  absl::InlinedVector<Stream, kInlinePeers> streams_;
};

// Leaves nobody in memory that is not theirs any more, however a collective ends.
class LocalReading {
 public:
  explicit LocalReading(PeerLink& link) : link_(link) {}
  ~LocalReading() {
    if (finished_) return;
    for (uint32_t peer : looking_at_) link_.Release(peer);
    link_.Drop();
    // The state is broken, and its error on its way to the caller.
    link_.FinishLocal().IgnoreError();
  }

  absl::StatusOr<const std::byte*> Look(uint32_t peer, int64_t bytes) {
    const absl::StatusOr<const std::byte*> data = link_.Look(peer, bytes);
    if (data.ok()) looking_at_.push_back(peer);
    return data;
  }

  // Tells the peers that their memory has been read.
  void ReleaseAll() {
    for (uint32_t peer : looking_at_) link_.Release(peer);
    looking_at_.clear();
  }

  absl::Status Finish() {
    ReleaseAll();
    finished_ = true;
    return link_.FinishLocal();
  }

 private:
  PeerLink& link_;
  bool finished_ = false;
  absl::InlinedVector<uint32_t, kInlinePeers> looking_at_;
};

// Shows every local peer its piece.
absl::Status ShowPieces(PeerLink& link, absl::Span<const Traffic> traffic, const std::byte* input) {
  for (const Traffic& entry : traffic) {
    const int64_t bytes = entry.send.bytes();
    if (bytes == 0 || !link.in_process(entry.peer)) continue;
    MOAI_RETURN_IF_ERROR(link.Show(entry.peer, input, bytes));
  }
  return absl::OkStatus();
}

absl::Status AddNetworkPeers(PeerLink& link, absl::Span<const Traffic> traffic, bool combines,
                             NetworkTraffic& network) {
  for (const Traffic& entry : traffic) {
    if (link.in_process(entry.peer)) continue;
    MOAI_RETURN_IF_ERROR(network.Add(entry, combines));
  }
  return absl::OkStatus();
}

// One member's terms.
struct Term {
  const std::byte* base = nullptr;  // of the tensor that holds them
  const Stream* stream = nullptr;   // or what brings them, block by block
  const std::byte* block = nullptr;
};
using Terms = absl::InlinedVector<Term, kInlinePeers>;

// Combines bytes [begin, begin + bytes) of the piece, one run after another. Blocks begin there.
void CombineRange(const Reduction& reduction, const Terms& terms, int64_t begin, int64_t bytes,
                  std::byte* output) {
  absl::InlinedVector<const std::byte*, kInlinePeers> runs(terms.size());
  StridedCursor cursor(reduction.mine, begin);
  int64_t done = 0;
  while (done < bytes) {
    const int64_t now = std::min(cursor.left_in_run(), bytes - done);
    for (size_t i = 0; i < terms.size(); ++i) {
      runs[i] =
          terms[i].stream == nullptr ? terms[i].base + cursor.offset() : terms[i].block + done;
    }
    Combine(reduction.dtype, reduction.reduce, runs, now / ByteSize(reduction.dtype),
            output + begin + done);
    cursor.Advance(now);
    done += now;
  }
}

// Who holds the terms, in member order. Waits for those of this process.
absl::StatusOr<Terms> FindTerms(PeerLink& link, absl::Span<const Traffic> traffic,
                                const Reduction& reduction, const std::byte* input,
                                const NetworkTraffic& network, LocalReading& reading) {
  Terms terms;
  size_t stream = 0;
  for (size_t i = 0; i <= traffic.size(); ++i) {
    if (i == reduction.my_place) terms.push_back({.base = input});
    if (i == traffic.size()) break;
    if (link.in_process(traffic[i].peer)) {
      MOAI_ASSIGN_OR_RETURN(const std::byte* shown,
                            reading.Look(traffic[i].peer, reduction.mine.bytes()));
      terms.push_back({.base = shown});
    } else {
      terms.push_back({.stream = &network.streams()[stream++]});
    }
  }
  return terms;
}

}  // namespace

absl::Status ExchangePieces(PeerLink& link, absl::Span<const Traffic> traffic,
                            const std::byte* input, std::byte* output, MessageSize size,
                            absl::Span<std::byte> scratch) {
  NetworkTraffic network(link, input, output, size, scratch);
  MOAI_RETURN_IF_ERROR(AddNetworkPeers(link, traffic, /*combines=*/false, network));
  LocalReading reading(link);
  MOAI_RETURN_IF_ERROR(ShowPieces(link, traffic, input));
  MOAI_RETURN_IF_ERROR(network.Begin());
  for (const Traffic& entry : traffic) {
    const int64_t bytes = entry.remote.bytes();
    if (bytes == 0 || !link.in_process(entry.peer)) continue;
    MOAI_ASSIGN_OR_RETURN(const std::byte* shown, reading.Look(entry.peer, bytes));
    CopyPiece(shown, entry.remote, 0, output, entry.place, 0, bytes);
    reading.ReleaseAll();
  }
  for (int64_t k = 0; k < network.rounds(); ++k) {
    MOAI_RETURN_IF_ERROR(network.Receive(k));
    for (const Stream& stream : network.streams()) {
      if (!stream.collects || k >= stream.recv_blocks) continue;
      const int64_t bytes = network.BytesOf(stream.recv_bytes, k);
      CopyPiece(network.Received(stream, k), ContiguousBytes(0, bytes), 0, output,
                stream.traffic->place, k * network.block(), bytes);
    }
    MOAI_RETURN_IF_ERROR(network.Refill(k));
  }
  MOAI_RETURN_IF_ERROR(network.FinishSends());
  return reading.Finish();
}

absl::Status ExchangeLocalMessages(PeerLink& link, absl::Span<const PeerMessage> messages) {
  LocalReading reading(link);
  for (const PeerMessage& message : messages) {
    if (message.incoming || message.bytes == 0) continue;
    MOAI_RETURN_IF_ERROR(link.Show(message.peer, message.data, message.bytes));
  }
  for (const PeerMessage& message : messages) {
    if (!message.incoming || message.bytes == 0) continue;
    MOAI_ASSIGN_OR_RETURN(const std::byte* shown, reading.Look(message.peer, message.bytes));
    std::memcpy(message.data, shown, static_cast<size_t>(message.bytes));
    reading.ReleaseAll();
  }
  return reading.Finish();
}

absl::Status ExchangeRemoteMessages(PeerLink& link, absl::Span<const PeerMessage> messages) {
  LocalReading reading(link);  // for its end after an error
  for (const PeerMessage& message : messages) {
    if (!message.incoming || message.bytes == 0) continue;
    MOAI_RETURN_IF_ERROR(link.PostRecv(message.peer, message.data, message.bytes));
  }
  for (const PeerMessage& message : messages) {
    if (message.incoming || message.bytes == 0) continue;
    MOAI_RETURN_IF_ERROR(link.PostSend(message.peer, message.data, message.bytes));
  }
  // Whoever waits moves all of them.
  for (const PeerMessage& message : messages) {
    if (message.bytes == 0) continue;
    MOAI_RETURN_IF_ERROR(message.incoming ? link.FinishRecv(message.peer)
                                          : link.FinishSend(message.peer));
  }
  return reading.Finish();
}

absl::Status CombinePieces(PeerLink& link, absl::Span<const Traffic> traffic,
                           const Reduction& reduction, const std::byte* input, std::byte* output,
                           MessageSize size, absl::Span<std::byte> scratch) {
  NetworkTraffic network(link, input, output, size, scratch);
  MOAI_RETURN_IF_ERROR(AddNetworkPeers(link, traffic, /*combines=*/true, network));
  LocalReading reading(link);
  MOAI_RETURN_IF_ERROR(ShowPieces(link, traffic, input));
  MOAI_RETURN_IF_ERROR(network.Begin());

  const int64_t bytes = reduction.mine.bytes();
  Terms terms;
  if (bytes > 0) {
    MOAI_ASSIGN_OR_RETURN(terms, FindTerms(link, traffic, reduction, input, network, reading));
  }
  if (network.streams().empty()) CombineRange(reduction, terms, 0, bytes, output);
  for (int64_t k = 0; k < network.rounds(); ++k) {
    MOAI_RETURN_IF_ERROR(network.Receive(k));
    for (Term& term : terms) {
      if (term.stream != nullptr) term.block = network.Received(*term.stream, k);
    }
    CombineRange(reduction, terms, k * network.block(), network.BytesOf(bytes, k), output);
    MOAI_RETURN_IF_ERROR(network.Refill(k));
  }
  MOAI_RETURN_IF_ERROR(network.FinishSends());
  return reading.Finish();
}

}  // namespace moai
