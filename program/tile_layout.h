// How a tile kernel walks its iteration space. Planner and worker both compute it from the kernel,
// so that they agree on the memory for partial results, and so that the order of every sum depends
// on shapes alone, never on the number of threads.
#ifndef MOAI_PROGRAM_TILE_LAYOUT_H_
#define MOAI_PROGRAM_TILE_LAYOUT_H_

#include <cstdint>

#include "program/tile.h"

namespace moai {

// Drops dims of extent 1, puts reduced dims where TileKernel::space says, and merges neighbours
// that every operand walks as one. A kernel with reductions keeps at least one reduced dim.
void LayOutTile(TileKernel& kernel);

struct TileSchedule {
  bool reduces = false;
  // The innermost dim is kept: tiles hold whole columns of partial results. Else it is reduced.
  bool keeps_columns = false;
  // A tile is `rows` x `cols`: cols along the last dim; rows along the one before it, or 1.
  int64_t rows = 1;
  int64_t cols = 1;
  int64_t row_blocks = 1;
  int64_t col_blocks = 1;
  // Without reductions: the product of the other dims. With: that of the other kept dims.
  int64_t outer = 1;
  // With reductions: the product of the other reduced dims.
  int64_t reduced_outer = 1;

  // With reductions: an item is one outer position (times one block of columns, where those are
  // kept); its tiles are cut into chunks that are summed apart and then in order.
  int64_t items = 0;
  int64_t tiles_per_item = 0;
  int64_t chunks = 1;
  int64_t tiles_per_chunk = 0;
  int64_t kept_elements = 0;  // of each result

  int64_t tile_elements() const { return rows * cols; }
};

TileSchedule ScheduleTile(const TileKernel& kernel);

// Bytes for partial results: for each kReduce of the code in order, [chunks][kept_elements] of its
// tile type, each array aligned to kBufferAlignment. 0 with one chunk.
int64_t TileWorkspaceBytes(const TileKernel& kernel);

}  // namespace moai

#endif  // MOAI_PROGRAM_TILE_LAYOUT_H_
