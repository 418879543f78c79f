#include "worker/collectives/peer_link.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

// The lane, sender, receiver, how many messages went before, and the size: sides that disagree
// about a size do not meet, and the wait ends with its deadline, where Gloo would end the process.
MessageTag TagOf(Lane lane, uint32_t from, uint32_t to, uint32_t sequence, int64_t bytes) {
  const uint64_t size = static_cast<uint64_t>(bytes);
  const uint64_t size_bits = (size ^ size >> 19 ^ size >> 38) & 0x7ffff;
  return uint64_t{lane == Lane::kAgreements} << 63 | uint64_t{from & 0xfff} << 51 |
         uint64_t{to & 0xfff} << 39 | uint64_t{sequence & 0xfffff} << 19 | size_bits;
}

}  // namespace

PeerLink::PeerLink(uint32_t rank, const Shared* shared)
    : rank_(rank), shared_(shared), pacer_(shared->throttle), channels_(shared->places.size()) {
  if (shared->inboxes != nullptr) host_mail_.emplace(rank, size(), shared->inboxes, shared->state);
}

absl::Status PeerLink::Break(const absl::Status& error, const char* what, uint32_t peer) const {
  return shared_->state->Break(
      absl::Status(error.code(), absl::StrCat("device ", rank_, " waited for ", what, " device ",
                                              peer, ": ", error.message())));
}

absl::Status PeerLink::Show(uint32_t peer, const std::byte* data, int64_t bytes) {
  Clock::time_point arrival{};
  if (shared_->throttle.in_process && shared_->throttle.on()) {
    arrival = pacer_.Arrival(bytes, Clock::now());
  }
  const absl::Status posted =
      shared_->mail->Post(position(rank_), position(peer), data, bytes, arrival);
  if (!posted.ok()) return shared_->state->Break(posted);
  counters_.in_process_bytes += bytes;
  ++counters_.in_process_messages;
  return absl::OkStatus();
}

absl::StatusOr<const std::byte*> PeerLink::Look(uint32_t peer, int64_t bytes) {
  const absl::StatusOr<LocalMail::Letter> letter =
      shared_->mail->Await(position(peer), position(rank_), Deadline());
  if (!letter.ok()) return Break(letter.status(), "the message of", peer);
  if (letter->bytes != bytes) {
    // First the error: the sender may not take it for read.
    const absl::Status error = shared_->state->Break(absl::InternalError(
        absl::StrCat("device ", peer, " sent ", letter->bytes, " bytes where device ", rank_,
                     " expects ", bytes, ": their programs do not match")));
    Release(peer);
    return error;
  }
  return letter->data;
}

void PeerLink::Release(uint32_t peer) { shared_->mail->Done(position(peer), position(rank_)); }

absl::Status PeerLink::FinishLocal() {
  const absl::Status read = shared_->mail->AwaitRead(position(rank_), Deadline());
  if (read.ok()) return read;
  return shared_->state->Break(absl::Status(
      read.code(), absl::StrCat("a device of the same executor did not read what device ", rank_,
                                " sent: ", read.message())));
}

absl::Status PeerLink::PostSend(uint32_t peer, const std::byte* data, int64_t bytes) {
  Clock::time_point arrival{};
  if (shared_->throttle.on()) arrival = pacer_.Arrival(bytes, Clock::now());
  counters_.other_process_bytes += bytes;
  ++counters_.other_process_messages;
  if (host_mail_) {
    host_mail_->PostSend(peer, data, bytes, arrival);
    return absl::OkStatus();
  }
  // What goes over the network cannot say when it is to arrive, so it leaves then.
  if (shared_->throttle.on()) {
    MOAI_RETURN_IF_ERROR(shared_->mail->SleepUntil(position(rank_), arrival));
  }
  Channel& channel = channels_[peer];
  MOAI_ASSIGN_OR_RETURN(
      GlooMesh::Message message,
      shared_->mesh->Send(shared_->places[peer].process,
                          TagOf(shared_->lane, rank_, peer, channel.sent++, bytes), data, bytes));
  channel.sends.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status PeerLink::PostRecv(uint32_t peer, std::byte* data, int64_t bytes) {
  if (host_mail_) {
    host_mail_->PostRecv(peer, data, bytes);
    return absl::OkStatus();
  }
  Channel& channel = channels_[peer];
  MOAI_ASSIGN_OR_RETURN(
      GlooMesh::Message message,
      shared_->mesh->Recv(shared_->places[peer].process,
                          TagOf(shared_->lane, peer, rank_, channel.received++, bytes), data,
                          bytes));
  channel.recvs.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status PeerLink::Push() {
  return host_mail_ ? shared_->state->Break(host_mail_->Push()) : absl::OkStatus();
}

absl::Status PeerLink::FinishSend(uint32_t peer) {
  if (host_mail_) return shared_->state->Break(host_mail_->FinishSend(peer, Deadline()));
  std::deque<GlooMesh::Message>& sends = channels_[peer].sends;
  const absl::Status sent = shared_->mesh->Wait(sends.front(), Deadline());
  sends.pop_front();
  return sent;
}

absl::Status PeerLink::FinishRecv(uint32_t peer) {
  if (host_mail_) return shared_->state->Break(host_mail_->FinishRecv(peer, Deadline()));
  std::deque<GlooMesh::Message>& recvs = channels_[peer].recvs;
  const absl::Status received = shared_->mesh->Wait(recvs.front(), Deadline());
  recvs.pop_front();
  return received;
}

void PeerLink::Drop() {
  if (host_mail_) host_mail_->Drop();
  for (Channel& channel : channels_) {
    channel.sends.clear();
    channel.recvs.clear();
  }
}

}  // namespace moai
