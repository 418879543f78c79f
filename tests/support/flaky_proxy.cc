#include "tests/support/flaky_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <list>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"

namespace moai::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 256 << 10;
// A direction that holds more is not read from.
constexpr size_t kMaxHeldBytes = 8 << 20;

absl::Status Errno(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", strerror(errno)));
}

// Closes with a reset, so that nothing more arrives.
void Reset(int socket) {
  const linger now{1, 0};
  setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  close(socket);
}

absl::StatusOr<int> ConnectTo(const std::string& target) {
  int fd = -1;
  int result = -1;
  if (absl::StartsWith(target, "unix:")) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    target.copy(address.sun_path, sizeof(address.sun_path) - 1, 5);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    result = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  } else {
    const size_t colon = target.rfind(':');
    int port = 0;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (colon == std::string::npos || !absl::SimpleAtoi(target.substr(colon + 1), &port) ||
        inet_pton(AF_INET, target.substr(0, colon).c_str(), &address.sin_addr) != 1) {
      return absl::InvalidArgumentError(absl::StrCat("No address to forward to: ", target));
    }
    address.sin_port = htons(static_cast<uint16_t>(port));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    result = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  if (result != 0) {
    const absl::Status status = Errno(absl::StrCat("connecting to ", target));
    if (fd >= 0) close(fd);
    return status;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

// Bytes on their way in one direction.
struct Direction {
  struct Piece {
    Clock::time_point due;
    std::string bytes;
  };
  std::deque<Piece> pieces;
  size_t held = 0;
  size_t written = 0;  // of the first piece
  bool source_closed = false;
};

struct Connection {
  int sockets[2];           // the client's, the target's
  Direction directions[2];  // from sockets[i]
  std::optional<size_t> budget;
  bool broken = false;
};

}  // namespace

class FlakyProxy::Impl {
 public:
  Impl(int listener, int wake, std::string target)
      : listener_(listener), wake_(wake), target_(std::move(target)), thread_([this] { Run(); }) {}

  ~Impl() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    Wake();
    thread_.join();
    for (Connection& connection : connections_) Close(connection);
    close(listener_);
    close(wake_);
  }

  void SetDelay(std::chrono::milliseconds one_way) {
    MutexLock lock(mutex_);
    delay_ = one_way;
  }
  void SetAccepting(bool accepting) {
    MutexLock lock(mutex_);
    accepting_ = accepting;
  }
  void CutAll() {
    MutexLock lock(mutex_);
    for (Connection& connection : connections_) Break(connection);
    Wake();
  }
  void CutRandomly(uint32_t seed, int cuts, size_t min_bytes, size_t max_bytes) {
    MutexLock lock(mutex_);
    random_.seed(seed);
    planned_cuts_ = cuts;
    min_bytes_ = min_bytes;
    max_bytes_ = max_bytes;
    for (Connection& connection : connections_) Plan(connection);
    Wake();
  }
  int cuts() {
    MutexLock lock(mutex_);
    return cuts_;
  }

 private:
  void Wake() {
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof(one)) < 0) return;
  }

  void Plan(Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (planned_cuts_ <= 0) return;
    --planned_cuts_;
    connection.budget = min_bytes_ + random_() % (max_bytes_ - min_bytes_ + 1);
  }

  void Break(Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (connection.broken) return;
    connection.broken = true;
    ++cuts_;
  }

  static void Close(Connection& connection) {
    for (int socket : connection.sockets) Reset(socket);
  }

  void Run() {
    while (true) {
      std::vector<pollfd> polled;
      int timeout = -1;
      {
        MutexLock lock(mutex_);
        if (stopping_) return;
        timeout = Prepare(polled);
      }
      poll(polled.data(), polled.size(), timeout);
      MutexLock lock(mutex_);
      if (stopping_) return;
      if (polled[0].revents != 0) {
        uint64_t count;
        if (read(wake_, &count, sizeof(count)) < 0) continue;
      }
      for (Connection& connection : connections_) Move(connection);
      connections_.remove_if([](Connection& connection) {
        if (connection.broken) Close(connection);
        return connection.broken;
      });
      if (polled[1].revents != 0) Accept();
    }
  }

  // Fills in what to wait for; returns for how many milliseconds.
  int Prepare(std::vector<pollfd>& polled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    polled.push_back({wake_, POLLIN, 0});
    polled.push_back({listener_, POLLIN, 0});
    const Clock::time_point now = Clock::now();
    Clock::time_point next = Clock::time_point::max();
    for (Connection& connection : connections_) {
      for (int i : {0, 1}) {
        const Direction& in = connection.directions[i];
        const Direction& out = connection.directions[1 - i];
        short events = 0;
        if (!in.source_closed && in.held < kMaxHeldBytes) events |= POLLIN;
        if (!out.pieces.empty()) {
          if (out.pieces.front().due <= now) {
            events |= POLLOUT;
          } else {
            next = std::min(next, out.pieces.front().due);
          }
        }
        polled.push_back({events == 0 ? -1 : connection.sockets[i], events, 0});
      }
    }
    if (next == Clock::time_point::max()) return -1;
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(next - now).count());
  }

  void Accept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    const int on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!accepting_) {
      Reset(client);
      return;
    }
    const absl::StatusOr<int> target = ConnectTo(target_);
    if (!target.ok()) {
      Reset(client);
      return;
    }
    Connection& connection = connections_.emplace_back();
    connection.sockets[0] = client;
    connection.sockets[1] = *target;
    Plan(connection);
  }

  void Move(Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int i : {0, 1}) {
      Read(connection, i);
      Write(connection, i);
    }
    const auto drained = [](const Direction& d) { return d.source_closed && d.pieces.empty(); };
    if (drained(connection.directions[0]) || drained(connection.directions[1])) {
      // One side hung up and the other has been told all it said: no cut, but the end.
      if (!connection.broken) {
        connection.broken = true;
      }
    }
  }

  void Read(Connection& connection, int from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Direction& direction = connection.directions[from];
    while (!connection.broken && !direction.source_closed && direction.held < kMaxHeldBytes) {
      std::string bytes(kReadBytes, '\0');
      const ssize_t got = recv(connection.sockets[from], bytes.data(), bytes.size(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got <= 0) {
        direction.source_closed = true;
        return;
      }
      bytes.resize(static_cast<size_t>(got));
      direction.held += bytes.size();
      direction.pieces.push_back({Clock::now() + delay_, std::move(bytes)});
    }
  }

  void Write(Connection& connection, int from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Direction& direction = connection.directions[from];
    while (!connection.broken && !direction.pieces.empty() &&
           direction.pieces.front().due <= Clock::now()) {
      const std::string& bytes = direction.pieces.front().bytes;
      size_t size = bytes.size() - direction.written;
      if (connection.budget.has_value()) size = std::min(size, *connection.budget);
      const ssize_t put =
          send(connection.sockets[1 - from], bytes.data() + direction.written, size, MSG_NOSIGNAL);
      if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (put < 0) {
        connection.broken = true;
        return;
      }
      direction.written += static_cast<size_t>(put);
      direction.held -= static_cast<size_t>(put);
      if (direction.written == bytes.size()) {
        direction.pieces.pop_front();
        direction.written = 0;
      }
      if (connection.budget.has_value()) {
        *connection.budget -= static_cast<size_t>(put);
        if (*connection.budget == 0) Break(connection);
      }
    }
  }

  const int listener_;
  const int wake_;
  const std::string target_;
  Mutex mutex_;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mutex_);
  std::chrono::milliseconds delay_ ABSL_GUARDED_BY(mutex_){0};
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
  int planned_cuts_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t min_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t max_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int cuts_ ABSL_GUARDED_BY(mutex_) = 0;
  bool accepting_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<FlakyProxy>> FlakyProxy::Start(const std::string& target) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) return Errno("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener, 64) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const absl::Status status = Errno("listening on loopback");
    close(listener);
    return status;
  }
  const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return std::unique_ptr<FlakyProxy>(
      new FlakyProxy(std::make_unique<Impl>(listener, wake, target),
                     absl::StrCat("127.0.0.1:", ntohs(address.sin_port))));
}

FlakyProxy::FlakyProxy(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}
FlakyProxy::~FlakyProxy() = default;
void FlakyProxy::SetDelay(std::chrono::milliseconds one_way) { impl_->SetDelay(one_way); }
void FlakyProxy::CutAll() { impl_->CutAll(); }
void FlakyProxy::CutRandomly(uint32_t seed, int cuts, size_t min_bytes, size_t max_bytes) {
  impl_->CutRandomly(seed, cuts, min_bytes, max_bytes);
}
int FlakyProxy::cuts() const { return impl_->cuts(); }
void FlakyProxy::SetAccepting(bool accepting) { impl_->SetAccepting(accepting); }

}  // namespace moai::testing
