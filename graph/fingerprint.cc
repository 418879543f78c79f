#include "graph/fingerprint.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "absl/strings/str_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moai {
namespace {

// The bytes of a number are hashed as they lie in memory.
static_assert(std::endian::native == std::endian::little);

// Packs fields behind the running state and hashes whenever the buffer is full, so that the state
// after each flush covers everything before it.
class Packer {
 public:
  Packer(uint64_t& high, uint64_t& low) : high_(high), low_(low) {}
  ~Packer() { Flush(); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  template <typename T>
  void Put(T value) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8);
    if (used_ + sizeof(T) > sizeof(buffer_)) Flush();
    std::memcpy(buffer_ + used_, &value, sizeof(T));
    used_ += sizeof(T);
  }

 private:
  static constexpr size_t kStateBytes = 16;

  void Flush() {
    std::memcpy(buffer_, &high_, 8);
    std::memcpy(buffer_ + 8, &low_, 8);
    const XXH128_hash_t hash = XXH3_128bits(buffer_, used_);
    high_ = hash.high64;
    low_ = hash.low64;
    used_ = kStateBytes;
  }

  uint64_t& high_;
  uint64_t& low_;
  size_t used_ = kStateBytes;
  char buffer_[240];  // XXH3 is fastest up to here
};

enum class Tag : uint8_t { kInput = 1, kNode = 2, kOutput = 3 };

}  // namespace

void FingerprintBuilder::Add(const Input& input, const Value& value) {
  Packer packer(high_, low_);
  packer.Put(static_cast<uint8_t>(Tag::kInput));
  packer.Put(static_cast<uint8_t>(input.kind));
  packer.Put(input.index);
  packer.Put(input.value);
  packer.Put(static_cast<uint8_t>(value.dtype));
  packer.Put(value.rank);
}

void FingerprintBuilder::Add(const Node& node, absl::Span<const Value> outputs) {
  Packer packer(high_, low_);
  packer.Put(static_cast<uint8_t>(Tag::kNode));
  packer.Put(node.output_count);
  packer.Put(static_cast<uint16_t>(node.op));
  packer.Put(static_cast<uint32_t>(node.inputs.size()));
  packer.Put(static_cast<uint32_t>(node.attributes.size()));
  packer.Put(static_cast<uint32_t>(node.numbers.size()));
  packer.Put(node.extent_count);
  packer.Put(node.first_output);
  for (ValueId input : node.inputs) packer.Put(input);
  for (int32_t attribute : node.attributes) packer.Put(attribute);
  for (double number : node.numbers) packer.Put(number);
  for (const Value& output : outputs) {
    packer.Put(static_cast<uint8_t>(output.dtype));
    packer.Put(output.rank);
  }
}

void FingerprintBuilder::Add(const Output& output) {
  Packer packer(high_, low_);
  packer.Put(static_cast<uint8_t>(Tag::kOutput));
  packer.Put(static_cast<uint8_t>(output.kind));
  packer.Put(output.value);
  packer.Put(output.index);
}

Fingerprint FingerprintBuilder::Finish() const { return {.high = high_, .low = low_}; }

Fingerprint ComputeFingerprint(const Graph& graph) {
  FingerprintBuilder builder;
  const absl::Span<const Value> values(graph.values);
  size_t next_input = 0;
  // Inputs are hashed where they were recorded: before the first node whose outputs follow them.
  auto add_inputs_before = [&](size_t value) {
    for (; next_input < graph.inputs.size(); ++next_input) {
      const Input& input = graph.inputs[next_input];
      if (input.value >= value || input.value >= values.size()) break;
      builder.Add(input, values[input.value]);
    }
  };
  for (const Node& node : graph.nodes) {
    add_inputs_before(node.first_output);
    const size_t first = std::min<size_t>(node.first_output, values.size());
    builder.Add(node, values.subspan(first, node.output_count));
  }
  add_inputs_before(values.size());
  for (const Output& output : graph.outputs) builder.Add(output);
  return builder.Finish();
}

std::string ToString(const Fingerprint& fingerprint) {
  return absl::StrFormat("%016x%016x", fingerprint.high, fingerprint.low);
}

}  // namespace moai
