// The name of a structure: 128 bits over everything in it, and over nothing else.
#ifndef MOAI_GRAPH_FINGERPRINT_H_
#define MOAI_GRAPH_FINGERPRINT_H_

#include <string>

#include "graph/graph.h"

namespace moai {

// Hashes nodes and inputs as they are recorded, so that the name costs nothing at submission.
// Two structures hash equal exactly when they would verify alike and compute alike. XXH3: fast, not
// cryptographic; names are only looked up within one session, and the server recomputes them.
class FingerprintBuilder {
 public:
  void Add(const Input& input, const Value& value);
  void Add(const Node& node, absl::Span<const Value> outputs);
  void Add(const Output& output);
  Fingerprint Finish() const;

 private:
  uint64_t high_ = 0x6d6f61695f686967;
  uint64_t low_ = 0x6d6f61695f6c6f77;
};

Fingerprint ComputeFingerprint(const Graph& graph);

// 32 hexadecimal digits.
std::string ToString(const Fingerprint& fingerprint);

}  // namespace moai

#endif  // MOAI_GRAPH_FINGERPRINT_H_
