#include "worker/collectives/process_group.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "worker/collectives/host_communicator.h"
#include "worker/collectives/host_inboxes.h"
#include "worker/collectives/peer_link.h"

namespace moai {

struct ProcessGroup::Parts {
  std::vector<uint32_t> ranks;
  std::vector<std::string> blobs;
  GroupState state;
  struct OfLane {
    std::unique_ptr<LocalMail> mail;
    std::unique_ptr<HostInboxes> inboxes;  // null where the host's memory is not to be used
    PeerLink::Shared shared;
  };
  std::array<OfLane, kLanes> lanes;  // by Lane
  std::unique_ptr<GlooMesh> mesh;    // last: its threads wake those who wait in the lanes

  std::unique_ptr<Communicator> CommunicatorOf(size_t device, Lane lane) const {
    return std::make_unique<HostCommunicator>(ranks[device], &lanes[size_t(lane)].shared);
  }
};

namespace {

constexpr absl::string_view kBlobHeader = "moai-peer-2";

// What one process tells another: how to reach it by memory, empty where it cannot be, and by
// network.
struct Blob {
  std::array<std::string, kLanes> memory;
  std::string network;
};

std::string JoinBlob(const Blob& blob) {
  std::string joined(kBlobHeader);
  for (const std::string& memory : blob.memory) {
    const char size[] = {static_cast<char>(memory.size() >> 8), static_cast<char>(memory.size())};
    absl::StrAppend(&joined, absl::string_view(size, sizeof(size)), memory);
  }
  return absl::StrCat(joined, blob.network);
}

absl::StatusOr<Blob> SplitBlob(absl::string_view text, uint32_t process) {
  bool understood = absl::ConsumePrefix(&text, kBlobHeader);
  Blob blob;
  for (std::string& memory : blob.memory) {
    if (text.size() < 2) understood = false;
    if (!understood) break;
    const size_t size = size_t{static_cast<uint8_t>(text[0])} << 8 | static_cast<uint8_t>(text[1]);
    text.remove_prefix(2);
    understood = size <= text.size();
    memory = std::string(text.substr(0, size));
    text.remove_prefix(memory.size());
  }
  blob.network = std::string(text);
  if (understood) return blob;
  return absl::InvalidArgumentError(
      absl::StrCat("what executor ", process, " says of its address is not understood"));
}

// How much of the host's memory a message to another device may be in at once.
uint64_t RingBytes(Lane lane) {
  return lane == Lane::kAgreements ? HostInboxes::kLeastRingBytes : HostInboxes::kMostRingBytes;
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
  parts->blobs.resize(devices.size());
  if (devices.size() > 1) {
    std::vector<std::string> names;
    for (size_t i = 0; i < devices.size(); ++i) {
      names.push_back(
          absl::StrCat("executor ", i, " (devices ", absl::StrJoin(devices[i], ", "), ")"));
    }
    MOAI_ASSIGN_OR_RETURN(parts->mesh, GlooMesh::Open(options.process, std::move(names),
                                                      options.listen_address, &parts->state));
    Blob blob;
    for (const Lane lane : kAllLanes) {
      if (!options.host_memory) break;
      // A host that does not share memory has a network.
      auto inboxes = HostInboxes::Open(options.process, options.process_of_rank, RingBytes(lane));
      if (!inboxes.ok()) continue;
      blob.memory[size_t(lane)] = (*inboxes)->offer();
      parts->lanes[size_t(lane)].inboxes = *std::move(inboxes);
    }
    for (size_t i = 0; i < devices.size(); ++i) {
      if (i == options.process) continue;
      blob.network = parts->mesh->blobs()[i];
      parts->blobs[i] = JoinBlob(blob);
    }
  }

  std::vector<DevicePlace> places(options.process_of_rank.size());
  for (uint32_t process = 0; process < devices.size(); ++process) {
    for (size_t i = 0; i < devices[process].size(); ++i) places[devices[process][i]] = {process, i};
  }
  for (const Lane lane : kAllLanes) {
    Parts::OfLane& of_lane = parts->lanes[size_t(lane)];
    of_lane.mail = std::make_unique<LocalMail>(parts->ranks.size(), &parts->state);
    of_lane.shared = {.places = places,
                      .deadline = absl::ToChronoNanoseconds(options.deadline),
                      .lane = lane,
                      .throttle = options.throttle,
                      .state = &parts->state,
                      .mail = of_lane.mail.get(),
                      .mesh = parts->mesh.get()};
  }
  return std::unique_ptr<ProcessGroup>(new ProcessGroup(std::move(parts)));
}

uint32_t ProcessGroup::processes() const { return static_cast<uint32_t>(parts_->blobs.size()); }
bool ProcessGroup::uses_host_memory() const {
  return std::all_of(parts_->lanes.begin(), parts_->lanes.end(),
                     [](const auto& lane) { return lane.shared.inboxes != nullptr; });
}
const std::vector<uint32_t>& ProcessGroup::ranks() const { return parts_->ranks; }
const std::vector<std::string>& ProcessGroup::blobs() const { return parts_->blobs; }

absl::Status ProcessGroup::Connect(absl::Span<const std::string> blobs, absl::Duration deadline) {
  if (parts_->mesh == nullptr) return absl::OkStatus();
  if (blobs.size() != processes()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "addresses of ", blobs.size(), " processes came, where the session has ", processes()));
  }
  std::array<std::vector<std::string>, kLanes> memory;
  for (std::vector<std::string>& offers : memory) offers.resize(blobs.size());
  std::vector<std::string> network(blobs.size());
  for (uint32_t process = 0; process < blobs.size(); ++process) {
    if (parts_->blobs[process].empty()) continue;  // this one
    MOAI_ASSIGN_OR_RETURN(Blob blob, SplitBlob(blobs[process], process));
    for (size_t lane = 0; lane < kLanes; ++lane) {
      memory[lane][process] = std::move(blob.memory[lane]);
    }
    network[process] = std::move(blob.network);
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    if (HostInboxes* const inboxes = parts_->lanes[lane].inboxes.get(); inboxes != nullptr) {
      inboxes->Accept(memory[lane]);
    }
  }
  MOAI_RETURN_IF_ERROR(parts_->mesh->Connect(
      network, std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(deadline)));
  // Everybody is connected: everybody has said what it could accept.
  for (Parts::OfLane& lane : parts_->lanes) {
    if (lane.inboxes == nullptr || !lane.inboxes->AllAccepted()) continue;
    const auto wake = [inboxes = lane.inboxes.get()] { inboxes->RingOwnBells(); };
    parts_->state.OnBreak(wake);
    parts_->state.OnEndOfProcess(wake);
    lane.shared.inboxes = lane.inboxes.get();
  }
  return absl::OkStatus();
}

std::unique_ptr<Communicator> ProcessGroup::For(size_t device) {
  return parts_->CommunicatorOf(device, Lane::kCollectives);
}

std::unique_ptr<Communicator> ProcessGroup::ForAgreements(size_t device) {
  return parts_->CommunicatorOf(device, Lane::kAgreements);
}

void ProcessGroup::Abort(const absl::Status& error) { parts_->state.Break(error).IgnoreError(); }
absl::Status ProcessGroup::status() const { return parts_->state.status(); }

}  // namespace moai
