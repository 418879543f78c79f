// The safetensors file format: an 8-byte little-endian header length, a JSON header that gives each
// tensor's dtype, shape and byte range, then the bytes.
//
// Reading maps the file: a tensor's bytes are paged in when, and as far as, they are sent. Writing
// maps the new file too, so that bytes from the accelerator land in it without a copy.
#ifndef MOAI_CLIENT_IO_SAFETENSORS_H_
#define MOAI_CLIENT_IO_SAFETENSORS_H_

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "graph/shape.h"

namespace moai {

// A mapping of a whole file, shared by everything that points into it.
class FileMapping;

struct SafetensorsEntry {
  TensorType type;
  size_t begin = 0;  // bytes from the end of the header
  size_t end = 0;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

// An opened file. Immutable; any thread. A file that changes while it is open gives changed bytes.
class SafetensorsFile {
 public:
  // InvalidArgument says which part of the file is not as the format wants it: ranges must lie
  // inside the file, not overlap, leave no gap, and have the size that dtype and shape say.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }

  // The bytes of one entry, where they lie in the mapping that `owner()` keeps alive.
  absl::Span<const std::byte> bytes(const SafetensorsEntry& entry) const;
  std::shared_ptr<const void> owner() const;

 private:
  SafetensorsFile() = default;

  std::shared_ptr<const FileMapping> mapping_;
  size_t data_begin_ = 0;
  std::map<std::string, SafetensorsEntry> entries_;
  SafetensorsMetadata metadata_;
};

// Reads a header; `data_bytes` is what follows it in the file.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  SafetensorsMetadata metadata;
};
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json, size_t data_bytes);

// A file being written. It appears under its name when Finish succeeds, complete; until then, and
// if the program dies, what was there before stays. Not synchronised; the spans may be filled by
// any thread.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    TensorType type;
  };
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path,
                                                  const std::vector<Tensor>& tensors,
                                                  const SafetensorsMetadata& metadata = {});
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();

  // Where the bytes of tensors[index] belong.
  absl::Span<std::byte> destination(size_t index);

  absl::Status Finish();

 private:
  SafetensorsWriter() = default;

  std::string path_;
  std::string temporary_path_;  // empty once finished
  std::shared_ptr<FileMapping> mapping_;
  std::vector<absl::Span<std::byte>> destinations_;
};

}  // namespace moai

#endif  // MOAI_CLIENT_IO_SAFETENSORS_H_
