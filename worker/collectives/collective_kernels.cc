#include "worker/collectives/collective_kernels.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "program/collective_bytes.h"
#include "program/transfer_runs.h"
#include "worker/collectives/combine.h"

namespace moai {
namespace {

// What a collective is made from, checked as it is read.
struct Context {
  const Program& program;
  const Instruction& instruction;
  absl::Span<const DeviceGroup> groups;
  Communicator* communicator;

  const Shape& input() const { return instruction.inputs[0].shape; }
  const Shape& output() const { return instruction.outputs[0].shape; }
  Dtype dtype() const { return instruction.outputs[0].dtype; }
  int64_t extent(int i) const { return instruction.extents[i]; }

  absl::Status Wrong(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(Entry(instruction.op).name, " on device ", communicator->rank(), ": ", what));
  }
};

struct Address {
  BufferId buffer = 0;
  int64_t bytes = 0;
  std::byte* at(const KernelArguments& arguments) const {
    return arguments.buffers[buffer] + bytes;
  }
};

Address AddressOf(const Operand& operand) {
  return {operand.buffer, operand.offset * ByteSize(operand.dtype)};
}

// What every collective kernel holds.
struct Call {
  Communicator* communicator = nullptr;
  DeviceGroup group;
  int64_t me = 0;  // position in it
  Address input, output;
  Address scratch;
  int64_t scratch_bytes = 0;
  Dtype dtype = Dtype::kF32;

  int64_t members() const { return static_cast<int64_t>(group.size()); }
  absl::Span<std::byte> ScratchOf(const KernelArguments& arguments) const {
    if (scratch_bytes == 0) return {};
    return {scratch.at(arguments), static_cast<size_t>(scratch_bytes)};
  }
};

absl::StatusOr<Call> MakeCall(const Context& context, int32_t group) {
  const Instruction& instruction = context.instruction;
  Call call{.communicator = context.communicator};
  if (group < 0 || static_cast<size_t>(group) >= context.groups.size()) {
    return context.Wrong(absl::StrCat("there is no group ", group));
  }
  call.group = context.groups[group];
  for (size_t i = 0; i < call.group.size(); ++i) {
    const auto begin = call.group.begin();
    if (call.group[i] >= context.communicator->size() ||
        std::find(begin, begin + i, call.group[i]) != begin + i) {
      return context.Wrong(absl::StrCat("device ", call.group[i], " cannot be in its group"));
    }
  }
  const auto me = std::find(call.group.begin(), call.group.end(), context.communicator->rank());
  if (me == call.group.end()) return context.Wrong("it is not in its group");
  call.me = me - call.group.begin();

  const int64_t needed = call.members() == 1 ? 0 : CollectiveScratchBytes(instruction);
  if (needed > 0) {
    if (call.members() > kSmallGroup) {
      return context.Wrong(absl::StrCat("a group of ", call.members(), " devices; at most ",
                                        kSmallGroup, " can be"));
    }
    const bool has = instruction.scratch >= 0;
    call.scratch = {has ? static_cast<BufferId>(instruction.scratch) : 0, 0};
    call.scratch_bytes = has ? context.program.buffers[instruction.scratch].bytes : 0;
    if (call.scratch_bytes < needed) {
      return absl::InternalError(absl::StrCat(Entry(instruction.op).name, " needs ", needed,
                                              " bytes of scratch and has ", call.scratch_bytes));
    }
  }
  if (!instruction.inputs.empty()) {
    call.input = AddressOf(instruction.inputs[0]);
    call.dtype = instruction.inputs[0].dtype;
  }
  call.output = AddressOf(instruction.outputs[0]);
  if (instruction.op != Op::kSend) call.dtype = instruction.outputs[0].dtype;
  return call;
}

// A kernel that calls `function(call, arguments)` -> Status.
template <class Function>
std::unique_ptr<Kernel> MakeKernel(Call call, Function function) {
  class CollectiveKernel final : public Kernel {
   public:
    CollectiveKernel(Call call, Function function)
        : call_(std::move(call)), function_(std::move(function)) {}
    void Run(const KernelArguments& arguments) override {
      if (!call_.communicator->status().ok()) return;
      const absl::Status done = function_(call_, arguments);
      if (!done.ok()) call_.communicator->Abort(done);
    }

   private:
    const Call call_;
    const Function function_;
  };
  return std::make_unique<CollectiveKernel>(std::move(call), std::move(function));
}

using KernelOr = absl::StatusOr<std::unique_ptr<Kernel>>;

absl::StatusOr<ReduceKind> ReduceOf(const Context& context, int attribute) {
  const int32_t number = context.instruction.attributes[attribute];
  const auto reduce = static_cast<ReduceKind>(number);
  if (number <= 0 || number > static_cast<int32_t>(ReduceKind::kOr) ||
      !CanCombine(context.dtype(), reduce)) {
    return context.Wrong(
        absl::StrCat("no reduction of kind ", number, " of ", Name(context.dtype())));
  }
  return reduce;
}

// Elements of the dims [begin, end).
int64_t ElementsOf(const Shape& shape, int begin, int end) {
  int64_t elements = 1;
  for (int d = begin; d < end; ++d) elements *= shape[d];
  return elements;
}

// A dim of `whole` elements in units, of which this member has `part` elements.
absl::Status CheckPart(const Context& context, const Call& call, int64_t whole, int64_t unit,
                       int64_t part) {
  if (unit > 0 && whole % unit == 0 &&
      part == PartOf(whole / unit, call.members(), call.me) * unit) {
    return absl::OkStatus();
  }
  return context.Wrong(absl::StrCat("member ", call.me, " of ", call.members(), " has ", part,
                                    " of ", whole, " elements in units of ", unit));
}

AxisSplit SplitOf(const Shape& shape, int axis, int64_t whole, int64_t unit) {
  return {.outer = ElementsOf(shape, 0, axis),
          .units = whole / unit,
          .unit = unit * ElementsOf(shape, axis + 1, shape.rank())};
}

KernelOr AllReduce(const Context& context) {
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, context.instruction.attributes[0]));
  MOAI_ASSIGN_OR_RETURN(const ReduceKind reduce, ReduceOf(context, 1));
  if (context.input() != context.output()) return context.Wrong("its shapes differ");
  const int64_t count = context.input().elements();
  return MakeKernel(std::move(call), [=](const Call& c, const KernelArguments& arguments) {
    return c.communicator->AllReduce(c.group, c.input.at(arguments), c.output.at(arguments), count,
                                     c.dtype, reduce, c.ScratchOf(arguments));
  });
}

KernelOr AllGather(const Context& context) {
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, context.instruction.attributes[1]));
  const int axis = context.instruction.attributes[0];
  const int64_t whole = context.extent(0), unit = context.extent(1);
  MOAI_RETURN_IF_ERROR(CheckPart(context, call, whole, unit, context.input()[axis]));
  const AxisSplit split = SplitOf(context.output(), axis, whole, unit);
  return MakeKernel(std::move(call), [=](const Call& c, const KernelArguments& arguments) {
    return c.communicator->AllGather(c.group, c.input.at(arguments), c.output.at(arguments), split,
                                     c.dtype, c.ScratchOf(arguments));
  });
}

KernelOr ReduceScatter(const Context& context) {
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, context.instruction.attributes[1]));
  MOAI_ASSIGN_OR_RETURN(const ReduceKind reduce, ReduceOf(context, 2));
  const int axis = context.instruction.attributes[0];
  const int64_t whole = context.input()[axis], unit = context.extent(1);
  MOAI_RETURN_IF_ERROR(CheckPart(context, call, whole, unit, context.extent(0)));
  const AxisSplit split = SplitOf(context.input(), axis, whole, unit);
  return MakeKernel(std::move(call), [=](const Call& c, const KernelArguments& arguments) {
    return c.communicator->ReduceScatter(c.group, c.input.at(arguments), c.output.at(arguments),
                                         split, c.dtype, reduce, c.ScratchOf(arguments));
  });
}

KernelOr AllToAll(const Context& context) {
  const Instruction& instruction = context.instruction;
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, instruction.attributes[2]));
  const int joined = instruction.attributes[0], split = instruction.attributes[1];
  if (joined == split) return context.Wrong("it joins the dim that it splits");
  const Shape& input = context.input();
  const int64_t joined_whole = context.extent(0), joined_unit = context.extent(1);
  const int64_t split_whole = input[split], split_unit = context.extent(3);
  MOAI_RETURN_IF_ERROR(CheckPart(context, call, joined_whole, joined_unit, input[joined]));
  MOAI_RETURN_IF_ERROR(CheckPart(context, call, split_whole, split_unit, context.extent(2)));
  const int first = std::min(joined, split), second = std::max(joined, split);
  const TwoAxisSplit axes{.outer = ElementsOf(input, 0, first),
                          .middle = ElementsOf(input, first + 1, second),
                          .inner = ElementsOf(input, second + 1, input.rank()),
                          .joined_units = joined_whole / joined_unit,
                          .joined_unit = joined_unit,
                          .split_units = split_whole / split_unit,
                          .split_unit = split_unit,
                          .joined_first = joined < split};
  return MakeKernel(std::move(call), [=](const Call& c, const KernelArguments& arguments) {
    return c.communicator->AllToAll(c.group, c.input.at(arguments), c.output.at(arguments), axes,
                                    c.dtype, c.ScratchOf(arguments));
  });
}

KernelOr BroadcastFromFirst(const Context& context) {
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, context.instruction.attributes[0]));
  if (call.me == 0 && context.input() != context.output()) {
    return context.Wrong("the first member's tensor has another shape than the result");
  }
  const int64_t bytes = context.output().elements() * ByteSize(call.dtype);
  return MakeKernel(std::move(call), [=](const Call& c, const KernelArguments& arguments) {
    return c.communicator->BroadcastFromFirst(c.group, c.input.at(arguments),
                                              c.output.at(arguments), bytes);
  });
}

// One transfer of a run.
struct TransferCall {
  uint32_t node = 0;  // in the graph, whose order is that of the devices
  Call call;
  int64_t bytes = 0;
  bool incoming = false;
};

absl::StatusOr<TransferCall> MakeTransferCall(const Context& context) {
  const Instruction& instruction = context.instruction;
  const bool incoming = instruction.op == Op::kRecv;
  MOAI_ASSIGN_OR_RETURN(Call call, MakeCall(context, instruction.attributes[incoming ? 1 : 0]));
  if (call.members() != 2 || call.me != (incoming ? 1 : 0)) {
    return context.Wrong("its group is not a pair in which the first sends to the second");
  }
  const Shape& shape = incoming ? context.output() : context.input();
  const int64_t bytes = shape.elements() * ByteSize(call.dtype);
  return TransferCall{instruction.node, std::move(call), bytes, incoming};
}

// The last instruction of a run does what all of them say.
class TransferKernel final : public Kernel {
 public:
  TransferKernel(std::vector<TransferCall> transfers, Communicator* communicator)
      : transfers_(std::move(transfers)), communicator_(communicator) {
    std::sort(transfers_.begin(), transfers_.end(),
              [](const TransferCall& a, const TransferCall& b) { return a.node < b.node; });
    messages_.resize(transfers_.size());
  }

  void Run(const KernelArguments& arguments) override {
    if (!communicator_->status().ok()) return;
    for (size_t i = 0; i < transfers_.size(); ++i) {
      const TransferCall& transfer = transfers_[i];
      const Call& call = transfer.call;
      messages_[i] = {.peer = call.group[transfer.incoming ? 0 : 1],
                      .incoming = transfer.incoming,
                      .data = (transfer.incoming ? call.output : call.input).at(arguments),
                      .bytes = transfer.bytes};
    }
    const absl::Status done = communicator_->Exchange(messages_);
    if (!done.ok()) communicator_->Abort(done);
  }

 private:
  std::vector<TransferCall> transfers_;  // in the order of the graph
  std::vector<PeerMessage> messages_;
  Communicator* const communicator_;
};

KernelOr Transfer(const Context& context, uint32_t index) {
  const TransferRun run = TransferRunOf(context.program, index);
  std::vector<TransferCall> transfers;
  const bool last = index + 1 == run.end;  // those before it have nothing to do
  for (uint32_t i = run.begin; i < run.end && last; ++i) {
    const Context one{context.program, context.program.instructions[i], context.groups,
                      context.communicator};
    MOAI_ASSIGN_OR_RETURN(TransferCall transfer, MakeTransferCall(one));
    transfers.push_back(std::move(transfer));
  }
  return std::make_unique<TransferKernel>(std::move(transfers), context.communicator);
}

}  // namespace

KernelOr MakeCollectiveKernel(const Program& program, uint32_t index,
                              absl::Span<const DeviceGroup> groups, Communicator* communicator) {
  const Context context{program, program.instructions[index], groups, communicator};
  switch (context.instruction.op) {
    case Op::kAllReduce:
      return AllReduce(context);
    case Op::kAllGather:
      return AllGather(context);
    case Op::kReduceScatter:
      return ReduceScatter(context);
    case Op::kAllToAll:
      return AllToAll(context);
    case Op::kBroadcastFromFirst:
      return BroadcastFromFirst(context);
    case Op::kSend:
    case Op::kRecv:
      return Transfer(context, index);
    default:
      return absl::UnimplementedError(
          absl::StrCat(Entry(context.instruction.op).name, " is not a collective"));
  }
}

}  // namespace moai
