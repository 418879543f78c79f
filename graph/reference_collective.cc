#include "graph/reference_collective.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/op_schema.h"
#include "graph/parts.h"
#include "graph/reference_execution.h"

namespace moai::reference {
namespace {

using Members = absl::Span<const Member>;
using Tensors = std::vector<ReferenceTensor>;

template <typename... Words>
absl::Status Disagree(const Words&... words) {
  return absl::InternalError(absl::StrCat(words...));
}

// One primitive over whole tensors.
absl::StatusOr<ReferenceTensor> Primitive(Op op, const std::vector<const ReferenceTensor*>& inputs,
                                          const TensorType& type,
                                          absl::Span<const int32_t> attributes,
                                          absl::Span<const int64_t> extents = {}) {
  Node node;
  node.op = op;
  node.inputs.resize(inputs.size());
  node.attributes.assign(attributes.begin(), attributes.end());
  ReferenceTensor output = ReferenceTensor::Zeros(type);
  MOAI_RETURN_IF_ERROR(RunPrimitive({node, extents, inputs, absl::MakeSpan(&output, 1)}));
  return output;
}

absl::StatusOr<ReferenceTensor> Join(const std::vector<const ReferenceTensor*>& parts, int axis,
                                     const TensorType& type) {
  return Primitive(Op::kConcat, parts, type, {axis});
}

absl::StatusOr<ReferenceTensor> Cut(const ReferenceTensor& whole, int axis, int64_t begin,
                                    int64_t count) {
  TensorType type = whole.type;
  type.shape[axis] = count;
  std::vector<int64_t> extents;
  for (int dim = 0; dim < type.shape.rank(); ++dim) {
    const int64_t start = dim == axis ? begin : 0;
    extents.insert(extents.end(), {start, start + type.shape[dim], 1});
  }
  return Primitive(Op::kSlice, {&whole}, type, {}, extents);
}

Op ReductionOf(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kMax:
      return Op::kReduceMax;
    case ReduceKind::kMin:
      return Op::kReduceMin;
    case ReduceKind::kProd:
      return Op::kReduceProd;
    case ReduceKind::kAnd:
      return Op::kReduceAll;
    case ReduceKind::kOr:
      return Op::kReduceAny;
    default:
      return Op::kReduceSum;
  }
}

// The members' tensors, combined element for element in the order of membership.
absl::StatusOr<ReferenceTensor> Combine(Members members, ReduceKind kind) {
  const TensorType& type = members[0].input->type;
  const int64_t elements = type.shape.elements();
  // One row a member.
  ReferenceTensor rows;
  rows.type = {type.dtype, {static_cast<int64_t>(members.size()), elements}};
  for (const Member& member : members) {
    VisitElements(rows, [&](auto& all) {
      const auto& own = ElementsLike(all, *member.input);
      all.insert(all.end(), own.begin(), own.end());
    });
  }
  MOAI_ASSIGN_OR_RETURN(
      ReferenceTensor combined,
      Primitive(ReductionOf(kind), {&rows}, {type.dtype, {elements}}, {/*axis=*/0}));
  combined.type = type;
  return combined;
}

ReduceKind ReduceOf(const Node& node) {
  return static_cast<ReduceKind>(node.attributes[Schema(node.op).reduce_attribute]);
}

// ---- Agreement ----------------------------------------------------------------------------------

// Same op, and same attributes but for the group, which each device numbers by itself.
absl::Status CheckSameOp(Members members) {
  const Node& first = members[0].node;
  const OpSchema& schema = Schema(first.op);
  for (size_t m = 1; m < members.size(); ++m) {
    const Node& node = members[m].node;
    if (node.op != first.op) {
      return Disagree("member 0 runs ", Name(first.op), ", but member ", m, " runs ",
                      Name(node.op));
    }
    for (size_t i = 0; i < first.attributes.size(); ++i) {
      if (static_cast<int>(i) == schema.group_attribute) continue;
      if (node.attributes[i] == first.attributes[i]) continue;
      return Disagree("attribute ", schema.attributes[i].name, " of member 0 is ",
                      first.attributes[i], ", that of member ", m, " is ", node.attributes[i]);
    }
  }
  return absl::OkStatus();
}

// Equal tensors go in, but for the dim `except`.
absl::Status CheckSameInputs(Members members, int except = -1) {
  TensorType first = members[0].input->type;
  for (size_t m = 1; m < members.size(); ++m) {
    TensorType other = members[m].input->type;
    if (except >= 0 && other.shape.rank() == first.shape.rank()) {
      other.shape[except] = first.shape[except];
    }
    if (other == first) continue;
    return Disagree("member 0 gives a ", ToString(members[0].input->type), ", but member ", m,
                    " a ", ToString(members[m].input->type));
  }
  return absl::OkStatus();
}

absl::Status CheckSameExtent(Members members, size_t extent, absl::string_view what) {
  for (size_t m = 1; m < members.size(); ++m) {
    if (members[m].extents[extent] == members[0].extents[extent]) continue;
    return Disagree(what, " of member 0 is ", members[0].extents[extent], ", that of member ", m,
                    " is ", members[m].extents[extent]);
  }
  return absl::OkStatus();
}

// Where the part of each member along one dim begins; an error where one is not as parts.h says.
class Parts {
 public:
  Parts(Members members, int64_t whole, int64_t unit)
      : members_(static_cast<int64_t>(members.size())), whole_(whole), unit_(unit) {}

  int64_t count(int64_t m) const { return PartOf(whole_ / unit_, members_, m) * unit_; }
  int64_t begin(int64_t m) const { return PartBegin(whole_ / unit_, members_, m) * unit_; }
  absl::Status Check(int64_t m, int axis, int64_t stated) const {
    if (stated == count(m)) return absl::OkStatus();
    return Disagree("of ", whole_, " in units of ", unit_, " among ", members_,
                    " devices along dim ", axis, ", member ", m, " must have ", count(m),
                    ", but has ", stated);
  }

 private:
  int64_t members_;
  int64_t whole_;
  int64_t unit_;
};

// ---- The collectives ----------------------------------------------------------------------------

absl::StatusOr<Tensors> AllReduce(Members members) {
  MOAI_RETURN_IF_ERROR(CheckSameInputs(members));
  MOAI_ASSIGN_OR_RETURN(const ReferenceTensor combined,
                        Combine(members, ReduceOf(members[0].node)));
  return Tensors(members.size(), combined);
}

absl::StatusOr<Tensors> AllGather(Members members) {
  const int axis = members[0].node.attributes[0];
  MOAI_RETURN_IF_ERROR(CheckSameInputs(members, axis));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 0, "whole"));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 1, "unit"));
  const Parts parts(members, members[0].extents[0], members[0].extents[1]);
  std::vector<const ReferenceTensor*> inputs;
  for (size_t m = 0; m < members.size(); ++m) {
    MOAI_RETURN_IF_ERROR(parts.Check(m, axis, members[m].input->type.shape[axis]));
    inputs.push_back(members[m].input);
  }
  MOAI_ASSIGN_OR_RETURN(const ReferenceTensor joined, Join(inputs, axis, members[0].output));
  return Tensors(members.size(), joined);
}

absl::StatusOr<Tensors> ReduceScatter(Members members) {
  const int axis = members[0].node.attributes[0];
  MOAI_RETURN_IF_ERROR(CheckSameInputs(members));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 1, "unit"));
  MOAI_ASSIGN_OR_RETURN(const ReferenceTensor combined,
                        Combine(members, ReduceOf(members[0].node)));
  const Parts parts(members, combined.type.shape[axis], members[0].extents[1]);
  Tensors results;
  for (size_t m = 0; m < members.size(); ++m) {
    MOAI_RETURN_IF_ERROR(parts.Check(m, axis, members[m].extents[0]));
    MOAI_ASSIGN_OR_RETURN(ReferenceTensor part,
                          Cut(combined, axis, parts.begin(m), parts.count(m)));
    results.push_back(std::move(part));
  }
  return results;
}

absl::StatusOr<Tensors> AllToAll(Members members) {
  const int joined = members[0].node.attributes[0], split = members[0].node.attributes[1];
  MOAI_RETURN_IF_ERROR(CheckSameInputs(members, joined));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 0, "whole"));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 1, "unit"));
  MOAI_RETURN_IF_ERROR(CheckSameExtent(members, 3, "split_unit"));
  const Parts before(members, members[0].extents[0], members[0].extents[1]);
  const Parts after(members, members[0].input->type.shape[split], members[0].extents[3]);
  for (size_t m = 0; m < members.size(); ++m) {
    MOAI_RETURN_IF_ERROR(before.Check(m, joined, members[m].input->type.shape[joined]));
    MOAI_RETURN_IF_ERROR(after.Check(m, split, members[m].extents[2]));
  }
  Tensors results;
  for (size_t m = 0; m < members.size(); ++m) {
    Tensors pieces;
    for (const Member& from : members) {
      MOAI_ASSIGN_OR_RETURN(ReferenceTensor piece,
                            Cut(*from.input, split, after.begin(m), after.count(m)));
      pieces.push_back(std::move(piece));
    }
    std::vector<const ReferenceTensor*> inputs;
    for (const ReferenceTensor& piece : pieces) inputs.push_back(&piece);
    MOAI_ASSIGN_OR_RETURN(ReferenceTensor result, Join(inputs, joined, members[m].output));
    results.push_back(std::move(result));
  }
  return results;
}

// The first member's tensor, wherever `members` expect one of its type.
absl::Status CheckReceived(const ReferenceTensor& sent, const Member& member, size_t position) {
  if (member.output == sent.type) return absl::OkStatus();
  return Disagree("member 0 gives a ", ToString(sent.type), ", but member ", position,
                  " expects a ", ToString(member.output));
}

absl::StatusOr<Tensors> BroadcastFromFirst(Members members) {
  for (size_t m = 0; m < members.size(); ++m) {
    MOAI_RETURN_IF_ERROR(CheckReceived(*members[0].input, members[m], m));
  }
  return Tensors(members.size(), *members[0].input);
}

absl::StatusOr<Tensors> Transfer(Members members) {
  if (members.size() != 2 || members[0].node.op != Op::kSend || members[1].node.op != Op::kRecv) {
    return Disagree("takes a send by the first and a recv by the second of two members");
  }
  MOAI_RETURN_IF_ERROR(CheckReceived(*members[0].input, members[1], 1));
  return Tensors{ReferenceTensor::Zeros(members[0].output), *members[0].input};
}

}  // namespace

absl::StatusOr<Tensors> RunCollective(Members members) {
  const Op op = members[0].node.op;
  if (IsTransfer(op)) return Transfer(members);
  MOAI_RETURN_IF_ERROR(CheckSameOp(members));
  switch (op) {
    case Op::kAllReduce:
      return AllReduce(members);
    case Op::kAllGather:
      return AllGather(members);
    case Op::kReduceScatter:
      return ReduceScatter(members);
    case Op::kAllToAll:
      return AllToAll(members);
    case Op::kBroadcastFromFirst:
      return BroadcastFromFirst(members);
    default:
      return absl::UnimplementedError(
          absl::StrCat(Name(op), ": the reference interpreter has no such collective"));
  }
}

}  // namespace moai::reference
