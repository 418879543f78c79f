// The tables of moreh-smi, of what the server says.
#ifndef MOAI_CLIENT_CLI_STATUS_TABLES_H_
#define MOAI_CLIENT_CLI_STATUS_TABLES_H_

#include <string>

#include "proto/admin.pb.h"

namespace moai {

// One row a virtual device. `version` is this installation's.
std::string DeviceTable(const proto::GetStatusReply& status, const std::string& version);
// One row a running program; a row of dashes where none runs.
std::string ProcessTable(const proto::GetStatusReply& status);
// One row a physical device of the pool.
std::string PhysicalTable(const proto::GetStatusReply& status);

}  // namespace moai

#endif  // MOAI_CLIENT_CLI_STATUS_TABLES_H_
