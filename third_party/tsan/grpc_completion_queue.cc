// Tells ThreadSanitizer that an operation started with a tag comes before the event that returns
// the tag. Debian's gRPC is not compiled with it. These functions stand in front of those of
// libgrpc.so, which libgrpc++.so calls: a program's own definition comes first when symbols are
// looked up.

#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

namespace {

template <typename Function>
Function* Next(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

grpc_event Returned(grpc_event event) {
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

}  // namespace

#define NEXT(function) static auto* const next = Next(&function, #function)

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag,
                                      void* reserved) {
  NEXT(grpc_call_start_batch);
  __tsan_release(tag);
  return next(call, ops, count, tag, reserved);
}

grpc_call_error grpc_server_request_call(grpc_server* server, grpc_call** call,
                                         grpc_call_details* details, grpc_metadata_array* metadata,
                                         grpc_completion_queue* bound,
                                         grpc_completion_queue* notification, void* tag) {
  NEXT(grpc_server_request_call);
  __tsan_release(tag);
  return next(server, call, details, metadata, bound, notification, tag);
}

grpc_call_error grpc_server_request_registered_call(
    grpc_server* server, void* method, grpc_call** call, gpr_timespec* deadline,
    grpc_metadata_array* metadata, grpc_byte_buffer** payload, grpc_completion_queue* bound,
    grpc_completion_queue* notification, void* tag) {
  NEXT(grpc_server_request_registered_call);
  __tsan_release(tag);
  return next(server, method, call, deadline, metadata, payload, bound, notification, tag);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline,
                                      void* reserved) {
  NEXT(grpc_completion_queue_next);
  return Returned(next(queue, deadline, reserved));
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag,
                                       gpr_timespec deadline, void* reserved) {
  NEXT(grpc_completion_queue_pluck);
  return Returned(next(queue, tag, deadline, reserved));
}

}  // extern "C"
