// What every process that moves bulk bytes does first in main().
#ifndef MOAI_WIRE_PROCESS_TUNING_H_
#define MOAI_WIRE_PROCESS_TUNING_H_

namespace moai::wire {

// Tells malloc to keep freed memory instead of giving it back to the kernel at once: received
// chunks of 1 MiB would cost a page fault every 4 KiB, which is most of what gRPC loses against raw
// TCP. Keeps at most 64 MiB. Also ignores SIGPIPE: a peer that hangs up is an error code, not a
// signal. Call before any thread starts.
void TuneProcessForTransfers();

}  // namespace moai::wire

#endif  // MOAI_WIRE_PROCESS_TUNING_H_
