// Measurements kept in files, by processor and number of threads.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "worker/profile/measure_device.h"
#include "worker/profile/measure_links.h"

namespace moai {
namespace {

using nlohmann::json;

// Of what is measured and how: other versions' files are measured again.
constexpr int kVersion = 3;
// Of what is said of links.
constexpr int kLinksVersion = 3;

std::string InFileName(std::string processor) {
  for (char& c : processor) c = absl::ascii_isalnum(c) ? absl::ascii_tolower(c) : '-';
  return processor;
}

std::string PathOf(const std::string& directory, const std::string& processor, int threads) {
  return absl::StrCat(directory, "/device-profile-", InFileName(processor), "-", threads, ".json");
}

// A rate of the file; false where it is none.
bool ReadRate(const json& object, const char* key, double* rate) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return false;
  *rate = found->get<double>();
  return std::isfinite(*rate) && *rate > 0;
}

bool ReadExtent(const json& object, const char* key, int64_t* extent) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  *extent = found->get<int64_t>();
  return *extent > 0 && *extent < (int64_t{1} << 40);
}

bool ReadMatmul(const json& object, MatmulMeasurement* matmul) {
  if (!object.is_object()) return false;
  const auto dtype = object.find("dtype");
  if (dtype == object.end() || !dtype->is_string()) return false;
  const std::optional<Dtype> named = DtypeFromName(dtype->get<std::string>());
  if (!named.has_value()) return false;
  matmul->dtype = *named;
  return ReadExtent(object, "batch", &matmul->batch) && ReadExtent(object, "m", &matmul->m) &&
         ReadExtent(object, "n", &matmul->n) && ReadExtent(object, "k", &matmul->k) &&
         ReadRate(object, "gflops", &matmul->gflops);
}

bool ReadProfile(const json& file, DeviceProfileMeasurement* result) {
  if (!file.is_object() || !file.contains("version") || file["version"] != kVersion) return false;
  if (!file.contains("processor") || !file["processor"].is_string()) return false;
  int64_t threads = 0;
  if (!ReadExtent(file, "threads", &threads) || threads > 1 << 20) return false;
  result->processor = file["processor"].get<std::string>();
  result->threads = static_cast<int32_t>(threads);
  if (!file.contains("complete") || !file["complete"].is_boolean()) return false;
  result->complete = file["complete"].get<bool>();
  if (!file.contains("matmuls") || !file["matmuls"].is_array()) return false;
  for (const json& matmul : file["matmuls"]) {
    if (!ReadMatmul(matmul, &result->matmuls.emplace_back())) return false;
  }
  return ReadRate(file, "stream_gb_per_s", &result->stream_gb_per_s) &&
         ReadRate(file, "kernel_microseconds", &result->kernel_microseconds) &&
         ReadRate(file, "vector_gflops", &result->vector_gflops) &&
         ReadRate(file, "attention_gflops", &result->attention_gflops) &&
         ReadRate(file, "attention_grad_gflops", &result->attention_grad_gflops) &&
         ReadRate(file, "convolution_gflops", &result->convolution_gflops) &&
         ReadRate(file, "convolution_grad_gflops", &result->convolution_grad_gflops);
}

bool ReadLink(const json& file, const char* key, LinkMeasurement* link) {
  const auto found = file.find(key);
  return found != file.end() && found->is_object() &&
         ReadRate(*found, "latency_us", &link->latency_us) &&
         ReadRate(*found, "gather_gb_per_s", &link->gather_gb_per_s) &&
         ReadRate(*found, "reduce_gb_per_s", &link->reduce_gb_per_s);
}

json LinkToJson(const LinkMeasurement& link) {
  return {{"latency_us", link.latency_us},
          {"gather_gb_per_s", link.gather_gb_per_s},
          {"reduce_gb_per_s", link.reduce_gb_per_s}};
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Under another name first: a process that reads meanwhile sees the old file or the new one.
void WriteFile(const std::string& directory, const std::string& path, const std::string& text) {
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  const std::string temporary = absl::StrCat(path, ".", getpid());
  {
    std::ofstream file(temporary, std::ios::trunc);
    file << text;
    if (!file.flush()) {
      file.close();
      std::remove(temporary.c_str());
      return;
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) std::remove(temporary.c_str());
}

}  // namespace

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, "model name")) continue;
    const size_t colon = rest.find(':');
    if (colon == absl::string_view::npos) continue;
    return std::string(absl::StripAsciiWhitespace(rest.substr(colon + 1)));
  }
  return "unknown";
}

std::string ToJson(const DeviceProfileMeasurement& measurement) {
  json file = {{"version", kVersion},
               {"processor", measurement.processor},
               {"threads", measurement.threads},
               {"complete", measurement.complete},
               {"stream_gb_per_s", measurement.stream_gb_per_s},
               {"kernel_microseconds", measurement.kernel_microseconds},
               {"vector_gflops", measurement.vector_gflops},
               {"attention_gflops", measurement.attention_gflops},
               {"attention_grad_gflops", measurement.attention_grad_gflops},
               {"convolution_gflops", measurement.convolution_gflops},
               {"convolution_grad_gflops", measurement.convolution_grad_gflops},
               {"matmuls", json::array()}};
  for (const MatmulMeasurement& m : measurement.matmuls) {
    file["matmuls"].push_back({{"dtype", std::string(Name(m.dtype))},
                               {"batch", m.batch},
                               {"m", m.m},
                               {"n", m.n},
                               {"k", m.k},
                               {"gflops", m.gflops}});
  }
  return file.dump(1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<DeviceProfileMeasurement> DeviceProfileFromJson(absl::string_view text) {
  const json file = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  DeviceProfileMeasurement result;
  if (file.is_discarded() || !ReadProfile(file, &result)) {
    return absl::InvalidArgumentError("no device profile of this version");
  }
  return result;
}

absl::StatusOr<DeviceProfileMeasurement> LoadOrMeasureDevice(const std::string& directory,
                                                             KernelFactory factory,
                                                             const DeviceShape& device,
                                                             const MeasureOptions& options) {
  const std::string processor = ProcessorName();
  const std::string path = PathOf(directory, processor, device.threads);
  const auto kept = DeviceProfileFromJson(ReadFile(path));
  if (kept.ok() && kept->processor == processor && kept->threads == device.threads) return kept;
  absl::StatusOr<DeviceProfileMeasurement> measured = MeasureDevice(factory, device, options);
  if (measured.ok() && measured->complete) WriteFile(directory, path, ToJson(*measured));
  return measured;
}

std::string ToJson(const LinksMeasurement& links) {
  const json file = {{"version", kLinksVersion},
                     {"process", LinkToJson(links.process)},
                     {"host", LinkToJson(links.host)},
                     {"network", LinkToJson(links.network)}};
  return file.dump(1);
}

absl::StatusOr<LinksMeasurement> LinksFromJson(absl::string_view text) {
  const json file = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  LinksMeasurement links;
  if (!file.is_object() || !file.contains("version") || file["version"] != kLinksVersion ||
      !ReadLink(file, "process", &links.process) || !ReadLink(file, "host", &links.host) ||
      !ReadLink(file, "network", &links.network)) {
    return absl::InvalidArgumentError("no measurement of links of this version");
  }
  return links;
}

absl::StatusOr<LinksMeasurement> LoadOrMeasureLinks(const std::string& directory,
                                                    const LinkOptions& options) {
  std::string name = ProcessorName();
  const LinkThrottle& throttle = options.throttle;
  if (throttle.on()) {
    absl::StrAppend(&name, " ", throttle.bytes_per_second, " ", throttle.latency_us,
                    throttle.in_process ? " everywhere" : " between processes");
  }
  const std::string path = absl::StrCat(directory, "/link-profile-", InFileName(name), ".json");
  if (auto kept = LinksFromJson(ReadFile(path)); kept.ok()) return kept;
  absl::StatusOr<LinksMeasurement> measured = MeasureLinks(options);
  if (measured.ok()) WriteFile(directory, path, ToJson(*measured));
  return measured;
}

}  // namespace moai
