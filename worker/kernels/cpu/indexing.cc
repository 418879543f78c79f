// index_select, index_add, gather, scatter, scatter_add. Positions are data: each is checked where
// it is used, and one out of range raises the step's error and is skipped.
#include <algorithm>
#include <cstring>

#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

template <class T>
T Sum(T a, T b) {
  if constexpr (kIsFloatType<T>) {
    return T(static_cast<ComputeType<T>>(a) + static_cast<ComputeType<T>>(b));
  } else {
    // Integers wrap.
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
}

// Copies x to the output, unless they are one buffer.
void CopyAll(int threads, const std::byte* from, std::byte* to, int64_t bytes) {
  if (from == to) return;
  ParallelFor(threads, bytes, GrainFor(bytes, 1), [&](int64_t begin, int64_t end, int) {
    std::memcpy(to + begin, from + begin, end - begin);
  });
}

}  // namespace

KernelOr MakeIndexSelectKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView x_view = ViewAxis(context.input_shape(0), axis);
  const AxisView out_view = ViewAxis(context.output_shape(0), axis);
  const int64_t row = x_view.inner * ByteSize(context.input_dtype(0));
  return MakeKernel([=, x = In(context, 0), ids = In(context, 1),
                     ids_dtype = context.input_dtype(1), out = Out(context, 0),
                     instruction = context.index,
                     threads = context.device.threads](const KernelArguments& arguments) {
    const std::byte* from = x.at<const std::byte>(arguments);
    std::byte* to = out.at<std::byte>(arguments);
    const IndexReader index = Indices(arguments, ids, ids_dtype);
    const int64_t rows = out_view.outer * out_view.extent;
    ParallelFor(threads, rows, GrainFor(rows, row), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t id = index[r % out_view.extent];
        if (id < 0 || id >= x_view.extent) {
          arguments.errors->RaiseIndexOutOfRange(instruction, id, x_view.extent);
          std::memset(to + r * row, 0, row);
          continue;
        }
        std::memcpy(to + r * row, from + (r / out_view.extent * x_view.extent + id) * row, row);
      }
    });
  });
}

KernelOr MakeIndexAddKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView view = ViewAxis(context.input_shape(0), axis);
  const int64_t count = context.input_shape(1).elements();
  const int64_t bytes = context.instruction.outputs[0].type().bytes();
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same_v<T, bool>) {
      kernel = MakeKernel([=, x = In(context, 0), ids = In(context, 1),
                           ids_dtype = context.input_dtype(1), updates = In(context, 2),
                           out = Out(context, 0), instruction = context.index,
                           threads = context.device.threads](const KernelArguments& arguments) {
        T* to = out.at<T>(arguments);
        CopyAll(threads, x.at<const std::byte>(arguments), out.at<std::byte>(arguments), bytes);
        const T* from = updates.at<const T>(arguments);
        const IndexReader index = Indices(arguments, ids, ids_dtype);
        // Columns are dealt out; the updates of one element are added in their order.
        const int64_t columns = view.outer * view.inner;
        ParallelFor(threads, columns, GrainFor(columns, count * sizeof(T)),
                    [&](int64_t begin, int64_t end, int) {
                      for (int64_t c = begin; c < end;) {
                        const int64_t outer = c / view.inner, inner = c % view.inner;
                        const int64_t run = std::min(end - c, view.inner - inner);
                        for (int64_t k = 0; k < count; ++k) {
                          const int64_t id = index[k];
                          if (id < 0 || id >= view.extent) {
                            arguments.errors->RaiseIndexOutOfRange(instruction, id, view.extent);
                            continue;
                          }
                          T* target = to + (outer * view.extent + id) * view.inner + inner;
                          const T* source = from + (outer * count + k) * view.inner + inner;
                          for (int64_t i = 0; i < run; ++i) target[i] = Sum(target[i], source[i]);
                        }
                        c += run;
                      }
                    });
      });
    }
  });
  return kernel;
}

KernelOr MakeGatherKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView x_view = ViewAxis(context.input_shape(0), axis);
  const AxisView out_view = ViewAxis(context.output_shape(0), axis);
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), ids = In(context, 1),
                         ids_dtype = context.input_dtype(1), out = Out(context, 0),
                         instruction = context.index,
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* from = x.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const IndexReader index = Indices(arguments, ids, ids_dtype);
      const int64_t elements = out_view.outer * out_view.extent * out_view.inner;
      ParallelFor(threads, elements, GrainFor(elements, 16), [&](int64_t begin, int64_t end, int) {
        for (int64_t e = begin; e < end; ++e) {
          const int64_t id = index[e];
          if (id < 0 || id >= x_view.extent) {
            arguments.errors->RaiseIndexOutOfRange(instruction, id, x_view.extent);
            to[e] = T{0};
            continue;
          }
          const int64_t inner = e % out_view.inner;
          const int64_t outer = e / (out_view.inner * out_view.extent);
          to[e] = from[(outer * x_view.extent + id) * x_view.inner + inner];
        }
      });
    });
  });
  return kernel;
}

KernelOr MakeScatterKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView view = ViewAxis(context.input_shape(0), axis);
  const AxisView ids_view = ViewAxis(context.input_shape(1), axis);
  const bool add = context.instruction.op == Op::kScatterAdd;
  const int64_t bytes = context.instruction.outputs[0].type().bytes();
  KernelOr kernel = UnsupportedTypes(context);
  VisitAny(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), ids = In(context, 1),
                         ids_dtype = context.input_dtype(1), updates = In(context, 2),
                         out = Out(context, 0), instruction = context.index,
                         threads = context.device.threads](const KernelArguments& arguments) {
      T* to = out.at<T>(arguments);
      CopyAll(threads, x.at<const std::byte>(arguments), out.at<std::byte>(arguments), bytes);
      const T* from = updates.at<const T>(arguments);
      const IndexReader index = Indices(arguments, ids, ids_dtype);
      // A line along the axis belongs to one thread, which goes through its updates in order.
      const int64_t lines = ids_view.outer * ids_view.inner;
      ParallelFor(threads, lines, GrainFor(lines, 16 * ids_view.extent),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t line = begin; line < end; ++line) {
                      const int64_t outer = line / ids_view.inner, inner = line % ids_view.inner;
                      for (int64_t k = 0; k < ids_view.extent; ++k) {
                        const int64_t e = (outer * ids_view.extent + k) * ids_view.inner + inner;
                        const int64_t id = index[e];
                        if (id < 0 || id >= view.extent) {
                          arguments.errors->RaiseIndexOutOfRange(instruction, id, view.extent);
                          continue;
                        }
                        T& target = to[(outer * view.extent + id) * view.inner + inner];
                        target = add ? Sum(target, from[e]) : from[e];
                      }
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
