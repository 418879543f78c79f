// Measures what joins the devices of this machine, with the collectives that sessions will run on
// it. Takes some tenths of a second.
#ifndef MOAI_WORKER_PROFILE_MEASURE_LINKS_H_
#define MOAI_WORKER_PROFILE_MEASURE_LINKS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "program/device_profile.h"
#include "worker/collectives/link_throttle.h"

namespace moai {

struct LinkOptions {
  // Where executors listen for those of other workers. The network that is measured is this machine
  // talking to itself: one between machines is not known before they meet.
  std::string host = "127.0.0.1";
  LinkThrottle throttle;
  // Transfers grow until one takes so long, or has so many bytes.
  double seconds_each = 0.02;
  int64_t most_bytes = int64_t{8} << 20;
};

// Between two devices of one process, and between two processes: through the host's memory, and
// over the network. Where the host does not share memory, both of these are the network. Devices of
// the machine should be idle meanwhile. An error where a link cannot be opened.
absl::StatusOr<LinksMeasurement> MeasureLinks(const LinkOptions& options = {});

// The measurement that `directory` holds for this processor and throttle, or a new one, which is
// then kept there: as LoadOrMeasureDevice (measure_device.h).
absl::StatusOr<LinksMeasurement> LoadOrMeasureLinks(const std::string& directory,
                                                    const LinkOptions& options = {});

// As JSON. The reverse refuses what another version wrote, and rates that are not positive.
std::string ToJson(const LinksMeasurement& links);
absl::StatusOr<LinksMeasurement> LinksFromJson(absl::string_view json);

}  // namespace moai

#endif  // MOAI_WORKER_PROFILE_MEASURE_LINKS_H_
