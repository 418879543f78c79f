// Clusters from YAML files. scheduler/cost/README.md documents the format; testdata/ has examples.
#ifndef MOAI_SCHEDULER_COST_CLUSTER_FILE_H_
#define MOAI_SCHEDULER_COST_CLUSTER_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "scheduler/cost/topology.h"

namespace moai {

// InvalidArgument names the line and what is wrong there: a key that nobody knows, a number that is
// none, a GPU type that is not built in. `name` stands for the text in errors, and is the cluster's
// name where the file gives none. The result has passed CheckCluster.
absl::StatusOr<Cluster> ParseCluster(absl::string_view yaml, absl::string_view name);

// NotFound where the file cannot be read.
absl::StatusOr<Cluster> ReadClusterFile(const std::string& path);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_CLUSTER_FILE_H_
