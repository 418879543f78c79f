// What outlives the server: the virtual devices of each identity, their flavors, and which one is
// current. An SQLite database; a change is on the disk when the call that makes it returns.
#ifndef MOAI_SERVER_STORE_H_
#define MOAI_SERVER_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"

struct sqlite3;

namespace moai {

struct StoredDevice {
  uint32_t id = 0;
  std::string flavor;  // its name; empty: never chosen
};

// Thread-safe. Methods wait for the disk. Errors are of the disk or of the file.
class Store {
 public:
  // An empty path keeps everything in memory, for as long as the store lives. The file is made
  // where there is none, readable by its owner only, and belongs to one server at a time.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // In the order of their ids.
  absl::StatusOr<std::vector<StoredDevice>> Devices(absl::string_view identity);
  // Adds a device, or replaces the one of that id.
  absl::Status PutDevice(absl::string_view identity, const StoredDevice& device);
  // Removing one that does not exist is no error.
  absl::Status RemoveDevice(absl::string_view identity, uint32_t id);

  absl::StatusOr<std::optional<uint32_t>> CurrentDevice(absl::string_view identity);
  absl::Status SetCurrentDevice(absl::string_view identity, uint32_t id);

 private:
  Store(std::string path, sqlite3* database) : path_(std::move(path)), database_(database) {}

  absl::Status SetUp();

  const std::string path_;
  Mutex mutex_;
  sqlite3* const database_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace moai

#endif  // MOAI_SERVER_STORE_H_
