#include "server/forced_plan.h"

#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace moai {
namespace {

struct Key {
  absl::string_view name;
  int64_t least, most;
  void (*set)(SearchConstraints& constraints, int64_t value);
};

constexpr int64_t kMostDevices = 1 << 20, kMostMicroBatches = 1 << 20, kMostVirtualStages = 64;

constexpr Key kKeys[] = {
    {"data", 1, kMostDevices, [](SearchConstraints& c, int64_t value) { c.data = value; }},
    {"model", 1, kMostDevices, [](SearchConstraints& c, int64_t value) { c.model = value; }},
    {"stages", 1, kMostDevices, [](SearchConstraints& c, int64_t value) { c.stages = value; }},
    {"virtual_stages", 1, kMostVirtualStages,
     [](SearchConstraints& c, int64_t value) { c.virtual_stages = value; }},
    {"micro_batches", 1, kMostMicroBatches,
     [](SearchConstraints& c, int64_t value) { c.micro_batches = value; }},
    {"state", 0, 3, [](SearchConstraints& c, int64_t value) { c.state = int(value); }},
    {"recompute", 0, 2, [](SearchConstraints& c, int64_t value) { c.recompute = int(value); }},
    {"sequence", 0, 2, [](SearchConstraints& c, int64_t value) { c.sequence = int(value); }},
    {"experts", 0, 1, [](SearchConstraints& c, int64_t value) { c.experts = int(value); }},
};

const Key* FindKey(absl::string_view name) {
  for (const Key& key : kKeys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::string Known() {
  std::string names;
  for (const Key& key : kKeys) absl::StrAppend(&names, names.empty() ? "" : ", ", key.name);
  return names;
}

}  // namespace

absl::StatusOr<SearchConstraints> ParseForcedPlan(absl::string_view text) {
  SearchConstraints constraints;
  if (text.empty()) return constraints;
  std::set<absl::string_view> seen;
  for (const absl::string_view entry : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const Key* key = FindKey(parts.first);
    if (key == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", parts.first, "\" is nothing that a plan can be forced to; there are ", Known()));
    }
    if (!seen.insert(key->name).second) {
      return absl::InvalidArgumentError(absl::StrCat(key->name, " is given twice"));
    }
    int64_t value = 0;
    if (!absl::SimpleAtoi(parts.second, &value) || value < key->least || value > key->most) {
      return absl::InvalidArgumentError(absl::StrCat(
          key->name, "=", parts.second, " is not a number from ", key->least, " to ", key->most));
    }
    key->set(constraints, value);
  }
  return constraints;
}

}  // namespace moai
