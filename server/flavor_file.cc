#include "server/flavor_file.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/byte_size.h"
#include "base/status.h"

namespace moai {
namespace {

absl::Status Error(const std::string& path, const YAML::Mark& mark, absl::string_view reason) {
  if (mark.is_null()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", reason));
  return absl::InvalidArgumentError(absl::StrCat(path, ":", mark.line + 1, ": ", reason));
}

absl::StatusOr<std::string> Field(const YAML::Node& flavor, const char* name,
                                  const std::string& path) {
  const YAML::Node field = flavor[name];
  if (field.IsDefined() && field.IsScalar()) return field.Scalar();
  return Error(path, flavor.Mark(),
               absl::StrCat("a flavor needs a ", name, "; it has name, devices and memory"));
}

absl::StatusOr<Flavor> ParseFlavor(const YAML::Node& node, const std::string& path) {
  if (!node.IsMap()) {
    return Error(path, node.Mark(), "a flavor is a map of name, devices and memory");
  }
  for (const auto& entry : node) {
    const std::string& key = entry.first.Scalar();
    if (key == "name" || key == "devices" || key == "memory") continue;
    return Error(path, entry.first.Mark(),
                 absl::StrCat("a flavor has name, devices and memory, no \"", key, "\""));
  }
  Flavor flavor;
  MOAI_ASSIGN_OR_RETURN(flavor.name, Field(node, "name", path));
  MOAI_ASSIGN_OR_RETURN(const std::string devices, Field(node, "devices", path));
  MOAI_ASSIGN_OR_RETURN(const std::string memory, Field(node, "memory", path));
  if (!absl::SimpleAtoi(devices, &flavor.devices)) {
    return Error(path, node["devices"].Mark(),
                 absl::StrCat("devices: \"", devices, "\" is no number"));
  }
  ByteSizeFlag bytes;
  std::string reason;
  if (!AbslParseFlag(memory, &bytes, &reason)) {
    return Error(path, node["memory"].Mark(), absl::StrCat("memory: \"", memory, "\": ", reason));
  }
  flavor.device_memory_bytes = bytes.bytes;
  return flavor;
}

absl::StatusOr<std::vector<Flavor>> ParseDocument(const YAML::Node& document,
                                                  const std::string& path) {
  const YAML::Node list = document.IsMap() ? document["flavors"] : YAML::Node();
  if (!list.IsDefined() || !list.IsSequence()) {
    return Error(path, YAML::Mark::null_mark(), "has no list \"flavors\"");
  }
  std::vector<Flavor> flavors;
  for (const YAML::Node& node : list) {
    MOAI_ASSIGN_OR_RETURN(Flavor flavor, ParseFlavor(node, path));
    flavors.push_back(std::move(flavor));
  }
  if (absl::Status status = CheckFlavors(flavors); !status.ok()) {
    return Error(path, YAML::Mark::null_mark(), status.message());
  }
  return flavors;
}

}  // namespace

absl::StatusOr<std::vector<Flavor>> ParseFlavors(const std::string& text, const std::string& path) {
  // The library throws.
  try {
    return ParseDocument(YAML::Load(text), path);
  } catch (const YAML::Exception& error) {
    return Error(path, error.mark, error.msg);
  }
}

absl::StatusOr<std::vector<Flavor>> ReadFlavorFile(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.good() && !file.eof()) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  return ParseFlavors(text, path);
}

}  // namespace moai
