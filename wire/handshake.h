// Versions and features of the control protocols, and how two peers agree on them.
//
// A version changes when an old peer could misunderstand a message; a feature is something that a
// peer may lack. Both sides name what they support; the connection uses the highest common version
// and the common features.
#ifndef MOAI_WIRE_HANDSHAKE_H_
#define MOAI_WIRE_HANDSHAKE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai::wire {

// Steps, slots and values, uploads and reads by ticket.
inline constexpr uint32_t kVersionFirst = 1;

inline constexpr uint32_t kMinVersion = kVersionFirst;
inline constexpr uint32_t kMaxVersion = kVersionFirst;

// Bulk bytes may go through a memory segment between processes of one host.
inline constexpr char kFeatureSharedMemory[] = "shared-memory";

std::vector<std::string> SupportedFeatures();

// The highest version that both sides speak. FailedPrecondition says who has to be updated.
absl::StatusOr<uint32_t> NegotiateVersion(uint32_t peer_min, uint32_t peer_max,
                                          absl::string_view peer_name);

// What both sides name. A peer's list may hold anything; no more than 64 of it are looked at.
std::vector<std::string> CommonFeatures(const std::vector<std::string>& peer_features);

}  // namespace moai::wire

#endif  // MOAI_WIRE_HANDSHAKE_H_
