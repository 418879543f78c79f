// What the command line of moai-plan means.
#ifndef MOAI_TOOLS_PLAN_OPTIONS_H_
#define MOAI_TOOLS_PLAN_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/captured_step.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/search.h"

namespace moai {

// "tp=8,pp=4,dp=2,micro_batch=1,recompute=full,zero=1,virtual_stages=2": a stated plan, each key
// once, any left out. Of tp, pp and dp the one that is left out follows from `devices` where the
// others are there. micro_batch is the samples of one micro-batch on one device and needs dp;
// micro_batches, how many there are, may stand in its place.
// InvalidArgument names the key or value that is wrong; Unimplemented for cp and ep.
absl::StatusOr<SearchConstraints> ParseForce(absl::string_view text, int64_t devices,
                                             int64_t batch);

struct ModelOptions {
  int64_t batch = 0;     // 0: one sample a device
  int64_t sequence = 0;  // 0: the model's own
  std::string dtype = "bf16";
};

// A step by a built-in model's name, or from a file that SaveCapturedStep wrote. NotFound where it
// is neither, with all names. InvalidArgument for a dtype that products cannot have, and for sizes
// that a file fixes.
absl::StatusOr<CapturedStep> LoadStep(const std::string& model_or_file, const ModelOptions& options,
                                      int64_t devices);

// From a file, or of a built-in GPU type with as many nodes as `devices` (at least 1) need.
// InvalidArgument where neither or both are named.
absl::StatusOr<Cluster> LoadCluster(const std::string& file, const std::string& gpu,
                                    int64_t devices);

}  // namespace moai

#endif  // MOAI_TOOLS_PLAN_OPTIONS_H_
