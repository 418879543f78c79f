#include "wire/process_tuning.h"

#include <malloc.h>
#include <stdlib.h>

#include <csignal>

namespace moai::wire {

void TuneProcessForConversations() { setenv("GRPC_POLL_STRATEGY", "poll", /*replace=*/0); }

void TuneProcessForTransfers() {
  TuneProcessForConversations();
  constexpr int kKeep = 64 << 20;
  mallopt(M_TRIM_THRESHOLD, kKeep);
  mallopt(M_TOP_PAD, kKeep);
  // Chunks come from the heap, not from mappings of their own that every free unmaps.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace moai::wire
