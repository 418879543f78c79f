#include "client/io/safetensors.h"

#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/io/file_mapping.h"
#include "nlohmann/json.hpp"

namespace moai {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
// The format's own bound on headers.
constexpr size_t kMaxHeaderBytes = 100'000'000;
constexpr char kMetadataKey[] = "__metadata__";

struct DtypeName {
  Dtype dtype;
  const char* name;
};
constexpr DtypeName kDtypeNames[] = {
    {Dtype::kF32, "F32"}, {Dtype::kBF16, "BF16"}, {Dtype::kF16, "F16"}, {Dtype::kF64, "F64"},
    {Dtype::kI32, "I32"}, {Dtype::kI64, "I64"},   {Dtype::kU8, "U8"},   {Dtype::kBool, "BOOL"},
};

const char* FormatName(Dtype dtype) {
  for (const DtypeName& entry : kDtypeNames) {
    if (entry.dtype == dtype) return entry.name;
  }
  return "";
}

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("safetensors: ", parts...));
}

absl::StatusOr<Dtype> ParseDtype(const std::string& name, const json& value) {
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    for (const DtypeName& entry : kDtypeNames) {
      if (text == entry.name) return entry.dtype;
    }
    return Invalid("tensor \"", name, "\" has dtype ", text, ", which is not supported");
  }
  return Invalid("dtype of tensor \"", name, "\" is not a string");
}

absl::StatusOr<Shape> ParseShape(const std::string& name, const json& value) {
  if (!value.is_array() || value.size() > kMaxRank) {
    return Invalid("shape of tensor \"", name, "\" is not an array of at most ", kMaxRank,
                   " extents");
  }
  Shape shape;
  int64_t elements = 1;
  for (const json& extent : value) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > uint64_t{kMaxElements}) {
      return Invalid("shape of tensor \"", name, "\" has an extent that is no number in [0, ",
                     kMaxElements, "]");
    }
    shape.push_back(extent.get<int64_t>());
    if (__builtin_mul_overflow(elements, shape.back(), &elements) || elements > kMaxElements) {
      return Invalid("tensor \"", name, "\" has more than ", kMaxElements, " elements");
    }
  }
  return shape;
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& name, const json& value,
                                            size_t data_bytes) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    return Invalid("tensor \"", name, "\" needs exactly dtype, shape and data_offsets");
  }
  SafetensorsEntry entry;
  MOAI_ASSIGN_OR_RETURN(entry.type.dtype, ParseDtype(name, value["dtype"]));
  MOAI_ASSIGN_OR_RETURN(entry.type.shape, ParseShape(name, value["shape"]));
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return Invalid("data_offsets of tensor \"", name, "\" are not two numbers");
  }
  const uint64_t begin = offsets[0].get<uint64_t>();
  const uint64_t end = offsets[1].get<uint64_t>();
  if (begin > end || end > data_bytes) {
    return Invalid("data_offsets of tensor \"", name, "\" are [", begin, ", ", end,
                   "), the file has ", data_bytes, " bytes of data");
  }
  if (end - begin != static_cast<uint64_t>(entry.type.bytes())) {
    return Invalid("tensor \"", name, "\" of type ", ToString(entry.type), " takes ",
                   entry.type.bytes(), " bytes, data_offsets give it ", end - begin);
  }
  entry.begin = begin;
  entry.end = end;
  return entry;
}

// The ranges must cover the data exactly, so that no byte has two meanings and none hides.
absl::Status CheckCoverage(const std::map<std::string, SafetensorsEntry>& entries,
                           size_t data_bytes) {
  std::map<std::pair<size_t, size_t>, const std::string*> ranges;
  for (const auto& [name, entry] : entries) {
    const auto [at, inserted] = ranges.try_emplace({entry.begin, entry.end}, &name);
    if (!inserted && entry.begin != entry.end) {
      return Invalid("tensors \"", *at->second, "\" and \"", name, "\" share their bytes");
    }
  }
  size_t covered = 0;
  for (const auto& [range, name] : ranges) {
    if (range.first != covered) {
      return Invalid("tensor \"", *name, "\" begins at byte ", range.first,
                     " of the data, the one before it ends at ", covered);
    }
    covered = range.second;
  }
  if (covered != data_bytes) {
    return Invalid("tensors cover ", covered, " bytes of data, the file has ", data_bytes);
  }
  return absl::OkStatus();
}

// Rejects a key that stands twice, which the JSON library would silently take once.
absl::StatusOr<json> ParseObject(absl::string_view text) {
  std::vector<std::map<std::string, bool>> keys;
  std::optional<std::string> repeated;
  const json::parser_callback_t watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys.back().emplace(key, true).second) repeated = key;
    }
    return true;
  };
  json parsed = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (parsed.is_discarded() || !parsed.is_object()) return Invalid("the header is no JSON object");
  if (repeated.has_value()) return Invalid("the header names \"", *repeated, "\" twice");
  return parsed;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view text,
                                                         size_t data_bytes) {
  MOAI_ASSIGN_OR_RETURN(const json parsed, ParseObject(text));
  SafetensorsHeader header;
  for (const auto& [name, value] : parsed.items()) {
    if (name == kMetadataKey) {
      if (!value.is_object()) return Invalid(kMetadataKey, " is not an object");
      for (const auto& [key, word] : value.items()) {
        if (!word.is_string()) return Invalid("metadata \"", key, "\" is not a string");
        header.metadata[key] = word.get<std::string>();
      }
      continue;
    }
    MOAI_ASSIGN_OR_RETURN(header.entries[name], ParseEntry(name, value, data_bytes));
  }
  MOAI_RETURN_IF_ERROR(CheckCoverage(header.entries, data_bytes));
  return header;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile file;
  MOAI_ASSIGN_OR_RETURN(file.mapping_, FileMapping::Read(path));
  const absl::Span<const std::byte> bytes = file.mapping_->bytes();
  uint64_t length = 0;
  if (bytes.size() < kLengthBytes) return Invalid(path, " is shorter than its header's length");
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    return Invalid(path, " says its header has ", length, " bytes, the file has ", bytes.size());
  }
  file.data_begin_ = kLengthBytes + length;
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(text, bytes.size() - file.data_begin_);
  if (!header.ok()) {
    return absl::Status(header.status().code(),
                        absl::StrCat(path, ": ", header.status().message()));
  }
  file.entries_ = std::move(header->entries);
  file.metadata_ = std::move(header->metadata);
  return file;
}

absl::Span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return mapping_->bytes().subspan(data_begin_ + entry.begin, entry.end - entry.begin);
}

std::shared_ptr<const void> SafetensorsFile::owner() const { return mapping_; }

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path,
                                                            const std::vector<Tensor>& tensors,
                                                            const SafetensorsMetadata& metadata) {
  json header = json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  size_t data_bytes = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.name == kMetadataKey || header.contains(tensor.name)) {
      return Invalid("cannot save two things named \"", tensor.name, "\"");
    }
    const size_t end = data_bytes + static_cast<size_t>(tensor.type.bytes());
    const absl::Span<const int64_t> shape = tensor.type.shape.span();
    header[tensor.name] = {{"dtype", FormatName(tensor.type.dtype)},
                           {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                           {"data_offsets", {data_bytes, end}}};
    data_bytes = end;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begins aligned

  SafetensorsWriter writer;
  writer.path_ = path;
  writer.temporary_path_ = absl::StrCat(path, ".partial");
  const size_t data_begin = kLengthBytes + text.size();
  MOAI_ASSIGN_OR_RETURN(writer.mapping_,
                        FileMapping::Create(writer.temporary_path_, data_begin + data_bytes));
  absl::Span<std::byte> bytes = writer.mapping_->mutable_bytes();
  const uint64_t length = text.size();
  std::memcpy(bytes.data(), &length, kLengthBytes);
  std::memcpy(bytes.data() + kLengthBytes, text.data(), text.size());
  bytes.remove_prefix(data_begin);
  for (const Tensor& tensor : tensors) {
    const size_t size = static_cast<size_t>(tensor.type.bytes());
    writer.destinations_.push_back(bytes.subspan(0, size));
    bytes.remove_prefix(size);
  }
  return writer;
}

SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::exchange(other.temporary_path_, {})),
      mapping_(std::move(other.mapping_)),
      destinations_(std::move(other.destinations_)) {}

SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_path_, other.temporary_path_);
  std::swap(mapping_, other.mapping_);
  std::swap(destinations_, other.destinations_);
  return *this;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!temporary_path_.empty()) std::remove(temporary_path_.c_str());
}

absl::Span<std::byte> SafetensorsWriter::destination(size_t index) { return destinations_[index]; }

absl::Status SafetensorsWriter::Finish() {
  MOAI_RETURN_IF_ERROR(mapping_->Flush());
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return absl::ErrnoToStatus(errno,
                               absl::StrCat("cannot rename ", temporary_path_, " to ", path_));
  }
  temporary_path_.clear();
  return absl::OkStatus();
}

}  // namespace moai
