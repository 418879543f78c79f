// What every process that moves bulk bytes does first in main().
#ifndef MOAI_WIRE_PROCESS_TUNING_H_
#define MOAI_WIRE_PROCESS_TUNING_H_

namespace moai::wire {

// Lets each thread of gRPC wait for its own connections. By default one thread at a time waits for
// those of the whole process, and wakes the others: a hop more in every message wherever a process
// has two completion queues. Before anything else of gRPC; an environment that says otherwise wins.
void TuneProcessForConversations();

// The above, and: tells malloc to keep freed memory instead of giving it back to the kernel at
// once: received chunks of 1 MiB would cost a page fault every 4 KiB, which is most of what gRPC
// loses against raw TCP. Keeps at most 64 MiB. Also ignores SIGPIPE: a peer that hangs up is an
// error code, not a signal. Call before any thread starts.
void TuneProcessForTransfers();

}  // namespace moai::wire

#endif  // MOAI_WIRE_PROCESS_TUNING_H_
