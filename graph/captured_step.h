// One training step of a model, complete enough to be planned: the graph, the sizes, and what each
// slot is. Made without a device (client/models/capture.h), kept in a file (`moai-plan FILE`).
#ifndef MOAI_GRAPH_CAPTURED_STEP_H_
#define MOAI_GRAPH_CAPTURED_STEP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "graph/graph.h"

namespace moai {

// What a slot holds, for people: reports add up memory by it. No plan may depend on it.
// Numeric values are part of the file format.
enum class SlotRole : uint8_t {
  kOther = 0,      // tables of constants and the like
  kParameter = 1,  // trained
  kOptimizer = 2,  // moments
  kBuffer = 3,     // saved with the model, not trained
};

// "parameter", "optimizer", ...
absl::string_view Name(SlotRole role);

struct CapturedSlot {
  std::string name;  // as state dicts name it: "blocks.0.up.weight", "m.blocks.0.up.weight"
  SlotRole role = SlotRole::kOther;
  TensorType type;
};

struct CapturedStep {
  std::string name;  // of the model, for people
  std::shared_ptr<const Graph> graph;
  Fingerprint fingerprint;
  Sizes sizes;
  std::vector<CapturedSlot> slots;  // by slot binding
  std::vector<Scalar> scalars;      // by scalar position, as this step had them
  int64_t parameters = 0;           // trained numbers
  int64_t samples = 0;              // sequences or images of one step
  int64_t tokens = 0;               // of one step; 0 where the model has none
};

// NotFound or Internal, with the path, where the file cannot be written.
absl::Status SaveCapturedStep(const CapturedStep& step, const std::string& path);

// Trusts nothing in the file: the graph is verified and all shapes are inferred again.
// NotFound where there is no such file; InvalidArgument, with the path, for anything else in it.
absl::StatusOr<CapturedStep> LoadCapturedStep(const std::string& path);

}  // namespace moai

#endif  // MOAI_GRAPH_CAPTURED_STEP_H_
