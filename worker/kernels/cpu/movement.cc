// concat, pad, slice_update: elements move, their values do not matter.
#include <cstring>
#include <vector>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

// Calls body(row index in `shape`, offset in the strided tensor) for rows [begin, end), where a row
// is a run along the last dim. Requires rank >= 1.
template <class Body>
void ForEachRow(const Shape& shape, const Shape& strides, int64_t offset, int64_t begin,
                int64_t end, const Body& body) {
  const int outer = shape.rank() - 1;
  Shape position = Shape::Filled(outer, 0);
  int64_t rest = begin;
  for (int d = outer - 1; d >= 0; --d) {
    position[d] = rest % shape[d];
    rest /= shape[d];
    offset += position[d] * strides[d];
  }
  for (int64_t row = begin; row < end; ++row) {
    body(row, offset);
    for (int d = outer - 1; d >= 0; --d) {
      offset += strides[d];
      if (++position[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      position[d] = 0;
    }
  }
}

int64_t RowCount(const Shape& shape) {
  int64_t rows = 1;
  for (int d = 0; d + 1 < shape.rank(); ++d) rows *= shape[d];
  return rows;
}

// Copies a dense tensor to the strided place (offset, strides) of another.
template <class T>
void CopyInto(int threads, const Shape& shape, const T* from, T* to, const Shape& strides,
              int64_t offset) {
  if (shape.elements() == 0) return;
  if (shape.rank() == 0) {
    to[offset] = from[0];
    return;
  }
  const int64_t length = shape.back();
  const int64_t step = strides[shape.rank() - 1];
  const int64_t rows = RowCount(shape);
  ParallelFor(threads, rows, GrainFor(rows, length * sizeof(T)),
              [&](int64_t begin, int64_t end, int) {
                ForEachRow(shape, strides, offset, begin, end, [&](int64_t row, int64_t at) {
                  const T* source = from + row * length;
                  if (step == 1) {
                    std::memcpy(to + at, source, length * sizeof(T));
                  } else {
                    for (int64_t i = 0; i < length; ++i) to[at + i * step] = source[i];
                  }
                });
              });
}

void CopyBytes(int threads, const std::byte* from, std::byte* to, int64_t bytes) {
  ParallelFor(threads, bytes, GrainFor(bytes, 1), [&](int64_t begin, int64_t end, int) {
    std::memcpy(to + begin, from + begin, end - begin);
  });
}

}  // namespace

KernelOr MakeConcatKernel(const KernelContext& context) {
  struct Part {
    Address from;
    int64_t bytes;   // of one block: the part's extent times the inner dims
    int64_t offset;  // of its block within an output block
  };
  const int axis = context.instruction.attributes[0];
  const AxisView out_view = ViewAxis(context.output_shape(0), axis);
  const int64_t element = ByteSize(context.output_dtype(0));
  const int64_t block = out_view.extent * out_view.inner * element;
  std::vector<Part> parts;
  int64_t offset = 0;
  for (size_t i = 0; i < context.instruction.inputs.size(); ++i) {
    const int64_t bytes = context.input_shape(i)[axis] * out_view.inner * element;
    if (bytes > 0) parts.push_back({In(context, i), bytes, offset});
    offset += bytes;
  }
  return MakeKernel([parts, block, outer = out_view.outer, out = Out(context, 0),
                     threads = context.device.threads](const KernelArguments& arguments) {
    std::byte* to = out.at<std::byte>(arguments);
    for (const Part& part : parts) {
      const std::byte* from = part.from.at<std::byte>(arguments);
      if (outer == 1) {
        CopyBytes(threads, from, to + part.offset, part.bytes);
        continue;
      }
      ParallelFor(threads, outer, GrainFor(outer, part.bytes),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t o = begin; o < end; ++o) {
                      std::memcpy(to + o * block + part.offset, from + o * part.bytes, part.bytes);
                    }
                  });
    }
  });
}

KernelOr MakePadKernel(const KernelContext& context) {
  const Shape shape = context.input_shape(0);
  const Shape strides = DenseStrides(context.output_shape(0));
  int64_t offset = 0;
  for (int d = 0; d < shape.rank(); ++d) {
    // extents: low, high of each dim.
    offset += context.instruction.extents[2 * d] * strides[d];
  }
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, elements = context.output_shape(0).elements(), x = In(context, 0),
                         value = In(context, 1), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      T* to = out.at<T>(arguments);
      const T padding = *value.at<const T>(arguments);
      ParallelFor(
          threads, elements, GrainFor(elements, sizeof(T)),
          [&](int64_t begin, int64_t end, int) { std::fill(to + begin, to + end, padding); });
      CopyInto<T>(threads, shape, x.at<const T>(arguments), to, strides, offset);
    });
  });
  return kernel;
}

KernelOr MakeSliceUpdateKernel(const KernelContext& context) {
  const Shape shape = context.input_shape(1);
  Shape strides = DenseStrides(context.output_shape(0));
  int64_t offset = 0;
  for (int d = 0; d < shape.rank(); ++d) {
    // extents: start, step of each dim.
    offset += context.instruction.extents[2 * d] * strides[d];
    strides[d] *= context.instruction.extents[2 * d + 1];
  }
  const int64_t bytes = context.instruction.outputs[0].type().bytes();
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), update = In(context, 1), out = Out(context, 0),
                         threads = context.device.threads](const KernelArguments& arguments) {
      // x and the output may be one buffer.
      const std::byte* from = x.at<const std::byte>(arguments);
      std::byte* to = out.at<std::byte>(arguments);
      if (from != to) CopyBytes(threads, from, to, bytes);
      CopyInto<T>(threads, shape, update.at<const T>(arguments), out.at<T>(arguments), strides,
                  offset);
    });
  });
  return kernel;
}

}  // namespace moai
