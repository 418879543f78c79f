// What CompileStructure makes: a program without sizes.
#ifndef MOAI_PROGRAM_TEMPLATE_H_
#define MOAI_PROGRAM_TEMPLATE_H_

#include <memory>
#include <vector>

#include "graph/graph.h"
#include "program/compile.h"
#include "program/lowering.h"
#include "program/tile.h"

namespace moai {

enum class TileOperandKind : uint8_t {
  kElement,    // a reference that varies over the whole iteration space (or is rank 0)
  kReduced,    // an output without the reduced dims
  kAxisIndex,  // kIndex: the position along `axis` in what `node` makes, or makes a part of
  kDiagonal,   // kIndex: column - row - the diagonal of `node`
  kPosition,   // kIndex: likewise the row-major position
};

struct TemplateTileOperand {
  TileOperandKind kind = TileOperandKind::kElement;
  bool output = false;
  uint32_t position = 0;  // among the instruction's inputs or outputs
  int axis = 0;
  uint32_t node = 0;
  Dtype dtype = Dtype::kF32;
};

// The part of a fused kernel that does not depend on sizes.
struct TileTemplate {
  ValueId space = 0;          // the value whose shape is iterated over
  uint32_t reduced_axes = 0;  // bits over its dims
  std::vector<TemplateTileOperand> operands;
  std::vector<TileInstruction> code;
  int registers = 0;
  int prologue = 0;
};

struct TemplateInstruction {
  Op op = Op::kInvalid;
  uint32_t node = 0;
  absl::InlinedVector<int32_t, 4> attributes;
  absl::InlinedVector<Reference, 4> inputs;
  absl::InlinedVector<StorageId, 3> outputs;
  int32_t tile = -1;  // index into ProgramTemplate::tiles
  bool copy = false;  // only copies its input, and may vanish where that is dense already
};

class ProgramTemplate {
 public:
  Graph graph;
  std::vector<Storage> storages;
  std::vector<TemplateInstruction> instructions;
  std::vector<TileTemplate> tiles;
  std::vector<Assumption> assumptions;
  std::vector<bool> slot_updated;  // per slot binding: rewritten by the step
  std::vector<bool> slot_created;
  uint32_t commit_point = 0;  // these two as in Program, of `instructions`
  uint32_t first_write = 0;
  // Compiled without assumptions; used where one does not hold. Null where there are none.
  std::shared_ptr<const ProgramTemplate> cautious;
};

}  // namespace moai

#endif  // MOAI_PROGRAM_TEMPLATE_H_
