#include "worker/collectives/process_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "worker/collectives/host_communicator.h"
#include "worker/collectives/peer_link.h"

namespace moai {

struct ProcessGroup::Parts {
  std::vector<uint32_t> ranks;
  std::vector<std::string> blobs;
  GroupState state;
  std::unique_ptr<LocalMail> mail;
  std::unique_ptr<GlooMesh> mesh;
  PeerLink::Shared shared;
};

namespace {

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
    parts->blobs = parts->mesh->blobs();
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
const std::vector<uint32_t>& ProcessGroup::ranks() const { return parts_->ranks; }
const std::vector<std::string>& ProcessGroup::blobs() const { return parts_->blobs; }

absl::Status ProcessGroup::Connect(absl::Span<const std::string> blobs, absl::Duration deadline) {
  if (parts_->mesh == nullptr) return absl::OkStatus();
  return parts_->mesh->Connect(
      blobs, std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(deadline));
}

std::unique_ptr<Communicator> ProcessGroup::For(size_t device) {
  return std::make_unique<HostCommunicator>(parts_->ranks[device], &parts_->shared);
}

void ProcessGroup::Abort(const absl::Status& error) { parts_->state.Break(error).IgnoreError(); }
absl::Status ProcessGroup::status() const { return parts_->state.status(); }

}  // namespace moai
