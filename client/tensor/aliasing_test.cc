// Random sequences of views and in-place ops against strided arrays that are updated at once.
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "client/capture/recorder.h"
#include "client/tensor/ops.h"
#include "client/tensor/tensor.h"
#include "client/testing/reference_session.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

// What PyTorch does: a buffer, and strides over it.
struct Array {
  std::shared_ptr<std::vector<float>> buffer;
  Shape shape;
  Shape strides;
  int64_t offset = 0;

  // Calls `visit` with the buffer position of each element in row-major order.
  void ForEach(const std::function<void(int64_t)>& visit) const {
    const int64_t count = shape.elements();
    for (int64_t e = 0; e < count; ++e) {
      int64_t rest = e;
      int64_t position = offset;
      for (int d = shape.rank() - 1; d >= 0; --d) {
        position += rest % shape[d] * strides[d];
        rest /= shape[d];
      }
      visit(position);
    }
  }
  std::vector<int64_t> Positions() const {
    std::vector<int64_t> positions;
    ForEach([&](int64_t position) { positions.push_back(position); });
    return positions;
  }
  std::vector<float> Elements() const {
    std::vector<float> elements;
    ForEach([&](int64_t position) { elements.push_back((*buffer)[position]); });
    return elements;
  }
  void Store(const std::vector<float>& elements) const {
    size_t next = 0;
    ForEach([&](int64_t position) { (*buffer)[position] = elements[next++]; });
  }
  static Array Dense(const Shape& shape, std::vector<float> elements) {
    return {std::make_shared<std::vector<float>>(std::move(elements)), shape, DenseStrides(shape)};
  }
};

// A view if any strides show the same positions in the same order; found by trying the only strides
// that could.
Array Reshaped(const Array& array, const Shape& to) {
  const std::vector<int64_t> positions = array.Positions();
  Array view = {array.buffer, to, DenseStrides(to), array.offset};
  int64_t inner = 1;
  for (int d = to.rank() - 1; d >= 0; --d) {
    view.strides[d] = to[d] > 1 ? positions[inner] - positions[0] : 0;
    inner *= to[d];
  }
  if (view.Positions() == positions) return view;
  return Array::Dense(to, array.Elements());
}

struct Pair {
  Tensor tensor;
  Array array;
  bool writable = true;  // not through an expanded view
};

class AliasingTest : public ::testing::TestWithParam<int> {
 protected:
  AliasingTest() : random_(GetParam()) {
    Recorder::SetCurrent(Recorder::Create(std::make_shared<ReferenceSession>()));
  }
  ~AliasingTest() override { Recorder::SetCurrent(nullptr); }

  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  Pair& Any() { return pairs_[Int(0, pairs_.size() - 1)]; }

  void MakeTensor() {
    Shape shape;
    for (int64_t d = Int(1, 3); d > 0; --d) shape.push_back(Int(1, 4));
    std::vector<float> elements(shape.elements());
    for (float& element : elements) element = static_cast<float>(Int(-9, 9));
    Tensor tensor = Tensor::FromData(elements, shape);
    if (Int(0, 1) == 0) tensor.MakeState();
    pairs_.push_back({tensor, Array::Dense(shape, elements)});
  }

  void MakeView() {
    const Pair of = Any();
    const int dim = static_cast<int>(Int(0, of.array.shape.rank() - 1));
    Pair view = of;
    switch (Int(0, 5)) {
      case 0: {  // transpose
        const int other = static_cast<int>(Int(0, of.array.shape.rank() - 1));
        view.tensor = of.tensor.Transpose(dim, other);
        std::swap(view.array.shape[dim], view.array.shape[other]);
        std::swap(view.array.strides[dim], view.array.strides[other]);
        break;
      }
      case 1: {  // slice
        const int64_t start = Int(0, of.array.shape[dim] - 1);
        const int64_t limit = Int(start + 1, of.array.shape[dim]);
        const int64_t step = Int(1, 2);
        view.tensor = of.tensor.Slice(dim, start, limit, step);
        view.array.shape[dim] = (limit - start + step - 1) / step;
        view.array.offset += start * of.array.strides[dim];
        view.array.strides[dim] *= step;
        break;
      }
      case 2: {  // select
        if (of.array.shape.rank() == 1) return;
        const int64_t position = Int(0, of.array.shape[dim] - 1);
        view.tensor = of.tensor.Select(dim, position);
        view.array.offset += position * of.array.strides[dim];
        view.array.shape.Erase(dim);
        view.array.strides.Erase(dim);
        break;
      }
      case 3: {  // unsqueeze
        if (of.array.shape.rank() > 4) return;
        view.tensor = of.tensor.Unsqueeze(dim);
        view.array.shape.Insert(dim, 1);
        view.array.strides.Insert(dim, 0);
        break;
      }
      case 4: {  // flatten, or split the first dim in two
        Shape to = {of.array.shape.elements()};
        if (Int(0, 1) == 0 && of.array.shape[0] % 2 == 0 && of.array.shape.rank() < 5) {
          to = of.array.shape;
          to[0] /= 2;
          to.Insert(0, 2);
        }
        view.tensor = of.tensor.Reshape(to);
        view.array = Reshaped(of.array, to);
        // A copy is writable again, whatever it was copied from.
        view.writable |= view.array.buffer != of.array.buffer;
        break;
      }
      default: {  // expand
        if (of.array.shape.rank() > 4) return;
        Shape to = of.array.shape;
        to.Insert(0, 2);
        view.tensor = of.tensor.Expand(to);
        view.array.shape = to;
        view.array.strides.Insert(0, 0);
        view.writable = false;
      }
    }
    EXPECT_EQ(view.tensor.SharesStorage(of.tensor), view.array.buffer == of.array.buffer);
    pairs_.push_back(view);
  }

  void Write() {
    Pair& pair = Any();
    if (!pair.writable) return;
    std::vector<float> elements = pair.array.Elements();
    const float number = static_cast<float>(Int(-5, 5));
    switch (Int(0, 3)) {
      case 0:
        pair.tensor.Fill_(number);
        for (float& element : elements) element = number;
        break;
      case 1:
        pair.tensor.Add_(number);
        for (float& element : elements) element += number;
        break;
      case 2:
        pair.tensor.Mul_(-1);
        for (float& element : elements) element = -element;
        break;
      default: {
        // From any tensor of the shape, which may overlap the one that is written.
        const Pair& from = Any();
        if (!(from.array.shape == pair.array.shape)) return;
        elements = from.array.Elements();
        pair.tensor.Copy_(from.tensor);
      }
    }
    pair.array.Store(elements);
  }

  void Compare(const Pair& pair) {
    const absl::StatusOr<std::vector<float>> elements = pair.tensor.ToVector<float>();
    ASSERT_TRUE(elements.ok()) << elements.status();
    EXPECT_EQ(*elements, pair.array.Elements());
  }

  std::mt19937_64 random_;
  std::vector<Pair> pairs_;
};

TEST_P(AliasingTest, EqualsStridedArrays) {
  MakeTensor();
  for (int i = 0; i < 60 && !HasFailure(); ++i) {
    switch (Int(0, 9)) {
      case 0:
        MakeTensor();
        break;
      case 1:
      case 2:
      case 3:
        MakeView();
        break;
      case 4:
        ASSERT_TRUE(Recorder::Current()->Flush().ok());
        break;
      case 5:
        if (pairs_.size() > 3) pairs_.erase(pairs_.begin() + Int(0, pairs_.size() - 1));
        break;
      case 6:
        Compare(Any());
        break;
      default:
        Write();
    }
  }
  for (const Pair& pair : pairs_) Compare(pair);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AliasingTest, ::testing::Range(0, 200));

}  // namespace
}  // namespace moai
