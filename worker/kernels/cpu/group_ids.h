// Groups the positions of equal ids, so that each row that ids name belongs to one thread, which
// adds what goes to it in the order of the positions: the same bits on any team, and one rounding.
#ifndef MOAI_WORKER_KERNELS_CPU_GROUP_IDS_H_
#define MOAI_WORKER_KERNELS_CPU_GROUP_IDS_H_

#include <algorithm>
#include <cstdint>

#include "graph/parts.h"
#include "worker/kernels/cpu/kernel_tools.h"

namespace moai {

// The positions of the id of row r (of a window: r rows from its first) are positions[starts[r]] ..
// positions[starts[r + 1] - 1], ascending.
struct GroupedIds {
  const int64_t* starts;
  const int64_t* positions;
};

// Bytes of scratch for `count` ids of `rows` rows; the workspace table says the same.
inline int64_t GroupIdsBytes(int64_t rows, int64_t count) { return 8 * (rows + 1 + count); }

// Sorts by counting. An id that is no row of the whole raises the step's error; it is left out, and
// so is one outside the window.
inline GroupedIds GroupIds(const IndexReader& ids, int64_t count, const TableWindow& window,
                           int64_t* scratch, uint32_t instruction, StepErrors* errors) {
  const int64_t rows = window.rows;
  int64_t* starts = scratch;
  int64_t* positions = scratch + rows + 1;
  std::fill_n(starts, rows + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t id = ids[i];
    if (!window.Valid(id)) {
      errors->RaiseIndexOutOfRange(instruction, id, window.whole);
    } else if (window.Holds(id)) {
      ++starts[id - window.first];
    }
  }
  int64_t sum = 0;
  for (int64_t r = 0; r <= rows; ++r) {
    sum += starts[r];
    starts[r] = sum;
  }
  // starts[r] is where r's positions end; filling backwards moves it to where they begin.
  for (int64_t i = count; i-- > 0;) {
    const int64_t id = ids[i];
    if (window.Valid(id) && window.Holds(id)) positions[--starts[id - window.first]] = i;
  }
  return {starts, positions};
}

}  // namespace moai

#endif  // MOAI_WORKER_KERNELS_CPU_GROUP_IDS_H_
