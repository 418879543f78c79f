#include "worker/collectives/testing/collective_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/half.h"
#include "program/collective_bytes.h"
#include "worker/collectives/combine.h"

namespace moai {
namespace {

int64_t Draw(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

template <class T>
T Read(const Bytes& bytes, int64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void Write(Bytes& bytes, int64_t i, T value) {
  std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
}

double ReadFloat(Dtype dtype, const Bytes& bytes, int64_t i) {
  switch (dtype) {
    case Dtype::kF32:
      return Read<float>(bytes, i);
    case Dtype::kBF16:
      return Bfloat16ToFloat(Read<uint16_t>(bytes, i));
    case Dtype::kF16:
      return HalfToFloat(Read<uint16_t>(bytes, i));
    default:
      return Read<double>(bytes, i);
  }
}

void WriteFloat(Dtype dtype, Bytes& bytes, int64_t i, double value) {
  const float narrow = static_cast<float>(value);
  switch (dtype) {
    case Dtype::kF32:
      return Write(bytes, i, narrow);
    case Dtype::kBF16:
      return Write(bytes, i, FloatToBfloat16(narrow));
    case Dtype::kF16:
      return Write(bytes, i, FloatToHalf(narrow));
    default:
      return Write(bytes, i, value);
  }
}

int64_t ReadInteger(Dtype dtype, const Bytes& bytes, int64_t i) {
  if (dtype == Dtype::kI64) return Read<int64_t>(bytes, i);
  if (dtype == Dtype::kI32) return Read<int32_t>(bytes, i);
  return Read<uint8_t>(bytes, i);
}

void WriteInteger(Dtype dtype, Bytes& bytes, int64_t i, int64_t value) {
  if (dtype == Dtype::kI64) return Write(bytes, i, value);
  if (dtype == Dtype::kI32) return Write(bytes, i, static_cast<int32_t>(value));
  Write(bytes, i, static_cast<uint8_t>(value));
}

// A sum or product of two f32 in f64, rounded to f32, is the f32 one.
double CombineFloats(ReduceKind reduce, double a, double b) {
  switch (reduce) {
    case ReduceKind::kSum:
      return a + b;
    case ReduceKind::kProd:
      return a * b;
    case ReduceKind::kMax:
      return std::isnan(a) ? a : std::isnan(b) ? b : std::max(a, b);
    default:
      return std::isnan(a) ? a : std::isnan(b) ? b : std::min(a, b);
  }
}

int64_t CombineIntegers(ReduceKind reduce, int64_t a, int64_t b) {
  const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (reduce) {
    case ReduceKind::kSum:
      return static_cast<int64_t>(x + y);
    case ReduceKind::kProd:
      return static_cast<int64_t>(x * y);
    case ReduceKind::kMax:
      return std::max(a, b);
    case ReduceKind::kMin:
      return std::min(a, b);
    case ReduceKind::kAnd:
      return a & b;
    default:
      return a | b;
  }
}

// Elements [begin, begin + length) along an axis.
Bytes Part(const Bytes& whole, const Shape& shape, int axis, int64_t begin, int64_t length,
           int64_t element) {
  int64_t outer = 1, inner = element;
  for (int d = 0; d < axis; ++d) outer *= shape[d];
  for (int d = axis + 1; d < shape.rank(); ++d) inner *= shape[d];
  Bytes part;
  for (int64_t o = 0; o < outer; ++o) {
    const auto row = whole.begin() + (o * shape[axis] + begin) * inner;
    part.insert(part.end(), row, row + length * inner);
  }
  return part;
}

// A dim of some units for `members` to share.
struct SplitDim {
  int axis = 0;
  int64_t units = 0, unit = 1;
  int64_t whole() const { return units * unit; }
  int64_t begin(int64_t members, int64_t i) const { return PartBegin(units, members, i) * unit; }
  int64_t part(int64_t members, int64_t i) const { return PartOf(units, members, i) * unit; }
};

struct Drawing {
  std::mt19937& random;
  CollectiveCase result;
  int64_t members = 0;
  int64_t element = 0;

  Shape DrawShape(int rank, int64_t scale) {
    Shape shape;
    for (int d = 0; d < rank; ++d) shape.push_back(Draw(random, Draw(random, 0, 4) > 0, 6));
    shape[static_cast<int>(Draw(random, 0, rank - 1))] *= scale;
    return shape;
  }
  SplitDim DrawSplit(int axis) {
    return {axis, Draw(random, 0, 2 * members + 1), Draw(random, 1, 3)};
  }
  Bytes Elements(const Shape& shape) {
    return RandomElements(random, result.dtype, shape.elements());
  }
  ReduceKind DrawReduce() {
    ReduceKind reduce;
    do {
      reduce = static_cast<ReduceKind>(Draw(random, 1, 6));
    } while (!CanCombine(result.dtype, reduce));
    return reduce;
  }

  void Add(Op op, const Shape& input, const Shape& output, std::vector<int32_t> attributes,
           std::vector<int64_t> extents, Bytes given, Bytes expected) {
    Instruction instruction;
    instruction.op = op;
    const auto operand = [&](BufferId buffer, Dtype dtype, const Shape& shape) {
      return Operand{
          .buffer = buffer, .dtype = dtype, .shape = shape, .strides = DenseStrides(shape)};
    };
    if (op != Op::kRecv) instruction.inputs.push_back(operand(0, result.dtype, input));
    const Dtype made = op == Op::kSend ? Dtype::kU8 : result.dtype;
    instruction.outputs.push_back(operand(1, made, output));
    instruction.attributes.assign(attributes.begin(), attributes.end());
    instruction.extents.assign(extents.begin(), extents.end());
    instruction.scratch = 2;
    Program program;
    program.buffers.resize(3);
    program.buffers[2].kind = BufferKind::kScratch;
    program.buffers[2].bytes = CollectiveScratchBytes(instruction);
    program.instructions.push_back(std::move(instruction));
    result.members.push_back({std::move(program), std::move(given), std::move(expected)});
  }

  void AllReduce(int64_t scale) {
    const Shape shape = DrawShape(static_cast<int>(Draw(random, 1, 3)), scale);
    const ReduceKind reduce = DrawReduce();
    std::vector<Bytes> terms;
    for (int64_t i = 0; i < members; ++i) terms.push_back(Elements(shape));
    const Bytes expected = ReferenceReduce(result.dtype, reduce, terms);
    for (const Bytes& term : terms) {
      Add(Op::kAllReduce, shape, shape, {0, static_cast<int32_t>(reduce)}, {}, term, expected);
    }
  }

  void AllGather(int64_t scale) {
    Shape whole = DrawShape(3, scale);
    const SplitDim dim = DrawSplit(static_cast<int>(Draw(random, 0, 2)));
    whole[dim.axis] = dim.whole();
    const Bytes tensor = Elements(whole);
    for (int64_t i = 0; i < members; ++i) {
      Shape part = whole;
      part[dim.axis] = dim.part(members, i);
      Add(Op::kAllGather, part, whole, {dim.axis, 0}, {dim.whole(), dim.unit},
          Part(tensor, whole, dim.axis, dim.begin(members, i), part[dim.axis], element), tensor);
    }
  }

  void ReduceScatter(int64_t scale) {
    Shape whole = DrawShape(3, scale);
    const SplitDim dim = DrawSplit(static_cast<int>(Draw(random, 0, 2)));
    whole[dim.axis] = dim.whole();
    const ReduceKind reduce = DrawReduce();
    std::vector<Bytes> terms;
    for (int64_t i = 0; i < members; ++i) terms.push_back(Elements(whole));
    const Bytes combined = ReferenceReduce(result.dtype, reduce, terms);
    for (int64_t i = 0; i < members; ++i) {
      Shape part = whole;
      part[dim.axis] = dim.part(members, i);
      Add(Op::kReduceScatter, whole, part, {dim.axis, 0, static_cast<int32_t>(reduce)},
          {part[dim.axis], dim.unit}, terms[i],
          Part(combined, whole, dim.axis, dim.begin(members, i), part[dim.axis], element));
    }
  }

  void AllToAll(int64_t scale) {
    Shape whole = DrawShape(4, scale);
    const int axis = static_cast<int>(Draw(random, 0, 3));
    const SplitDim joined = DrawSplit(axis);
    const SplitDim split = DrawSplit((axis + static_cast<int>(Draw(random, 1, 3))) % 4);
    whole[joined.axis] = joined.whole();
    whole[split.axis] = split.whole();
    const Bytes tensor = Elements(whole);
    for (int64_t i = 0; i < members; ++i) {
      Shape before = whole, after = whole;
      before[joined.axis] = joined.part(members, i);
      after[split.axis] = split.part(members, i);
      Add(Op::kAllToAll, before, after, {joined.axis, split.axis, 0},
          {joined.whole(), joined.unit, after[split.axis], split.unit},
          Part(tensor, whole, joined.axis, joined.begin(members, i), before[joined.axis], element),
          Part(tensor, whole, split.axis, split.begin(members, i), after[split.axis], element));
    }
  }

  void Broadcast(int64_t scale) {
    const Shape shape = DrawShape(2, scale);
    const Bytes tensor = Elements(shape);
    for (int64_t i = 0; i < members; ++i) {
      const Shape given = i == 0 ? shape : Shape{0};
      Add(Op::kBroadcastFromFirst, given, shape, {0, 2}, {shape[0], shape[1]},
          i == 0 ? tensor : Bytes(), tensor);
    }
  }

  void Pair(int64_t scale) {
    result.group.resize(2);
    const Shape shape = DrawShape(2, scale);
    const Bytes tensor = Elements(shape);
    Add(Op::kSend, shape, {0}, {0}, {}, tensor, {});
    Add(Op::kRecv, {0}, shape, {static_cast<int32_t>(result.dtype), 0, 2}, {shape[0], shape[1]}, {},
        tensor);
  }
};

}  // namespace

CollectiveCase DrawCollective(std::mt19937& random, uint32_t devices, int64_t scale) {
  Drawing drawing{.random = random};
  DeviceGroup& group = drawing.result.group;
  group.resize(devices);
  std::iota(group.begin(), group.end(), 0);
  std::shuffle(group.begin(), group.end(), random);
  group.resize(Draw(random, 1, devices));
  drawing.members = static_cast<int64_t>(group.size());
  drawing.result.dtype = kAllDtypes[Draw(random, 0, std::size(kAllDtypes) - 1)];
  drawing.element = ByteSize(drawing.result.dtype);
  switch (Draw(random, 0, drawing.members >= 2 ? 5 : 4)) {
    case 0:
      drawing.AllReduce(scale);
      break;
    case 1:
      drawing.AllGather(scale);
      break;
    case 2:
      drawing.ReduceScatter(scale);
      break;
    case 3:
      drawing.AllToAll(scale);
      break;
    case 4:
      drawing.Broadcast(scale);
      break;
    default:
      drawing.Pair(scale);
  }
  CollectiveCase& result = drawing.result;
  const Instruction& first = result.members[0].program.instructions[0];
  result.text = absl::StrCat(Entry(first.op).name, " in group ", absl::StrJoin(group, ","), ": ",
                             first.inputs.empty() ? "" : ToString(first.inputs[0].type()), " -> ",
                             ToString(first.outputs[0].type()), ", attributes ",
                             absl::StrJoin(first.attributes, ","), ", extents ",
                             absl::StrJoin(first.extents, ","));
  return std::move(drawing.result);
}

bool SameElements(Dtype dtype, const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) return false;
  if (a == b) return true;
  const int64_t element = ByteSize(dtype);
  for (int64_t i = 0; i < static_cast<int64_t>(a.size()) / element; ++i) {
    if (std::memcmp(a.data() + i * element, b.data() + i * element, element) == 0) continue;
    if (!IsFloat(dtype)) return false;
    if (!std::isnan(ReadFloat(dtype, a, i)) || !std::isnan(ReadFloat(dtype, b, i))) return false;
  }
  return true;
}

Bytes ReferenceReduce(Dtype dtype, ReduceKind reduce, const std::vector<Bytes>& terms) {
  Bytes result(terms[0].size());
  for (int64_t i = 0; i < static_cast<int64_t>(result.size()) / ByteSize(dtype); ++i) {
    if (IsFloat(dtype)) {
      double value = ReadFloat(dtype, terms[0], i);
      for (size_t t = 1; t < terms.size(); ++t) {
        value = CombineFloats(reduce, value, ReadFloat(dtype, terms[t], i));
        if (dtype != Dtype::kF64) value = static_cast<float>(value);
      }
      WriteFloat(dtype, result, i, value);
    } else {
      int64_t value = ReadInteger(dtype, terms[0], i);
      for (size_t t = 1; t < terms.size(); ++t) {
        value = CombineIntegers(reduce, value, ReadInteger(dtype, terms[t], i));
      }
      WriteInteger(dtype, result, i, value);
    }
  }
  return result;
}

Bytes RandomElements(std::mt19937& random, Dtype dtype, int64_t count) {
  Bytes bytes(count * ByteSize(dtype));
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = random();
    if (dtype == Dtype::kBool) {
      WriteInteger(dtype, bytes, i, bits & 1);
    } else if (!IsFloat(dtype)) {
      WriteInteger(dtype, bytes, i, static_cast<int64_t>(uint64_t{bits} * bits));
    } else if (bits % 97 == 0) {
      WriteFloat(dtype, bytes, i, std::numeric_limits<double>::quiet_NaN());
    } else {
      WriteFloat(dtype, bytes, i, static_cast<double>(static_cast<int32_t>(bits)) * 0x1p-29);
    }
  }
  return bytes;
}

}  // namespace moai
