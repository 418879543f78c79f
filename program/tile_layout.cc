#include "program/tile_layout.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "absl/container/inlined_vector.h"
#include "program/program.h"

namespace moai {
namespace {

// Registers of one tile take at most this much of the first-level cache, and of a thread's stack.
constexpr int64_t kRegisterBytes = 24 * 1024;
constexpr int64_t kAllRegisterBytes = 96 * 1024;
constexpr int64_t kMinTile = 128;
// Columns of a tile that transposes: whole cache lines on the one side, long runs on the other.
constexpr int64_t kTransposingCols = 32;
constexpr int64_t kMaxTile = 1024;

// Reductions with fewer items are cut into chunks, so that all cores take part.
constexpr int64_t kParallelItems = 64;
constexpr int64_t kMinTilesPerChunk = 8;
// Bounds how many numbers are added one after another to the same place.
constexpr int64_t kMaxTilesPerChunk = 256;

// A reduced innermost dim that is shorter makes poor tiles: then a kept dim goes innermost.
constexpr int64_t kShortReduction = 64;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

bool HasReduction(const TileKernel& kernel) {
  for (const TileInstruction& instruction : kernel.code) {
    if (instruction.code == TileCode::kReduce) return true;
  }
  return false;
}

// Registers that the prologue leaves are read as scalars: one line of the cache each.
int RegistersInCache(const TileKernel& kernel) {
  uint64_t left = 0;
  for (int i = 0; i < kernel.prologue; ++i) left |= uint64_t{1} << kernel.code[i].dst;
  return std::max(1, kernel.registers - std::popcount(left));
}

int64_t TileElements(const TileKernel& kernel) {
  int64_t bytes = 4;
  for (const TileInstruction& instruction : kernel.code) {
    bytes = std::max(bytes, ByteSize(instruction.type));
  }
  const int64_t fit = std::min(kRegisterBytes / (bytes * RegistersInCache(kernel)),
                               kAllRegisterBytes / (bytes * std::max(1, kernel.registers)));
  int64_t tile = kMinTile;
  while (tile * 2 <= std::min(fit, kMaxTile)) tile *= 2;
  return tile;
}

// The dims of a kernel in a new order.
void Permute(TileKernel& kernel, absl::Span<const int> order) {
  const TileKernel old = kernel;
  const auto permute = [&](const Shape& from) {
    Shape to;
    for (int dim : order) to.push_back(from[dim]);
    return to;
  };
  kernel.space = permute(old.space);
  kernel.reduced_dims = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (old.reduced_dims >> order[i] & 1) kernel.reduced_dims |= 1u << i;
  }
  for (TileOperand& operand : kernel.operands) operand.strides = permute(operand.strides);
}

bool Reduced(const TileKernel& kernel, int dim) { return kernel.reduced_dims >> dim & 1; }

// The order of dims that the walk wants, without those of extent 1.
absl::InlinedVector<int, kMaxRank> DimOrder(const TileKernel& kernel, bool reduces) {
  absl::InlinedVector<int, kMaxRank> kept, reduced, order;
  for (int dim = 0; dim < kernel.space.rank(); ++dim) {
    if (kernel.space[dim] == 1) continue;
    (Reduced(kernel, dim) ? reduced : kept).push_back(dim);
  }
  if (!reduces) return kept;
  if (reduced.empty()) {
    for (int dim = 0; dim < kernel.space.rank() && reduced.empty(); ++dim) {
      if (Reduced(kernel, dim)) reduced.push_back(dim);
    }
  }
  int64_t reduced_elements = 1;
  for (int dim : reduced) reduced_elements *= kernel.space[dim];
  const bool short_reduction = !kept.empty() && reduced_elements < kShortReduction &&
                               kernel.space[kept.back()] > reduced_elements;
  const bool keeps_columns = !kept.empty() && (kept.back() > reduced.back() || short_reduction);
  order.assign(kept.begin(), kept.end() - (keeps_columns ? 1 : 0));
  order.insert(order.end(), reduced.begin(), reduced.end());
  if (keeps_columns) order.push_back(kept.back());
  return order;
}

// True where an operand runs along the rows of a tile while others run along its columns.
bool Transposes(const TileKernel& kernel) {
  const int rank = kernel.space.rank();
  for (const TileOperand& operand : kernel.operands) {
    const int64_t col = operand.strides[rank - 1], row = operand.strides[rank - 2];
    if (operand.operand != kNoOperand && col != 0 && std::abs(col) != 1 && std::abs(row) == 1) {
      return true;
    }
  }
  return false;
}

bool Mergeable(const TileKernel& kernel, int dim) {
  if (Reduced(kernel, dim) != Reduced(kernel, dim + 1)) return false;
  for (const TileOperand& operand : kernel.operands) {
    if (operand.strides[dim] != operand.strides[dim + 1] * kernel.space[dim + 1]) return false;
  }
  return true;
}

// Joins dim and dim + 1.
void Merge(TileKernel& kernel, int dim) {
  kernel.space[dim + 1] *= kernel.space[dim];
  kernel.space.Erase(dim);
  for (TileOperand& operand : kernel.operands) operand.strides.Erase(dim);
  const uint32_t low = kernel.reduced_dims & ((1u << dim) - 1);
  kernel.reduced_dims = low | (kernel.reduced_dims >> (dim + 1) << dim);
}

}  // namespace

void LayOutTile(TileKernel& kernel) {
  const bool reduces = HasReduction(kernel);
  Permute(kernel, DimOrder(kernel, reduces));
  for (int dim = kernel.space.rank() - 2; dim >= 0; --dim) {
    if (Mergeable(kernel, dim)) Merge(kernel, dim);
  }
  if (kernel.space.rank() == 0) {
    kernel.space.push_back(1);
    for (TileOperand& operand : kernel.operands) operand.strides.push_back(0);
  }
}

TileSchedule ScheduleTile(const TileKernel& kernel) {
  TileSchedule schedule;
  const int rank = kernel.space.rank();
  const int64_t tile = TileElements(kernel);
  schedule.reduces = HasReduction(kernel);
  schedule.keeps_columns = schedule.reduces && !Reduced(kernel, rank - 1);
  const int64_t last = kernel.space[rank - 1];
  // Rows of a tile must be alike: all reduced with reductions.
  const bool rows_allowed = rank >= 2 && (!schedule.reduces || Reduced(kernel, rank - 2));
  const int64_t widest =
      rows_allowed && Transposes(kernel) ? std::min(tile, kTransposingCols) : tile;
  schedule.cols = std::min(std::max<int64_t>(last, 1), widest);
  schedule.col_blocks = CeilDivide(last, schedule.cols);
  int64_t row_extent = 1;
  if (rows_allowed) {
    row_extent = kernel.space[rank - 2];
    schedule.rows = std::clamp<int64_t>(tile / schedule.cols, 1, std::max<int64_t>(row_extent, 1));
    schedule.row_blocks = CeilDivide(row_extent, schedule.rows);
  }
  const int inner = rows_allowed ? 2 : 1;
  for (int dim = 0; dim < rank - inner; ++dim) {
    (Reduced(kernel, dim) ? schedule.reduced_outer : schedule.outer) *= kernel.space[dim];
  }
  if (!schedule.reduces) return schedule;

  schedule.kept_elements = schedule.outer * (schedule.keeps_columns ? last : 1);
  schedule.items = schedule.outer * (schedule.keeps_columns ? schedule.col_blocks : 1);
  schedule.tiles_per_item = schedule.reduced_outer * schedule.row_blocks *
                            (schedule.keeps_columns ? 1 : schedule.col_blocks);
  if (schedule.items > 0 && schedule.tiles_per_item > 0) {
    const int64_t wanted = CeilDivide(kParallelItems, schedule.items);
    const int64_t useful = CeilDivide(schedule.tiles_per_item, kMinTilesPerChunk);
    const int64_t needed = CeilDivide(schedule.tiles_per_item, kMaxTilesPerChunk);
    schedule.chunks = std::max(needed, std::min(wanted, useful));
    schedule.tiles_per_chunk = CeilDivide(schedule.tiles_per_item, schedule.chunks);
    schedule.chunks = CeilDivide(schedule.tiles_per_item, schedule.tiles_per_chunk);
  }
  return schedule;
}

int64_t TileWorkspaceBytes(const TileKernel& kernel) {
  const TileSchedule schedule = ScheduleTile(kernel);
  if (schedule.chunks <= 1) return 0;
  int64_t bytes = 0;
  for (const TileInstruction& instruction : kernel.code) {
    if (instruction.code != TileCode::kReduce) continue;
    const int64_t array = schedule.chunks * schedule.kept_elements * ByteSize(instruction.type);
    bytes += (array + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
  }
  return bytes;
}

}  // namespace moai
