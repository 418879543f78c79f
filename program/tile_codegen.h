// Turns a group of operations into tile code.
#ifndef MOAI_PROGRAM_TILE_CODEGEN_H_
#define MOAI_PROGRAM_TILE_CODEGEN_H_

#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "program/lowering.h"
#include "program/template.h"

namespace moai {

struct GeneratedTile {
  TileTemplate tile;
  absl::InlinedVector<Reference, 4> inputs;
  absl::InlinedVector<StorageId, 3> outputs;
};

// Most operands of one tile kernel.
inline constexpr size_t kMaxTileOperands = 32;

// Operations in ascending order; all are tile ops over one iteration space. `consumers` lists, per
// storage, the operations that read it: what is read outside of the group is stored.
// nullopt where the group needs more registers or operands than there are.
std::optional<GeneratedTile> GenerateTile(const Lowering& lowering,
                                          absl::Span<const OperationId> operations,
                                          absl::Span<const std::vector<OperationId>> consumers);

}  // namespace moai

#endif  // MOAI_PROGRAM_TILE_CODEGEN_H_
