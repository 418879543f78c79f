#include "tests/parallel/forked_processes.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace moai {
namespace {

bool WriteBytes(int descriptor, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t written = send(descriptor, bytes, size, MSG_NOSIGNAL);
    if (written <= 0) return false;
    bytes += written;
    size -= size_t(written);
  }
  return true;
}

bool ReadBytes(int descriptor, char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t came = read(descriptor, bytes, size);
    if (came <= 0) return false;
    bytes += came;
    size -= size_t(came);
  }
  return true;
}

}  // namespace

StringPipe::~StringPipe() {
  if (descriptor_ >= 0) close(descriptor_);
}
StringPipe::StringPipe(StringPipe&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

bool StringPipe::Write(const std::string& text) {
  const uint64_t size = text.size();
  return WriteBytes(descriptor_, reinterpret_cast<const char*>(&size), sizeof(size)) &&
         WriteBytes(descriptor_, text.data(), text.size());
}

std::optional<std::string> StringPipe::Read() {
  uint64_t size = 0;
  if (!ReadBytes(descriptor_, reinterpret_cast<char*>(&size), sizeof(size))) return std::nullopt;
  std::string text(size, '\0');
  if (!ReadBytes(descriptor_, text.data(), size)) return std::nullopt;
  return text;
}

ForkedProcesses::ForkedProcesses(int count,
                                 const std::function<void(int process, StringPipe& parent)>& run) {
  for (int process = 0; process < count; ++process) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      pipes_.clear();  // those to its brothers
      close(ends[0]);
      StringPipe pipe(ends[1]);
      run(process, pipe);
      _exit(0);
    }
    close(ends[1]);
    pipes_.emplace_back(ends[0]);
    processes_.push_back(child);
  }
}

ForkedProcesses::~ForkedProcesses() {
  for (const pid_t process : processes_) kill(process, SIGKILL);
  for (const pid_t process : processes_) waitpid(process, nullptr, 0);
}

}  // namespace moai
