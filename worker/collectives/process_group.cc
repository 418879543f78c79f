#include "worker/collectives/process_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "worker/collectives/host_communicator.h"
#include "worker/collectives/host_inboxes.h"
#include "worker/collectives/peer_link.h"

namespace moai {

struct ProcessGroup::Parts {
  std::vector<uint32_t> ranks;
  std::vector<std::string> blobs;
  GroupState state;
  std::unique_ptr<LocalMail> mail;
  std::unique_ptr<HostInboxes> inboxes;  // null where the host's memory is not to be used
  std::unique_ptr<GlooMesh> mesh;
  PeerLink::Shared shared;
};

namespace {

constexpr absl::string_view kBlobHeader = "moai-peer-1";

// What one process tells another: how to reach it by memory, empty where it cannot be, and by
// network.
std::string JoinBlob(absl::string_view memory, absl::string_view network) {
  const char size[] = {static_cast<char>(memory.size() >> 8), static_cast<char>(memory.size())};
  return absl::StrCat(kBlobHeader, absl::string_view(size, sizeof(size)), memory, network);
}

struct Blob {
  absl::string_view memory, network;
};

absl::StatusOr<Blob> SplitBlob(absl::string_view blob, uint32_t process) {
  const absl::string_view header = blob.substr(0, kBlobHeader.size());
  blob.remove_prefix(header.size());
  if (header == kBlobHeader && blob.size() >= 2) {
    const size_t size = size_t{static_cast<uint8_t>(blob[0])} << 8 | static_cast<uint8_t>(blob[1]);
    blob.remove_prefix(2);
    if (size <= blob.size()) return Blob{blob.substr(0, size), blob.substr(size)};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("what executor ", process, " says of its address is not understood"));
}

// The devices of each process.
absl::StatusOr<std::vector<std::vector<uint32_t>>> DevicesOf(const ProcessGroupOptions& options) {
  const std::vector<uint32_t>& process_of = options.process_of_rank;
  if (process_of.empty() || process_of.size() > kMaxSessionDevices) {
    return absl::InvalidArgumentError(absl::StrCat("a session of ", process_of.size(),
                                                   " devices; 1 to ", kMaxSessionDevices,
                                                   " can be connected"));
  }
  const uint32_t last = *std::max_element(process_of.begin(), process_of.end());
  if (last >= process_of.size() || options.process > last) {
    return absl::InvalidArgumentError("processes are not numbered from 0");
  }
  std::vector<std::vector<uint32_t>> devices(last + 1);
  for (uint32_t rank = 0; rank < process_of.size(); ++rank) {
    devices[process_of[rank]].push_back(rank);
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    if (devices[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("process ", i, " has no device"));
    }
  }
  return devices;
}

}  // namespace

ProcessGroup::ProcessGroup(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ProcessGroup::~ProcessGroup() = default;

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::Open(
    const ProcessGroupOptions& options) {
  MOAI_ASSIGN_OR_RETURN(const std::vector<std::vector<uint32_t>> devices, DevicesOf(options));
  auto parts = std::make_unique<Parts>();
  parts->ranks = devices[options.process];
  parts->mail = std::make_unique<LocalMail>(parts->ranks.size(), &parts->state);
  parts->blobs.resize(devices.size());
  if (devices.size() > 1) {
    std::vector<std::string> names;
    for (size_t i = 0; i < devices.size(); ++i) {
      names.push_back(
          absl::StrCat("executor ", i, " (devices ", absl::StrJoin(devices[i], ", "), ")"));
    }
    MOAI_ASSIGN_OR_RETURN(parts->mesh, GlooMesh::Open(options.process, std::move(names),
                                                      options.listen_address, &parts->state));
    if (options.host_memory) {
      // A host that does not share memory has a network.
      auto inboxes = HostInboxes::Open(options.process, options.process_of_rank);
      if (inboxes.ok()) parts->inboxes = *std::move(inboxes);
    }
    const std::string memory = parts->inboxes == nullptr ? "" : parts->inboxes->offer();
    for (size_t i = 0; i < devices.size(); ++i) {
      if (i != options.process) parts->blobs[i] = JoinBlob(memory, parts->mesh->blobs()[i]);
    }
  }

  PeerLink::Shared& shared = parts->shared;
  shared.places.resize(options.process_of_rank.size());
  for (uint32_t process = 0; process < devices.size(); ++process) {
    for (size_t i = 0; i < devices[process].size(); ++i) {
      shared.places[devices[process][i]] = {process, i};
    }
  }
  shared.deadline = absl::ToChronoNanoseconds(options.deadline);
  shared.throttle = options.throttle;
  shared.state = &parts->state;
  shared.mail = parts->mail.get();
  shared.mesh = parts->mesh.get();
  return std::unique_ptr<ProcessGroup>(new ProcessGroup(std::move(parts)));
}

uint32_t ProcessGroup::processes() const { return static_cast<uint32_t>(parts_->blobs.size()); }
bool ProcessGroup::uses_host_memory() const { return parts_->shared.inboxes != nullptr; }
const std::vector<uint32_t>& ProcessGroup::ranks() const { return parts_->ranks; }
const std::vector<std::string>& ProcessGroup::blobs() const { return parts_->blobs; }

absl::Status ProcessGroup::Connect(absl::Span<const std::string> blobs, absl::Duration deadline) {
  if (parts_->mesh == nullptr) return absl::OkStatus();
  if (blobs.size() != processes()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "addresses of ", blobs.size(), " processes came, where the session has ", processes()));
  }
  std::vector<std::string> memory(blobs.size()), network(blobs.size());
  for (uint32_t process = 0; process < blobs.size(); ++process) {
    if (parts_->blobs[process].empty()) continue;  // this one
    MOAI_ASSIGN_OR_RETURN(const Blob blob, SplitBlob(blobs[process], process));
    memory[process] = std::string(blob.memory);
    network[process] = std::string(blob.network);
  }
  if (parts_->inboxes != nullptr) parts_->inboxes->Accept(memory);
  MOAI_RETURN_IF_ERROR(parts_->mesh->Connect(
      network, std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(deadline)));
  // Everybody is connected: everybody has said what it could accept.
  if (parts_->inboxes == nullptr || !parts_->inboxes->AllAccepted()) return absl::OkStatus();
  const auto wake = [inboxes = parts_->inboxes.get()] { inboxes->RingOwnBells(); };
  parts_->state.OnBreak(wake);
  parts_->state.OnEndOfProcess(wake);
  parts_->shared.inboxes = parts_->inboxes.get();
  return absl::OkStatus();
}

std::unique_ptr<Communicator> ProcessGroup::For(size_t device) {
  return std::make_unique<HostCommunicator>(parts_->ranks[device], &parts_->shared);
}

void ProcessGroup::Abort(const absl::Status& error) { parts_->state.Break(error).IgnoreError(); }
absl::Status ProcessGroup::status() const { return parts_->state.status(); }

}  // namespace moai
