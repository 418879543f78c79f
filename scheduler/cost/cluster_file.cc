#include "scheduler/cost/cluster_file.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {
namespace {

constexpr double kMicro = 1e-6;
constexpr double kMebi = 1 << 20;
constexpr double kMilli = 1e-3;
constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;

absl::Status ErrorAt(const YAML::Mark& mark, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", mark.line + 1, ": ", what));
}

// A number of the file and where it goes.
struct Field {
  const char* key;
  double* target;
  double scale = 1;
};

absl::Status ReadNumber(const YAML::Node& value, absl::string_view key, double scale,
                        double* target) {
  double number = 0;
  if (!value.IsScalar() || !YAML::convert<double>::decode(value, number) ||
      !std::isfinite(number) || number < 0) {
    return ErrorAt(value.Mark(), absl::StrCat(key, " must be a number, not negative"));
  }
  *target = number * scale;
  return absl::OkStatus();
}

absl::Status ReadCount(const YAML::Node& value, absl::string_view key, int64_t* target) {
  double number = 0;
  MOAI_RETURN_IF_ERROR(ReadNumber(value, key, 1, &number));
  if (number < 1 || number > 1e9 || number != std::floor(number)) {
    return ErrorAt(value.Mark(), absl::StrCat(key, " must be a whole number of at least 1"));
  }
  *target = static_cast<int64_t>(number);
  return absl::OkStatus();
}

// Reads the numbers of a map; `others` are the keys that the caller reads.
absl::Status ReadMap(const YAML::Node& map, absl::string_view what,
                     const std::vector<Field>& fields,
                     const std::vector<std::string>& others = {}) {
  if (!map.IsMap()) return ErrorAt(map.Mark(), absl::StrCat(what, " must be a map of keys"));
  for (const auto& entry : map) {
    const std::string key = entry.first.as<std::string>();
    bool known = false;
    for (const Field& field : fields) {
      if (key != field.key) continue;
      known = true;
      MOAI_RETURN_IF_ERROR(ReadNumber(entry.second, key, field.scale, field.target));
    }
    for (const std::string& other : others) known |= key == other;
    if (known) continue;
    std::vector<std::string> names = others;
    for (const Field& field : fields) names.push_back(field.key);
    return ErrorAt(entry.first.Mark(), absl::StrCat(what, " has no key '", key, "'; known are ",
                                                    absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<const GpuType*> ReadGpuType(const YAML::Node& node) {
  const std::string name = node.IsScalar() ? node.as<std::string>() : "";
  const absl::StatusOr<const GpuType*> type = FindGpuType(name);
  if (!type.ok()) return ErrorAt(node.Mark(), type.status().message());
  return *type;
}

absl::Status ReadPeaks(const YAML::Node& map, DeviceModel* device) {
  std::vector<std::string> names;  // keeps what the fields point to
  std::vector<Field> fields;
  for (int i = 0; i < kMathKinds; ++i) names.emplace_back(Name(static_cast<MathKind>(i)));
  for (int i = 0; i < kMathKinds; ++i) {
    fields.push_back({names[i].c_str(), &device->peak_flops[i], kTera});
  }
  return ReadMap(map, "peak_TFLOPs", fields);
}

absl::Status ReadDevice(const YAML::Node& map, DeviceModel* device) {
  MOAI_RETURN_IF_ERROR(ReadMap(map, "device",
                               {{"vector_TFLOPs", &device->vector_flops, kTera},
                                {"memory_GBps", &device->memory_bandwidth, kGiga},
                                {"memory_fraction", &device->memory_fraction},
                                {"memory_GB", &device->memory_bytes, kGiga},
                                {"kernel_us", &device->kernel_seconds, kMicro},
                                {"step_ms", &device->step_seconds, kMilli},
                                {"attention_fraction", &device->attention_fraction},
                                {"attention_grad_fraction", &device->attention_grad_fraction},
                                {"convolution_fraction", &device->convolution_fraction},
                                {"convolution_grad_fraction", &device->convolution_grad_fraction}},
                               {"name", "type", "peak_TFLOPs", "matmul"}));
  if (map["name"]) device->name = map["name"].as<std::string>();
  if (map["peak_TFLOPs"]) MOAI_RETURN_IF_ERROR(ReadPeaks(map["peak_TFLOPs"], device));
  if (!map["matmul"]) return absl::OkStatus();
  MatmulCurve& curve = device->matmul;
  MOAI_RETURN_IF_ERROR(ReadMap(map["matmul"], "matmul",
                               {{"peak_fraction", &curve.peak_fraction},
                                {"processors", &curve.processors},
                                {"k_overhead", &curve.k_overhead},
                                {"wave_quantisation", &curve.wave_quantisation},
                                {"alignment_bytes", &curve.alignment_bytes},
                                {"misaligned_loss", &curve.misaligned_loss},
                                {"largest_tile", &curve.largest_tile},
                                {"smallest_tile", &curve.smallest_tile},
                                {"smaller_tile_rate", &curve.smaller_tile_rate}}));
  if (!(curve.processors >= 1) || !(curve.peak_fraction > 0) || !(curve.smallest_tile >= 1) ||
      curve.largest_tile < 2 * curve.smallest_tile || !(curve.smaller_tile_rate > 0) ||
      !(curve.misaligned_loss < 1) || !(curve.wave_quantisation <= 1)) {
    return ErrorAt(
        map["matmul"].Mark(),
        "matmul needs a processor or more, positive rates, fractions of at most 1, and a "
        "largest tile of at least twice the smallest");
  }
  return absl::OkStatus();
}

absl::StatusOr<LinkLevel> ReadLink(const YAML::Node& map) {
  LinkLevel level;
  MOAI_RETURN_IF_ERROR(ReadMap(map, "link",
                               {{"bandwidth_GBps", &level.bandwidth, kGiga},
                                {"efficiency", &level.efficiency},
                                {"latency_us", &level.latency, kMicro},
                                {"all_reduce_gain", &level.all_reduce_gain},
                                {"ramp_us", &level.ramp_seconds, kMicro},
                                {"ramp_MB", &level.ramp_bytes, 1e6}},
                               {"name", "devices"}));
  if (map["name"]) level.name = map["name"].as<std::string>();
  if (!map["devices"]) return ErrorAt(map.Mark(), "a link needs 'devices': how many it joins");
  MOAI_RETURN_IF_ERROR(ReadCount(map["devices"], "devices", &level.devices));
  return level;
}

absl::StatusOr<Cluster> Read(const YAML::Node& file, absl::string_view name) {
  Cluster cluster;
  const std::vector<std::string> keys = {"name", "nodes", "devices_per_node", "device", "links"};
  MOAI_RETURN_IF_ERROR(ReadMap(file, "the file", {}, [&] {
    std::vector<std::string> all = keys;
    all.insert(all.end(), {"collective_us", "in_situ", "overlap_slowdown"});
    return all;
  }()));
  int64_t nodes = 1;
  int64_t per_node = 0;
  if (file["nodes"]) MOAI_RETURN_IF_ERROR(ReadCount(file["nodes"], "nodes", &nodes));
  if (file["devices_per_node"]) {
    MOAI_RETURN_IF_ERROR(ReadCount(file["devices_per_node"], "devices_per_node", &per_node));
  }
  const YAML::Node device = file["device"];
  if (!device) return ErrorAt(file.Mark(), "'device' is missing: a GPU type, or a map");
  const YAML::Node type = device.IsMap() ? device["type"] : device;
  if (type) {
    MOAI_ASSIGN_OR_RETURN(const GpuType* gpu, ReadGpuType(type));
    cluster = ClusterOf(*gpu, nodes, per_node);
  } else {
    cluster.nodes = nodes;
    cluster.devices_per_node = per_node > 0 ? per_node : 1;
  }
  cluster.name = std::string(name);
  if (file["name"]) cluster.name = file["name"].as<std::string>();
  if (device.IsMap()) MOAI_RETURN_IF_ERROR(ReadDevice(device, &cluster.device));
  if (const YAML::Node links = file["links"]; links) {
    if (!links.IsSequence()) return ErrorAt(links.Mark(), "links must be a list");
    cluster.links.clear();
    for (const YAML::Node& link : links) {
      MOAI_ASSIGN_OR_RETURN(LinkLevel level, ReadLink(link));
      cluster.links.push_back(std::move(level));
    }
  }
  MOAI_RETURN_IF_ERROR(ReadMap(file, "the file",
                               {{"collective_us", &cluster.collective_seconds, kMicro},
                                {"bucket_mib", &cluster.bucket_bytes, kMebi},
                                {"in_situ", &cluster.in_situ},
                                {"overlap_slowdown", &cluster.overlap_slowdown}},
                               keys));
  MOAI_RETURN_IF_ERROR(CheckCluster(cluster));
  return cluster;
}

}  // namespace

absl::StatusOr<Cluster> ParseCluster(absl::string_view yaml, absl::string_view name) {
  const auto in_file = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  };
  // The library reports through exceptions; none leaves this function.
  try {
    absl::StatusOr<Cluster> cluster = Read(YAML::Load(std::string(yaml)), name);
    if (!cluster.ok()) return in_file(cluster.status());
    return cluster;
  } catch (const YAML::Exception& e) {
    return in_file(ErrorAt(e.mark, e.msg));
  }
}

absl::StatusOr<Cluster> ReadClusterFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the cluster file '", path, "'"));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return ParseCluster(text, path);
}

}  // namespace moai
