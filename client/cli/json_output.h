// What the commands print under --json. Each ends with a newline; keys are only ever added.
#ifndef MOAI_CLIENT_CLI_JSON_OUTPUT_H_
#define MOAI_CLIENT_CLI_JSON_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "proto/admin.pb.h"

namespace moai {

// {"error": {"code": "FAILED_PRECONDITION", "message": "..."}}
std::string ErrorJson(const absl::Status& status);
// {"switched": "Large.256GB"}
std::string SwitchedJson(const std::string& model);
// {"device": 0, "current": "...", "models": [...]}: the offered ones, or `all`.
std::string FlavorsJson(const proto::ListFlavorsReply& flavors, bool all);
// {"version": ..., "server_version": ..., "devices": [...], "processes": [...],
//  "physical_devices": [...]}. Figures of what is idle are null.
std::string StatusJson(const proto::GetStatusReply& status, const std::string& version);
// {"stopped_jobs": [...]}
std::string ResetJson(const proto::ResetJobsReply& reply);
// {key: device}
std::string DeviceJson(const std::string& key, uint32_t device);

}  // namespace moai

#endif  // MOAI_CLIENT_CLI_JSON_OUTPUT_H_
