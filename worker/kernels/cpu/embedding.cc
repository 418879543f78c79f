// embedding and its gradient.
#include <algorithm>
#include <cstring>

#include "graph/parts.h"
#include "worker/kernels/cpu/group_ids.h"
#include "worker/kernels/cpu/kernel_makers.h"
#include "worker/kernels/cpu/parallel.h"

namespace moai {

KernelOr MakeEmbeddingKernel(const KernelContext& context) {
  const TableWindow window = WindowOfTable(context.input_shape(0)[0], context.instruction.extents);
  const int64_t row = context.input_shape(0)[1] * ByteSize(context.input_dtype(0));
  const int64_t count = context.input_shape(1).elements();
  return MakeKernel([=, table = In(context, 0), ids = In(context, 1),
                     ids_dtype = context.input_dtype(1), out = Out(context, 0),
                     instruction = context.index,
                     threads = context.device.threads](const KernelArguments& arguments) {
    const std::byte* from = table.at<const std::byte>(arguments);
    std::byte* to = out.at<std::byte>(arguments);
    const IndexReader index = Indices(arguments, ids, ids_dtype);
    ParallelFor(threads, count, GrainFor(count, row), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t id = index[i];
        const bool valid = window.Valid(id);
        if (valid && window.Holds(id)) {
          std::memcpy(to + i * row, from + (id - window.first) * row, row);
          continue;
        }
        if (!valid) arguments.errors->RaiseIndexOutOfRange(instruction, id, window.whole);
        std::memset(to + i * row, 0, row);
      }
    });
  });
}

KernelOr MakeEmbeddingGradKernel(const KernelContext& context) {
  const int64_t rows = context.output_shape(0)[0];
  const absl::Span<const int64_t> extents = context.instruction.extents;
  const TableWindow window = WindowOfTable(rows, extents.subspan(1));
  const int64_t width = context.output_shape(0)[1];
  const int64_t count = context.input_shape(0).elements();
  auto scratch = ScratchFor(context, GroupIdsBytes(rows, count));
  if (!scratch.ok()) return scratch.status();
  KernelOr kernel = UnsupportedTypes(context);
  VisitFloat(context.input_dtype(1), [&](auto from_tag) {
    VisitFloat(context.output_dtype(0), [&](auto to_tag) {
      using From = typename decltype(from_tag)::type;
      using To = typename decltype(to_tag)::type;
      using Sum = std::conditional_t<std::is_same_v<From, double> || std::is_same_v<To, double>,
                                     double, float>;
      kernel =
          MakeKernel([=, work = *scratch, ids = In(context, 0), ids_dtype = context.input_dtype(0),
                      dy = In(context, 1), out = Out(context, 0), instruction = context.index,
                      threads = context.device.threads](const KernelArguments& arguments) {
            const IndexReader index = Indices(arguments, ids, ids_dtype);
            const GroupedIds groups = GroupIds(index, count, window, work.at<int64_t>(arguments),
                                               instruction, arguments.errors);
            const From* from = dy.at<const From>(arguments);
            To* to = out.at<To>(arguments);
            ParallelFor(threads, rows, GrainFor(rows, width * sizeof(To)),
                        [&](int64_t begin, int64_t end, int) {
                          for (int64_t v = begin; v < end; ++v) {
                            constexpr int64_t kColumns = 64;
                            for (int64_t c = 0; c < width; c += kColumns) {
                              const int64_t columns = std::min(kColumns, width - c);
                              Sum sums[kColumns] = {};
                              for (int64_t p = groups.starts[v]; p < groups.starts[v + 1]; ++p) {
                                const From* row = from + groups.positions[p] * width + c;
                                for (int64_t i = 0; i < columns; ++i) sums[i] += Sum(row[i]);
                              }
                              To* target = to + v * width + c;
                              for (int64_t i = 0; i < columns; ++i) target[i] = To(sums[i]);
                            }
                          }
                        });
          });
    });
  });
  return kernel;
}

}  // namespace moai
