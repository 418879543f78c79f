// From a row of a published table to what the planner can predict: sizes of the model, the cluster,
// the plan. No row is treated by its source's or its model's name.
#ifndef MOAI_BENCHMARKS_PUBLISHED_PLANS_H_
#define MOAI_BENCHMARKS_PUBLISHED_PLANS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/models/catalog.h"
#include "graph/dtype.h"
#include "scheduler/cost/published_table.h"
#include "scheduler/cost/topology.h"
#include "scheduler/planning/stated_plan.h"

namespace moai {

// Sizes of memory are binary, whatever their column is called: a device of "80 GB" has 80 GiB, and
// tools print peaks in the same unit.
inline constexpr double kGibi = double(1 << 30);

struct PublishedCase {
  models::LanguageModelSizes sizes;
  Dtype dtype = Dtype::kBF16;
  int64_t batch = 0;  // sequences of a step
  Cluster cluster;
  int64_t devices = 1;
  StatedPlan plan;
  bool recompute_stated = false;  // otherwise none is assumed
  double memory_bytes = 0;        // of a device; the row's, or the GPU type's
  double seconds = 0;             // measured, of a step; 0: not stated
  double peak_bytes = 0;          // measured, of a device; 0: not stated
};

// InvalidArgument or Unimplemented with the reason, equal for all rows that lack the same.
absl::StatusOr<PublishedCase> ReadCase(const PublishedRow& row);

}  // namespace moai

#endif  // MOAI_BENCHMARKS_PUBLISHED_PLANS_H_
