#include "worker/kernels/cpu/kernel_tools.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/op.h"

namespace moai {
namespace {

template <class Operands>
std::string TypesOf(const Operands& operands) {
  return absl::StrJoin(operands, ", ", [](std::string* out, const Operand& operand) {
    absl::StrAppend(out, ToString(operand.type()));
  });
}

}  // namespace

absl::Status UnsupportedTypes(const KernelContext& context) {
  const Instruction& instruction = context.instruction;
  return absl::UnimplementedError(absl::StrCat("no CPU kernel for ", Name(instruction.op), "(",
                                               TypesOf(instruction.inputs), ") -> ",
                                               TypesOf(instruction.outputs)));
}

absl::StatusOr<Address> ScratchFor(const KernelContext& context, int64_t bytes) {
  if (bytes == 0) return Address{};
  const int32_t scratch = context.instruction.scratch;
  const int64_t available = scratch < 0 ? 0 : context.program.buffers[scratch].bytes;
  if (available < bytes) {
    return absl::InternalError(absl::StrCat(Name(context.instruction.op), " needs ", bytes,
                                            " bytes of scratch, its program gives ", available));
  }
  return Address{static_cast<BufferId>(scratch), 0};
}

}  // namespace moai
