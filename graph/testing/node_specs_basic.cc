// Pointwise, movement, creation and reductions.
#include <algorithm>
#include <numeric>

#include "graph/testing/node_specs.h"

namespace moai::testing_internal {

int64_t SpecMaker::Extent() {
  if (options_.allow_empty && OneOf(12)) return 0;
  return Int(1, options_.max_extent);
}

int64_t SpecMaker::Few(int64_t most) { return Int(1, std::min(most, options_.max_extent)); }

Shape SpecMaker::RandomShape(int min_rank, int max_rank) {
  Shape shape;
  const int rank = static_cast<int>(Int(min_rank, max_rank));
  for (int i = 0; i < rank; ++i) shape.push_back(Extent());
  return shape;
}

Dtype SpecMaker::FloatDtype() {
  constexpr Dtype kFloats[] = {Dtype::kF32, Dtype::kBF16, Dtype::kF16, Dtype::kF64};
  return kFloats[Int(0, 3)];
}

NodeSpec SpecMaker::Pointwise() {
  const Shape shape = RandomShape(0, 4);
  const int inputs = Entry(spec_.op).min_inputs;
  for (int i = 0; i < inputs; ++i) {
    const Dtype dtype = spec_.op == Op::kSelect && i == 0 ? Dtype::kBool : dtype_;
    Input(dtype, OneOf(5) ? Shape() : shape);
  }
  if (spec_.op == Op::kCast) Attributes({Int(1, 8)});
  return Take();
}

void SpecMaker::PartOfLarger(const Shape& shape) {
  Shape whole, start;
  for (int64_t extent : shape) {
    start.push_back(OneOf(2) ? 0 : Int(0, 9));
    whole.push_back(start.back() + extent + (OneOf(2) ? 0 : Int(0, 9)));
  }
  Extents(whole);
  Extents(start);
}

void SpecMaker::Created(int min_rank) {
  const Shape shape = RandomShape(min_rank, 4);
  Extents(shape);
  if (spec_.op != Op::kFill && shape.rank() > 0 && OneOf(2)) PartOfLarger(shape);
  switch (spec_.op) {
    case Op::kFill:
      Input({});
      Attributes({shape.rank()});
      return;
    case Op::kIota:
      Attributes({static_cast<int64_t>(dtype_), Int(0, shape.rank() - 1), shape.rank()});
      return;
    default:
      Input(Dtype::kI64, {});
      Input(Dtype::kI64, {});
      if (spec_.op == Op::kRandomBernoulli) Input(Dtype::kF32, {});
      Attributes({static_cast<int64_t>(dtype_), Int(0, 1000), shape.rank()});
  }
}

void SpecMaker::Concat() {
  Shape shape = RandomShape(1, 4);
  const int axis = static_cast<int>(Int(0, shape.rank() - 1));
  const int64_t inputs = Int(1, 4);
  for (int64_t i = 0; i < inputs; ++i) {
    shape[axis] = Extent();
    Input(shape);
  }
  Attributes({axis});
}

bool SpecMaker::Movement() {
  switch (spec_.op) {
    case Op::kReshape: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      // Merge random neighbours, then add ones.
      Shape target;
      for (int64_t extent : shape) {
        if (target.rank() > 0 && OneOf(2)) {
          target[target.rank() - 1] *= extent;
        } else {
          target.push_back(extent);
        }
      }
      while (target.rank() < 5 && OneOf(3)) {
        target.Insert(static_cast<int>(Int(0, target.rank())), 1);
      }
      if (OneOf(4)) target = {shape.elements()};
      Attributes({target.rank()});
      Extents(target);
      return true;
    }
    case Op::kTranspose: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      for (int i = 0; i < shape.rank(); ++i) {
        spec_.attributes.insert(spec_.attributes.begin() + Int(0, i), i);
      }
      return true;
    }
    case Op::kBroadcast: {
      const Shape target = RandomShape(0, 4);
      Attributes({target.rank()});
      Shape shape;
      for (int dim = 0; dim < target.rank(); ++dim) {
        if (OneOf(3)) continue;
        shape.push_back(OneOf(3) ? 1 : target[dim]);
        Attributes({dim});
      }
      Input(shape);
      Extents(target);
      return true;
    }
    case Op::kSlice: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      for (int64_t extent : shape) {
        const int64_t start = OneOf(3) ? 0 : Int(0, std::max<int64_t>(extent - 1, 0));
        const int64_t limit =
            OneOf(3) ? extent
                     : Int(options_.allow_empty ? start : std::min(start + 1, extent), extent);
        Extents({start, limit, OneOf(2) ? 1 : Int(1, 3)});
      }
      return true;
    }
    case Op::kFlip: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      for (int dim = 0; dim < shape.rank(); ++dim) {
        if (OneOf(2)) Attributes({dim});
      }
      return true;
    }
    case Op::kSliceUpdate: {
      const Shape shape = RandomShape(0, 4);
      Shape update;
      for (int64_t extent : shape) {
        const int64_t start = OneOf(3) ? 0 : Int(0, std::max<int64_t>(extent - 1, 0));
        const int64_t step = OneOf(2) ? 1 : Int(1, 3);
        const int64_t room = start >= extent ? 0 : (extent - start - 1) / step + 1;
        update.push_back(
            OneOf(3) ? room : Int(options_.allow_empty ? 0 : std::min<int64_t>(1, room), room));
        Extents({start, step});
      }
      Input(shape);
      Input(update);
      return true;
    }
    case Op::kPad: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      Input({});
      for (int i = 0; i < shape.rank(); ++i) Extents({Int(0, 3), Int(0, 3)});
      return true;
    }
    case Op::kConcat:
      Concat();
      return true;
    case Op::kTril:
    case Op::kTriu:
      Input(RandomShape(2, 4));
      Extents({Int(-4, 4)});
      return true;
    case Op::kIota:
      Created(1);
      return true;
    case Op::kFill:
    case Op::kRandomUniform:
    case Op::kRandomNormal:
    case Op::kRandomBernoulli:
      Created(0);
      return true;
    default:
      return false;
  }
}

bool SpecMaker::Reduction() {
  switch (spec_.op) {
    case Op::kReduceSum:
    case Op::kReduceMean:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kReduceProd:
    case Op::kReduceAny:
    case Op::kReduceAll: {
      const Shape shape = RandomShape(0, 4);
      Input(shape);
      for (int dim = 0; dim < shape.rank(); ++dim) {
        if (!OneOf(2)) continue;
        // Axes may come in any order.
        const auto place = OneOf(4) ? spec_.attributes.begin() : spec_.attributes.end();
        spec_.attributes.insert(place, dim);
      }
      return true;
    }
    case Op::kArgmax:
    case Op::kArgmin:
    case Op::kCumsum:
    case Op::kSort:
    case Op::kTopK: {
      Shape shape = RandomShape(1, 4);
      const int axis = static_cast<int>(Int(0, shape.rank() - 1));
      const bool position = spec_.op == Op::kArgmax || spec_.op == Op::kArgmin;
      if (position && shape[axis] == 0) shape[axis] = 1;
      Input(shape);
      Attributes({axis});
      if (spec_.op == Op::kSort) Attributes({Int(0, 1)});
      if (spec_.op == Op::kTopK) {
        Extents({Int(options_.allow_empty ? 0 : std::min<int64_t>(1, shape[axis]), shape[axis])});
      }
      return true;
    }
    default:
      return false;
  }
}

}  // namespace moai::testing_internal
