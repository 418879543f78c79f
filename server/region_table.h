// Which steps of a session follow each other again and again such that the second takes what the
// first made: pairs that are worth running as one region.
//
// Not synchronised.
#ifndef MOAI_SERVER_REGION_TABLE_H_
#define MOAI_SERVER_REGION_TABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "proto/session.pb.h"
#include "server/graph_registry.h"
#include "server/region_plan.h"

namespace moai {

// A step as its message told it; slots, sizes and scalars are those that its graph has.
struct NotedStep {
  RegisteredGraph* graph = nullptr;  // null: none
  std::vector<uint64_t> values;
  google::protobuf::RepeatedPtrField<proto::Feed> feeds;
  uint64_t first_output = 0;
  absl::flat_hash_set<uint64_t> read;  // of its outputs, since
};

// Two graphs of which a step of the second has come after one of the first.
struct RegionCandidate {
  RegisteredGraph* first = nullptr;
  RegisteredGraph* second = nullptr;
  RegionBindings bindings;
  Sizes first_sizes, second_sizes;
  std::vector<uint64_t> first_slots, second_slots;
  std::vector<Scalar> scalars;  // of the second's last step
  std::vector<bool> changing;   // that differed between steps

  int seen = 0;                      // in a row, alike
  int wrong = 0;                     // expected, and did not come so
  int right = 0;                     // in a row
  int64_t rest = 0;                  // for so many steps of the first it is not expected
  bool refused = false;              // it cannot be run as a region, or nothing is gained
  std::unique_ptr<RegionPlan> plan;  // null until made
  // Under which the executors remember what the parts bind; 0 until there is a plan.
  uint32_t early_name = 0, late_name = 0;
};

// A region of which the first step has run its part.
struct OpenRegion {
  RegionCandidate* candidate = nullptr;  // null: there is none
  NotedStep first;
  uint64_t first_crossing = 0;  // ids of what the late part takes
  // The second step has come; it runs when the program has said what it keeps of the first.
  bool complete = false;
  proto::Step second;
  proto::Release released;  // by the program; done when the region ends
};

class RegionTable {
 public:
  static constexpr size_t kMaxGraphs = 64;
  static constexpr size_t kMaxSizes = 4;
  // So often a pair has to be seen before it is expected: numbers that change from step to step
  // show between two.
  static constexpr int kTimesBefore = 2;

  // `unload` is told the parts of plans that go and have been loaded.
  explicit RegionTable(std::function<void(const LoadedParts&)> unload)
      : unload_(std::move(unload)) {}

  // Whether such a step may begin a region, or end one.
  static bool MayBegin(const RegisteredGraph& graph) {
    return graph.replaced.empty() && graph.value_outputs > 0;
  }
  static bool MayEnd(const RegisteredGraph& graph) { return !graph.replaced.empty(); }

  // The two ran one after the other, each with a plan. Returns the pair, valid until the next call;
  // null where they are none.
  RegionCandidate* Observe(const NotedStep& first, const NotedStep& second);
  // The pair that a step of this graph is expected to begin, at its sizes and with its slots; null
  // where none is.
  RegionCandidate* Expected(const RegisteredGraph& first) const;
  // A step of this graph came: one less to wait for until a pair that was wrong is expected again.
  void Came(const RegisteredGraph& first);
  // What came was another step, or one with other bindings, or the program wanted more.
  void WasWrong(RegionCandidate& candidate);
  void WasRight(RegionCandidate& candidate);
  // The plan is made again when it is needed next.
  void ForgetPlan(RegionCandidate& candidate);

 private:
  // At the sizes that the graph has; null where there is none.
  RegionCandidate* Find(const RegisteredGraph& first) const;
  RegionCandidate* Add(const RegisteredGraph& first);

  const std::function<void(const LoadedParts&)> unload_;
  // By the first graph; of each, one for every size that it lately had, the latest last.
  absl::flat_hash_map<const RegisteredGraph*, std::vector<std::unique_ptr<RegionCandidate>>>
      candidates_;
};

}  // namespace moai

#endif  // MOAI_SERVER_REGION_TABLE_H_
