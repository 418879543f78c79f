// index_select, index_add, gather, scatter, scatter_add. Positions are data: each is checked where
// it is used, and one out of range raises the step's error and is skipped.
#include <algorithm>
#include <cstring>

#include "worker/kernels/cpu/group_ids.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {
namespace {

// What updates are added up in: wider than 16-bit floats, wrapping for integers.
template <class T>
using SumType = std::conditional_t<kIsFloatType<T>, ComputeType<T>, uint64_t>;

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
    // Rows of no bytes: each position is looked at once.
    const int64_t rows = row == 0 ? std::min<int64_t>(out_view.outer, 1) * out_view.extent
                                  : out_view.outer * out_view.extent;
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
  auto scratch = ScratchFor(context, GroupIdsBytes(view.extent, count));
  if (!scratch.ok()) return scratch.status();
  KernelOr kernel = UnsupportedTypes(context);
  VisitNumber(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, work = *scratch, x = In(context, 0), ids = In(context, 1),
                         ids_dtype = context.input_dtype(1), updates = In(context, 2),
                         out = Out(context, 0), instruction = context.index,
                         threads = context.device.threads](const KernelArguments& arguments) {
      const GroupedIds groups =
          GroupIds(Indices(arguments, ids, ids_dtype), count, {0, view.extent, view.extent},
                   work.at<int64_t>(arguments), instruction, arguments.errors);
      const T* base = x.at<const T>(arguments);
      const T* from = updates.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const int64_t rows = view.inner == 0 ? 0 : view.outer * view.extent;
      ParallelFor(threads, rows, GrainFor(rows, view.inner * sizeof(T)),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t row = begin; row < end; ++row) {
                      const int64_t outer = row / view.extent, id = row % view.extent;
                      constexpr int64_t kColumns = 64;
                      for (int64_t c = 0; c < view.inner; c += kColumns) {
                        const int64_t columns = std::min(kColumns, view.inner - c);
                        const int64_t at = row * view.inner + c;
                        SumType<T> sums[kColumns];
                        for (int64_t i = 0; i < columns; ++i) sums[i] = SumType<T>(base[at + i]);
                        for (int64_t p = groups.starts[id]; p < groups.starts[id + 1]; ++p) {
                          const T* update =
                              from + (outer * count + groups.positions[p]) * view.inner + c;
                          for (int64_t i = 0; i < columns; ++i) sums[i] += SumType<T>(update[i]);
                        }
                        for (int64_t i = 0; i < columns; ++i) to[at + i] = T(sums[i]);
                      }
                    }
                  });
    });
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

// A line along the axis belongs to one thread, which goes through its updates in order.
KernelOr MakeScatterKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView view = ViewAxis(context.input_shape(0), axis);
  const AxisView ids_view = ViewAxis(context.input_shape(1), axis);
  const int64_t bytes = context.instruction.outputs[0].type().bytes();
  KernelOr kernel = UnsupportedTypes(context);
  VisitSize(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, x = In(context, 0), ids = In(context, 1),
                         ids_dtype = context.input_dtype(1), updates = In(context, 2),
                         out = Out(context, 0), instruction = context.index,
                         threads = context.device.threads](const KernelArguments& arguments) {
      T* to = out.at<T>(arguments);
      CopyAll(threads, x.at<const std::byte>(arguments), out.at<std::byte>(arguments), bytes);
      const T* from = updates.at<const T>(arguments);
      const IndexReader index = Indices(arguments, ids, ids_dtype);
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
                        to[(outer * view.extent + id) * view.inner + inner] = from[e];
                      }
                    }
                  });
    });
  });
  return kernel;
}

// As scatter, but a line is summed in scratch, in a wider type, and rounded once.
KernelOr MakeScatterAddKernel(const KernelContext& context) {
  const int axis = context.instruction.attributes[0];
  const AxisView view = ViewAxis(context.input_shape(0), axis);
  const AxisView ids_view = ViewAxis(context.input_shape(1), axis);
  auto scratch = ScratchFor(context, 8 * context.device.threads * view.extent);
  if (!scratch.ok()) return scratch.status();
  KernelOr kernel = UnsupportedTypes(context);
  VisitNumber(context.output_dtype(0), [&](auto tag) {
    using T = typename decltype(tag)::type;
    kernel = MakeKernel([=, work = *scratch, x = In(context, 0), ids = In(context, 1),
                         ids_dtype = context.input_dtype(1), updates = In(context, 2),
                         out = Out(context, 0), instruction = context.index,
                         threads = context.device.threads](const KernelArguments& arguments) {
      const T* base = x.at<const T>(arguments);
      const T* from = updates.at<const T>(arguments);
      T* to = out.at<T>(arguments);
      const IndexReader index = Indices(arguments, ids, ids_dtype);
      const int64_t lines = view.outer * view.inner;
      ParallelFor(threads, lines, GrainFor(lines, 16 * (ids_view.extent + view.extent)),
                  [&](int64_t begin, int64_t end, int thread) {
                    SumType<T>* sums = reinterpret_cast<SumType<T>*>(work.at<int64_t>(arguments) +
                                                                     thread * view.extent);
                    for (int64_t line = begin; line < end; ++line) {
                      const int64_t outer = line / view.inner, inner = line % view.inner;
                      const int64_t first = outer * view.extent * view.inner + inner;
                      for (int64_t i = 0; i < view.extent; ++i) {
                        sums[i] = SumType<T>(base[first + i * view.inner]);
                      }
                      for (int64_t k = 0; k < ids_view.extent; ++k) {
                        const int64_t e = (outer * ids_view.extent + k) * ids_view.inner + inner;
                        const int64_t id = index[e];
                        if (id < 0 || id >= view.extent) {
                          arguments.errors->RaiseIndexOutOfRange(instruction, id, view.extent);
                          continue;
                        }
                        sums[id] += SumType<T>(from[e]);
                      }
                      for (int64_t i = 0; i < view.extent; ++i) {
                        to[first + i * view.inner] = T(sums[i]);
                      }
                    }
                  });
    });
  });
  return kernel;
}

}  // namespace moai
