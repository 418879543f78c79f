#include "wire/ticket_registry.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/random_id.h"

namespace moai::wire {
namespace {

uint64_t KeyOf(absl::string_view id) {
  uint64_t key;
  std::memcpy(&key, id.data(), sizeof(key));
  return key;
}

absl::Status NoSuchTicket() {
  return absl::NotFoundError(
      "Malformed transfer header, field ticket_id: no such ticket, or it has expired");
}

}  // namespace

absl::Status TicketRegistry::Add(Ticket ticket) {
  if (ticket.id.size() != kRandomIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Malformed ticket, field id: expected ", kRandomIdBytes, " bytes, got ", ticket.id.size()));
  }
  MutexLock lock(mutex_);
  if (tickets_.size() >= kMaxTickets) {
    return absl::ResourceExhaustedError(
        absl::StrCat("More than ", kMaxTickets, " transfers are waiting"));
  }
  const Key key = KeyOf(ticket.id);
  if (!tickets_.emplace(key, std::make_shared<TicketState>(std::move(ticket))).second) {
    return absl::AlreadyExistsError("Malformed ticket, field id: in use");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<TicketState>> TicketRegistry::Present(absl::string_view id,
                                                                     bool upload) {
  if (id.size() != kRandomIdBytes) return NoSuchTicket();
  MutexLock lock(mutex_);
  const auto found = tickets_.find(KeyOf(id));
  if (found == tickets_.end()) return NoSuchTicket();
  const TicketState& state = *found->second;
  if (!EqualSecrets(state.ticket.id, id) || state.ticket.upload != upload ||
      std::chrono::steady_clock::now() > state.deadline) {
    return NoSuchTicket();
  }
  return found->second;
}

std::shared_ptr<TicketState> TicketRegistry::Remove(absl::string_view id) {
  if (id.size() != kRandomIdBytes) return nullptr;
  MutexLock lock(mutex_);
  const auto found = tickets_.find(KeyOf(id));
  if (found == tickets_.end() || !EqualSecrets(found->second->ticket.id, id)) return nullptr;
  std::shared_ptr<TicketState> state = std::move(found->second);
  tickets_.erase(found);
  return state;
}

std::vector<std::shared_ptr<TicketState>> TicketRegistry::TakeExpired() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<TicketState>> expired;
  MutexLock lock(mutex_);
  for (auto it = tickets_.begin(); it != tickets_.end();) {
    if (now > it->second->deadline) {
      expired.push_back(std::move(it->second));
      tickets_.erase(it++);
    } else {
      ++it;
    }
  }
  return expired;
}

std::vector<std::shared_ptr<TicketState>> TicketRegistry::TakeAll() {
  std::vector<std::shared_ptr<TicketState>> all;
  MutexLock lock(mutex_);
  for (auto& [key, state] : tickets_) all.push_back(std::move(state));
  tickets_.clear();
  return all;
}

size_t TicketRegistry::size() const {
  MutexLock lock(mutex_);
  return tickets_.size();
}

}  // namespace moai::wire
