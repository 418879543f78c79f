#include "server/store.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <functional>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace moai {
namespace {

// Of the tables below; a later one brings statements that lead there.
constexpr int kSchemaVersion = 1;
constexpr char kSchema[] = R"(
  CREATE TABLE IF NOT EXISTS virtual_device (
    identity TEXT NOT NULL,
    id INTEGER NOT NULL,
    flavor TEXT NOT NULL,
    PRIMARY KEY (identity, id));
  CREATE TABLE IF NOT EXISTS current_device (
    identity TEXT NOT NULL PRIMARY KEY,
    id INTEGER NOT NULL);
  PRAGMA user_version = 1;
)";
constexpr int kBusyMilliseconds = 2000;

// A value for a `?` of a statement.
struct Parameter {
  Parameter(absl::string_view t) : text(t), is_text(true) {}   // NOLINT
  Parameter(const std::string& t) : text(t), is_text(true) {}  // NOLINT
  Parameter(uint32_t n) : number(n) {}                         // NOLINT
  absl::string_view text;
  int64_t number = 0;
  bool is_text = false;
};

absl::Status Error(const std::string& path, absl::string_view reason) {
  return absl::UnavailableError(
      absl::StrCat("the server's state file ", path.empty() ? "(in memory)" : path, ": ", reason));
}

// Runs one statement; `row` takes each row of its result.
absl::Status Run(const std::string& path, sqlite3* database, const char* sql,
                 std::initializer_list<Parameter> parameters,
                 const std::function<void(sqlite3_stmt*)>& row = nullptr) {
  sqlite3_stmt* statement = nullptr;
  int code = sqlite3_prepare_v2(database, sql, -1, &statement, nullptr);
  int position = 0;
  for (const Parameter& p : parameters) {
    if (code != SQLITE_OK) break;
    ++position;
    code = p.is_text ? sqlite3_bind_text(statement, position, p.text.data(), int(p.text.size()),
                                         SQLITE_TRANSIENT)
                     : sqlite3_bind_int64(statement, position, p.number);
  }
  if (code == SQLITE_OK) {
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
      if (row) row(statement);
    }
  }
  absl::Status status;
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
    status = Error(path, "another server uses it");
  } else if (code != SQLITE_OK && code != SQLITE_DONE) {
    status = Error(path, sqlite3_errmsg(database));
  }
  sqlite3_finalize(statement);
  return status;
}

std::string TextColumn(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return text == nullptr ? "" : std::string(text, size_t(sqlite3_column_bytes(statement, column)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path) {
  // The file that SQLite makes takes the mask of the process: who chose what is nobody else's
  // business. Called before the server has threads that make files.
  const mode_t mask = umask(0077);
  sqlite3* database = nullptr;
  const int code =
      sqlite3_open_v2(path.empty() ? ":memory:" : path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<Store> store(new Store(path, database));
  absl::Status status;
  if (code != SQLITE_OK) {
    status = Error(path, database == nullptr ? "out of memory" : sqlite3_errmsg(database));
  } else {
    status = store->SetUp();
  }
  umask(mask);
  MOAI_RETURN_IF_ERROR(status);
  return store;
}

absl::Status Store::SetUp() {
  MutexLock lock(mutex_);
  sqlite3_busy_timeout(database_, kBusyMilliseconds);
  // Held until the store closes: two servers on one file would each believe what they remember.
  MOAI_RETURN_IF_ERROR(Run(path_, database_, "PRAGMA locking_mode = EXCLUSIVE", {}));
  MOAI_RETURN_IF_ERROR(Run(path_, database_, "BEGIN EXCLUSIVE", {}));
  MOAI_RETURN_IF_ERROR(Run(path_, database_, "COMMIT", {}));
  int version = 0;
  MOAI_RETURN_IF_ERROR(Run(path_, database_, "PRAGMA user_version", {},
                           [&](sqlite3_stmt* row) { version = sqlite3_column_int(row, 0); }));
  if (version > kSchemaVersion) {
    return Error(path_, absl::StrCat("is of a newer server (schema ", version, "; this one knows ",
                                     kSchemaVersion, ")"));
  }
  if (sqlite3_exec(database_, kSchema, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return Error(path_, sqlite3_errmsg(database_));
  }
  return absl::OkStatus();
}

Store::~Store() {
  MutexLock lock(mutex_);
  sqlite3_close(database_);
}

absl::StatusOr<std::vector<StoredDevice>> Store::Devices(absl::string_view identity) {
  MutexLock lock(mutex_);
  std::vector<StoredDevice> devices;
  MOAI_RETURN_IF_ERROR(
      Run(path_, database_, "SELECT id, flavor FROM virtual_device WHERE identity = ? ORDER BY id",
          {identity}, [&](sqlite3_stmt* row) {
            devices.push_back({uint32_t(sqlite3_column_int64(row, 0)), TextColumn(row, 1)});
          }));
  return devices;
}

absl::Status Store::PutDevice(absl::string_view identity, const StoredDevice& device) {
  MutexLock lock(mutex_);
  return Run(path_, database_,
             "INSERT OR REPLACE INTO virtual_device (identity, id, flavor) VALUES (?, ?, ?)",
             {identity, device.id, device.flavor});
}

absl::Status Store::RemoveDevice(absl::string_view identity, uint32_t id) {
  MutexLock lock(mutex_);
  return Run(path_, database_, "DELETE FROM virtual_device WHERE identity = ? AND id = ?",
             {identity, id});
}

absl::StatusOr<std::optional<uint32_t>> Store::CurrentDevice(absl::string_view identity) {
  MutexLock lock(mutex_);
  std::optional<uint32_t> current;
  MOAI_RETURN_IF_ERROR(
      Run(path_, database_, "SELECT id FROM current_device WHERE identity = ?", {identity},
          [&](sqlite3_stmt* row) { current = uint32_t(sqlite3_column_int64(row, 0)); }));
  return current;
}

absl::Status Store::SetCurrentDevice(absl::string_view identity, uint32_t id) {
  MutexLock lock(mutex_);
  return Run(path_, database_, "INSERT OR REPLACE INTO current_device (identity, id) VALUES (?, ?)",
             {identity, id});
}

}  // namespace moai
