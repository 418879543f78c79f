#include <array>

#include "graph/op.h"

namespace moai {
namespace {

constexpr OpEntry MakeEntry(Op op, absl::string_view name, absl::string_view signature,
                            absl::string_view attributes, absl::string_view numbers,
                            absl::string_view extents, OpClass op_class, DtypeRule dtype_rule,
                            int min_inputs, int max_inputs, int outputs, int checked_input = -1) {
  return {.op = op,
          .name = name,
          .signature = signature,
          .attributes = attributes,
          .numbers = numbers,
          .extents = extents,
          .op_class = op_class,
          .dtype_rule = dtype_rule,
          .min_inputs = min_inputs,
          .max_inputs = max_inputs,
          .outputs = outputs,
          .checked_input = checked_input};
}

constexpr std::array<OpEntry, kOpCount> kEntries = {
#define MOAI_OP(id, name, signature, attributes, numbers, extents, op_class, dtypes, ...) \
  MakeEntry(Op::id, name, signature, attributes, numbers, extents, OpClass::op_class,     \
            DtypeRule::dtypes, __VA_ARGS__),
#include "graph/op_table.def"
#undef MOAI_OP
};

constexpr size_t kClientOpCount = [] {
  size_t count = 0;
  for (const OpEntry& entry : kEntries) count += entry.op_class != OpClass::kCollective;
  return count;
}();

constexpr std::array<OpEntry, kClientOpCount> kClientEntries = [] {
  std::array<OpEntry, kClientOpCount> entries{};
  size_t next = 0;
  for (const OpEntry& entry : kEntries) {
    if (entry.op_class != OpClass::kCollective) entries[next++] = entry;
  }
  return entries;
}();

}  // namespace

const OpEntry& Entry(Op op) { return kEntries[static_cast<size_t>(op) - 1]; }

bool IsValid(Op op) {
  return op != Op::kInvalid && static_cast<size_t>(op) <= static_cast<size_t>(kOpCount);
}

absl::string_view Name(Op op) { return IsValid(op) ? Entry(op).name : "invalid"; }

std::optional<Op> OpFromName(absl::string_view name) {
  for (const OpEntry& entry : kEntries) {
    if (entry.name == name) return entry.op;
  }
  return std::nullopt;
}

absl::Span<const OpEntry> AllOps() { return kEntries; }
absl::Span<const OpEntry> ClientOps() { return kClientEntries; }

bool IsChecked(Op op) { return IsValid(op) && Entry(op).checked_input >= 0; }
bool IsCollective(Op op) { return Entry(op).op_class == OpClass::kCollective; }

}  // namespace moai
