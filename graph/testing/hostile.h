// Runs a decoder on many hostile messages and counts what became of them. Used by the tests of
// every kind of message that a peer may send: one HostileTarget each.
#ifndef MOAI_GRAPH_TESTING_HOSTILE_H_
#define MOAI_GRAPH_TESTING_HOSTILE_H_

#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace moai {

struct HostileTarget {
  std::string name;
  // Draws one message, mutated or not.
  std::function<std::string(std::mt19937_64&)> draw;
  // Decodes and checks it as the receiver would, up to the point where it would be acted on.
  std::function<absl::Status(absl::string_view)> consume;
  // True where the words of an error say which field is wrong.
  std::function<bool(absl::string_view)> names_field;
};

struct HostileReport {
  int64_t messages = 0;
  int64_t passed = 0;
  int64_t unnamed = 0;  // errors that name no field
  std::string first_unnamed;
};

// Crashes and hangs are what the caller's sanitizers and time limit find. A long run says on
// standard error how far it is.
HostileReport RunHostile(const HostileTarget& target, int64_t messages, uint64_t seed);

// How many messages a test draws: the environment variable MOAI_HOSTILE_MESSAGES, or `otherwise`.
int64_t HostileMessages(int64_t otherwise);

// What a test draws them from: the environment variable MOAI_HOSTILE_SEED, or 1. Runs with
// different seeds add up to a longer one.
uint64_t HostileSeed();

// Graphs with their sizes: ParseGraph, VerifyStructure, InferGraph.
HostileTarget GraphTarget();

// The format of GraphTarget's messages: how many sizes (4 bytes), the sizes (8 bytes each), then
// the serialised graph.
absl::Status ConsumeGraph(absl::string_view message);

}  // namespace moai

#endif  // MOAI_GRAPH_TESTING_HOSTILE_H_
