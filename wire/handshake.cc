#include "wire/handshake.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace moai::wire {

std::vector<std::string> SupportedFeatures() { return {kFeatureSharedMemory}; }

absl::StatusOr<uint32_t> NegotiateVersion(uint32_t peer_min, uint32_t peer_max,
                                          absl::string_view peer_name) {
  const uint32_t version = std::min(peer_max, kMaxVersion);
  if (peer_min <= peer_max && version >= peer_min && version >= kMinVersion) return version;
  return absl::FailedPreconditionError(
      absl::StrCat("No common protocol version: this side speaks ", kMinVersion, " to ",
                   kMaxVersion, ", the ", peer_name, " speaks ", peer_min, " to ", peer_max,
                   ". Update the ", peer_max < kMinVersion ? peer_name : "older side"));
}

std::vector<std::string> CommonFeatures(const std::vector<std::string>& peer_features) {
  constexpr size_t kMaxLooked = 64;
  std::vector<std::string> common;
  const auto end = peer_features.begin() + std::min(kMaxLooked, peer_features.size());
  for (const std::string& feature : SupportedFeatures()) {
    if (std::find(peer_features.begin(), end, feature) != end) common.push_back(feature);
  }
  return common;
}

}  // namespace moai::wire
