#include "graph/testing/hostile.h"

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "base/status.h"
#include "graph/fingerprint.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "graph/testing/mutate_graph.h"
#include "graph/testing/random_graph.h"
#include "graph/testing/random_node.h"
#include "graph/verify.h"

namespace moai {
namespace {

constexpr int64_t kMessagesOfProgress = 50'000;

std::string Encode(const Sizes& sizes, absl::string_view graph) {
  const uint32_t count = static_cast<uint32_t>(sizes.size());
  std::string message(sizeof(count) + sizes.size() * sizeof(int64_t), '\0');
  std::memcpy(message.data(), &count, sizeof(count));
  if (!sizes.empty()) {
    std::memcpy(message.data() + sizeof(count), sizes.data(), sizes.size() * sizeof(int64_t));
  }
  message.append(graph.data(), graph.size());
  return message;
}

// Seeds are drawn anew now and then: mutating is cheaper than making them.
class GraphDraw {
 public:
  std::string operator()(std::mt19937_64& random) {
    if (uses_left_-- == 0) {
      uses_left_ = 64;
      seed_ = RandomGraph(random, {.nodes = static_cast<int>(RandomInt(random, 1, 12))});
    }
    Graph graph = seed_.graph;
    Sizes sizes = seed_.sizes;
    const int mutations = OneIn(random, 4) ? 2 : 1;
    for (int i = 0; i < mutations; ++i) {
      if (OneIn(random, 4)) {
        MutateSizes(sizes, random);
      } else {
        MutateGraph(graph, random);
      }
    }
    std::string bytes = SerializeGraph(graph);
    if (OneIn(random, 12)) MutateBytes(bytes, random);
    return Encode(sizes, bytes);
  }

 private:
  int uses_left_ = 0;
  CapturedGraph seed_;
};

bool NamesField(absl::string_view message) {
  for (absl::string_view field : {"values", "inputs", "nodes", "outputs", "input ", "output ",
                                  "node ", "_count", "sizes", "binding", "graph:"}) {
    if (absl::StrContains(message, field)) return true;
  }
  return false;
}

template <typename Number>
Number FromEnvironment(const char* name, Number otherwise) {
  const char* const text = std::getenv(name);
  Number number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

}  // namespace

HostileReport RunHostile(const HostileTarget& target, int64_t messages, uint64_t seed) {
  std::mt19937_64 random(seed);
  HostileReport report;
  for (; report.messages < messages; ++report.messages) {
    const absl::Status status = target.consume(target.draw(random));
    if (status.ok()) {
      ++report.passed;
    } else if (!target.names_field(
                   absl::string_view(status.message().data(), status.message().size()))) {
      if (report.unnamed++ == 0) report.first_unnamed = status.ToString();
    }
    if ((report.messages + 1) % kMessagesOfProgress == 0) {
      std::cerr << "target=" << target.name << " seed=" << seed
                << " messages=" << report.messages + 1 << " of " << messages
                << " passed=" << report.passed << std::endl;
    }
  }
  return report;
}

int64_t HostileMessages(int64_t otherwise) {
  return FromEnvironment("MOAI_HOSTILE_MESSAGES", otherwise);
}

uint64_t HostileSeed() { return FromEnvironment("MOAI_HOSTILE_SEED", uint64_t{1}); }

absl::Status ConsumeGraph(absl::string_view message) {
  uint32_t count = 0;
  if (message.size() < sizeof(count)) return absl::InvalidArgumentError("sizes: no count");
  std::memcpy(&count, message.data(), sizeof(count));
  message.remove_prefix(sizeof(count));
  if (message.size() / sizeof(int64_t) < count) {
    return absl::InvalidArgumentError("sizes: fewer than counted");
  }
  Sizes sizes(count);
  if (count > 0) std::memcpy(sizes.data(), message.data(), count * sizeof(int64_t));
  message.remove_prefix(count * sizeof(int64_t));

  MOAI_ASSIGN_OR_RETURN(const Graph graph, ParseGraph(message));
  // Looked up by name before it is verified.
  if (ComputeFingerprint(graph) == Fingerprint()) return absl::InternalError("graph: no name");
  MOAI_RETURN_IF_ERROR(VerifyStructure(graph));
  return InferGraph(graph, sizes).status();
}

HostileTarget GraphTarget() {
  return {.name = "graph", .draw = GraphDraw(), .consume = ConsumeGraph, .names_field = NamesField};
}

}  // namespace moai
