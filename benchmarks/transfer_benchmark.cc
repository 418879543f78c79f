// Bulk bytes from a client to an executor process and back, beside raw TCP between the same two
// processes into the same memory: one socket, send and recv with buffers of 1 MiB. The lanes take
// turns within each repetition, and ratios are medians over repetitions.
//
//   transfer_benchmark [--max_bytes=N] [--seconds=S]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/mutex.h"
#include "wire/process_tuning.h"
#include "wire/random_id.h"
#include "wire/stream_server.h"
#include "wire/transfer_client.h"
#include "wire/transfer_server.h"

namespace moai {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRawBuffer = 1 << 20;
constexpr size_t kSizes[] = {1 << 10, 16 << 10, 128 << 10, 1 << 20,
                             8 << 20, 64 << 20, 256 << 20, 1 << 30};

[[noreturn]] void Fail(absl::string_view what) {
  std::fprintf(stderr, "transfer_benchmark: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

void SendAll(int socket, const std::byte* bytes, size_t size) {
  while (size > 0) {
    const ssize_t put = send(socket, bytes, std::min(size, kRawBuffer), MSG_NOSIGNAL);
    if (put <= 0) Fail("the raw connection broke");
    bytes += put;
    size -= static_cast<size_t>(put);
  }
}

void ReceiveAll(int socket, std::byte* bytes, size_t size) {
  while (size > 0) {
    const ssize_t got = recv(socket, bytes, std::min(size, kRawBuffer), 0);
    if (got <= 0) Fail("the raw connection broke");
    bytes += got;
    size -= static_cast<size_t>(got);
  }
}

// ---- The executor process ---------------------------------------------------------------------

// All objects are the start of one buffer.
class BufferTarget : public wire::TransferTarget {
 public:
  explicit BufferTarget(size_t size) : buffer_(size, std::byte{1}) {}
  absl::StatusOr<absl::Span<std::byte>> BeginUpload(const wire::Ticket& ticket) override {
    return absl::MakeSpan(buffer_).subspan(0, ticket.bytes);
  }
  void EndUpload(const wire::Ticket&, const absl::Status&) override {}
  absl::StatusOr<wire::ByteSource> BeginDownload(const wire::Ticket& ticket) override {
    return wire::ByteSource{absl::MakeConstSpan(buffer_).subspan(0, ticket.bytes), nullptr};
  }
  std::byte* data() { return buffer_.data(); }

 private:
  std::vector<std::byte> buffer_;
};

// What the client asks for over a pipe or the raw connection.
struct Request {
  char ticket[16];
  uint64_t bytes;
  uint64_t upload;
};

int RawListener(uint16_t* port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener, 1) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Fail("cannot listen on loopback");
  }
  *port = ntohs(address.sin_port);
  return listener;
}

void ServeRaw(int listener, BufferTarget* target) {
  const int client = accept(listener, nullptr, nullptr);
  const int on = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  Request request;
  while (recv(client, &request, sizeof(request), MSG_WAITALL) == sizeof(request)) {
    if (request.upload != 0) {
      ReceiveAll(client, target->data(), request.bytes);
      SendAll(client, target->data(), 1);
    } else {
      SendAll(client, target->data(), request.bytes);
    }
  }
}

[[noreturn]] void RunExecutor(size_t max_bytes, int requests, int answers) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  wire::TuneProcessForTransfers();
  BufferTarget target(max_bytes);
  wire::TransferServer transfers(&target);
  wire::StreamServerOptions options;
  options.addresses = {"127.0.0.1:0"};
  auto server = wire::StreamServer::Start(options, transfers.Methods());
  if (!server.ok()) Fail(server.status().ToString());
  uint16_t raw_port = 0;
  const int listener = RawListener(&raw_port);
  std::thread raw([&] { ServeRaw(listener, &target); });
  const std::string ports =
      absl::StrFormat("%-40s", absl::StrCat((*server)->addresses()[0], " ", raw_port));
  if (write(answers, ports.data(), ports.size()) < 0) Fail("the client has gone");
  Request request;
  std::string last;
  while (read(requests, &request, sizeof(request)) == sizeof(request)) {
    if (!last.empty()) transfers.RemoveTicket(last);
    wire::Ticket ticket;
    ticket.id = last = std::string(request.ticket, sizeof(request.ticket));
    ticket.bytes = request.bytes;
    ticket.upload = request.upload != 0;
    if (!transfers.AddTicket(ticket).ok()) Fail("no room for a ticket");
    if (write(answers, "k", 1) != 1) break;
  }
  _exit(0);
}

// ---- The client -------------------------------------------------------------------------------

class Peer {
 public:
  Peer(std::string address, uint16_t raw_port, int requests, int answers, size_t max_bytes)
      : address_(std::move(address)),
        requests_(requests),
        answers_(answers),
        buffer_(max_bytes, std::byte{2}),
        stream_({.shared_memory = false}),
        shared_({.shared_memory = true}) {
    raw_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer.sin_port = htons(raw_port);
    if (connect(raw_, reinterpret_cast<sockaddr*>(&peer), sizeof(peer)) != 0) {
      Fail("cannot connect to the executor");
    }
    const int on = 1;
    setsockopt(raw_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }

  enum class Lane { kRaw, kStream, kShared };

  // Seconds that the transfer takes, to the acknowledgement or the last byte.
  double Time(Lane lane, bool upload, size_t bytes) {
    if (lane == Lane::kRaw) return TimeRaw(upload, bytes);
    wire::Ticket ticket;
    ticket.id = wire::NewRandomId();
    ticket.bytes = bytes;
    ticket.upload = upload;
    ticket.addresses = {address_};
    Request request{};
    std::memcpy(request.ticket, ticket.id.data(), sizeof(request.ticket));
    request.bytes = bytes;
    request.upload = upload ? 1 : 0;
    char answer;
    if (write(requests_, &request, sizeof(request)) != sizeof(request) ||
        read(answers_, &answer, 1) != 1) {
      Fail("the executor has gone");
    }
    wire::TransferClient& client = lane == Lane::kStream ? stream_ : shared_;
    Mutex mutex;
    CondVar changed;
    bool done = false;
    const auto finished = [&](const absl::Status& status) {
      if (!status.ok()) Fail(status.ToString());
      MutexLock lock(mutex);
      done = true;
      changed.NotifyAll();
    };
    const Clock::time_point start = Clock::now();
    if (upload) {
      client.Upload(ticket, {absl::MakeConstSpan(buffer_).subspan(0, bytes), nullptr}, finished);
    } else {
      client.Download(ticket, absl::MakeSpan(buffer_).subspan(0, bytes), finished);
    }
    {
      MutexLock lock(mutex);
      while (!done) changed.Wait(mutex);
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  uint64_t shared_memory_transfers() const { return shared_.stats().shared_memory_transfers; }

 private:
  double TimeRaw(bool upload, size_t bytes) {
    Request request{};
    request.bytes = bytes;
    request.upload = upload ? 1 : 0;
    const Clock::time_point start = Clock::now();
    SendAll(raw_, reinterpret_cast<const std::byte*>(&request), sizeof(request));
    if (upload) {
      SendAll(raw_, buffer_.data(), bytes);
      std::byte acknowledgement;
      ReceiveAll(raw_, &acknowledgement, 1);
    } else {
      ReceiveAll(raw_, buffer_.data(), bytes);
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  const std::string address_;
  const int requests_;
  const int answers_;
  std::vector<std::byte> buffer_;
  wire::TransferClient stream_;
  wire::TransferClient shared_;
  int raw_ = -1;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Row {
  size_t bytes;
  // To the executor and back, GB/s of raw TCP, and ratios of the other lanes to it.
  double raw[2];
  double stream[2];
  double shared[2];
};

Row Measure(Peer& peer, size_t bytes, double seconds) {
  Row row{};
  row.bytes = bytes;
  for (const int back : {0, 1}) {
    std::vector<double> raw, stream, shared;
    const Clock::time_point start = Clock::now();
    // The first repetition warms caches and connections.
    for (int i = 0; i < 1001; ++i) {
      const double t = peer.Time(Peer::Lane::kRaw, back == 0, bytes);
      const double s = peer.Time(Peer::Lane::kStream, back == 0, bytes);
      const double m = peer.Time(Peer::Lane::kShared, back == 0, bytes);
      if (i == 0) continue;
      raw.push_back(static_cast<double>(bytes) / t / 1e9);
      stream.push_back(t / s);
      shared.push_back(t / m);
      if (i >= 5 && std::chrono::duration<double>(Clock::now() - start).count() > seconds) break;
    }
    row.raw[back] = Median(raw);
    row.stream[back] = Median(stream);
    row.shared[back] = Median(shared);
  }
  return row;
}

std::string Name(size_t bytes) {
  if (bytes >= size_t{1} << 30) return absl::StrCat(bytes >> 30, "GiB");
  if (bytes >= 1 << 20) return absl::StrCat(bytes >> 20, "MiB");
  return absl::StrCat(bytes >> 10, "KiB");
}

void Run(size_t max_bytes, double seconds) {
  int requests[2];
  int answers[2];
  if (pipe(requests) != 0 || pipe(answers) != 0) Fail("no pipes");
  const pid_t executor = fork();
  if (executor == 0) {
    close(requests[1]);  // so that the executor sees the client close it
    RunExecutor(max_bytes, requests[0], answers[1]);
  }
  wire::TuneProcessForTransfers();
  char ports[41] = {};
  if (read(answers[0], ports, 40) != 40) Fail("the executor did not start");
  char address[32];
  unsigned raw_port = 0;
  if (std::sscanf(ports, "%31s %u", address, &raw_port) != 2) Fail("no ports");
  {
    Peer peer(address, static_cast<uint16_t>(raw_port), requests[1], answers[0], max_bytes);
    std::printf("%8s | %21s | %21s | %21s\n", "", "raw TCP GB/s", "stream / raw", "shared / raw");
    std::printf("%8s | %10s %10s | %10s %10s | %10s %10s\n", "bytes", "to worker", "back",
                "to worker", "back", "to worker", "back");
    std::vector<std::string> by_size;
    Row at_64{};
    for (const size_t bytes : kSizes) {
      if (bytes > max_bytes) break;
      const Row row = Measure(peer, bytes, seconds);
      std::printf("%8s | %10.3f %10.3f | %10.2f %10.2f | %10.2f %10.2f\n", Name(bytes).c_str(),
                  row.raw[0], row.raw[1], row.stream[0], row.stream[1], row.shared[0],
                  row.shared[1]);
      std::fflush(stdout);
      by_size.push_back(absl::StrFormat(
          "\"%s\": {\"raw_gb_per_s\": [%.3f, %.3f], \"stream_ratio\": [%.3f, %.3f], "
          "\"shared_memory_ratio\": [%.3f, %.3f]}",
          Name(bytes), row.raw[0], row.raw[1], row.stream[0], row.stream[1], row.shared[0],
          row.shared[1]));
      if (bytes <= 64 << 20) at_64 = row;
    }
    std::printf(
        "{\"to_worker_ratio_64MiB\": %.3f, \"from_worker_ratio_64MiB\": %.3f, "
        "\"shared_memory_ratio_64MiB\": %.3f, \"by_size\": {%s}}\n",
        at_64.stream[0], at_64.stream[1], std::min(at_64.shared[0], at_64.shared[1]),
        absl::StrJoin(by_size, ", ").c_str());
  }
  close(requests[1]);
  waitpid(executor, nullptr, 0);
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) {
  uint64_t max_bytes = uint64_t{1} << 30;
  double seconds = 1.5;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument(argv[i]);
    const bool known = (absl::StartsWith(argument, "--max_bytes=") &&
                        absl::SimpleAtoi(argument.substr(12), &max_bytes)) ||
                       (absl::StartsWith(argument, "--seconds=") &&
                        absl::SimpleAtod(argument.substr(10), &seconds));
    if (!known) {
      std::fprintf(stderr, "usage: transfer_benchmark [--max_bytes=N] [--seconds=S]\n");
      return 2;
    }
  }
  moai::Run(max_bytes, seconds);
  return 0;
}
