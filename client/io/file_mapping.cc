#include "client/io/file_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace moai {
namespace {

absl::Status FileError(absl::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path));
}

absl::StatusOr<std::byte*> Map(int file, size_t size, int protection, const std::string& path) {
  if (size == 0) return nullptr;
  void* data = mmap(nullptr, size, protection, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return FileError("cannot map", path);
  return static_cast<std::byte*>(data);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const FileMapping>> FileMapping::Read(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return FileError("cannot open", path);
  absl::Cleanup closer = [file] { close(file); };
  struct stat info;
  if (fstat(file, &info) != 0) return FileError("cannot stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  const size_t size = static_cast<size_t>(info.st_size);
  absl::StatusOr<std::byte*> data = Map(file, size, PROT_READ, path);
  if (!data.ok()) return data.status();
  return std::shared_ptr<const FileMapping>(new FileMapping(*data, size));
}

absl::StatusOr<std::shared_ptr<FileMapping>> FileMapping::Create(const std::string& path,
                                                                 size_t size) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return FileError("cannot create", path);
  absl::Cleanup closer = [file] { close(file); };
  // Reserves the space now: a full disk is an error here rather than a signal at the first write.
  if (size > 0) {
    if (const int error = posix_fallocate(file, 0, static_cast<off_t>(size)); error != 0) {
      errno = error;
      return FileError(absl::StrCat("no room for ", size, " bytes in"), path);
    }
  }
  absl::StatusOr<std::byte*> data = Map(file, size, PROT_READ | PROT_WRITE, path);
  if (!data.ok()) return data.status();
  return std::shared_ptr<FileMapping>(new FileMapping(*data, size));
}

FileMapping::~FileMapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

absl::Status FileMapping::Flush() {
  if (data_ != nullptr && msync(data_, size_, MS_SYNC) != 0) {
    return absl::ErrnoToStatus(errno, "cannot write a mapped file to disk");
  }
  return absl::OkStatus();
}

}  // namespace moai
