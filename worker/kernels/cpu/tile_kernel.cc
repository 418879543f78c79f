#include "worker/kernels/cpu/tile_kernel.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/op.h"
#include "program/tile_layout.h"
#include "worker/kernels/cpu/tile_machine.h"

namespace moai {
namespace {

constexpr int kMaxOperands = 64;
constexpr int kMaxReductions = 8;
constexpr size_t kMaxCode = 1024;
// Elements of the longest vector: steps that touch memory themselves want multiples of it.
constexpr int64_t kWholeVectors = 16;
// Registers and accumulators of one thread live on its stack.
constexpr int64_t kThreadBytes = 160 * 1024;

// Less work than this (bytes touched) for a thread is not worth waking it.
constexpr int64_t kBytesPerThread = 128 * 1024;

struct Reduction {
  TileStep store;  // writes results from the result register
  TileType type = TileType::kF32;
  bool mean = false;
  double divisor = 1;
  double lowest_f64 = 0;   // identity, for floats
  int64_t lowest_i64 = 0;  // and integers
  AccumulateFunction accumulate = nullptr;
  int64_t partials = 0;  // where its partial results begin in the scratch, in bytes
};

// The identity of a reduction over elements of a dtype.
void SetIdentity(ReduceKind kind, Dtype dtype, Reduction& reduction) {
  const double infinity = std::numeric_limits<double>::infinity();
  int64_t low = std::numeric_limits<int64_t>::min(), high = std::numeric_limits<int64_t>::max();
  if (dtype == Dtype::kI32) {
    low = std::numeric_limits<int32_t>::min();
    high = std::numeric_limits<int32_t>::max();
  } else if (dtype == Dtype::kU8) {
    low = 0;
    high = 255;
  } else if (dtype == Dtype::kBool) {
    low = 0;
    high = 1;
  }
  switch (kind) {
    case ReduceKind::kMax:
      reduction.lowest_f64 = -infinity;
      reduction.lowest_i64 = low;
      return;
    case ReduceKind::kMin:
      reduction.lowest_f64 = infinity;
      reduction.lowest_i64 = high;
      return;
    case ReduceKind::kProd:
    case ReduceKind::kAnd:
      reduction.lowest_f64 = 1;
      reduction.lowest_i64 = 1;
      return;
    default:
      return;
  }
}

class TileProgramKernel final : public Kernel {
 public:
  static absl::StatusOr<std::unique_ptr<Kernel>> Make(const Program& program, uint32_t index,
                                                      const DeviceShape& device) {
    std::unique_ptr<TileProgramKernel> kernel(new TileProgramKernel(program, index, device));
    MOAI_RETURN_IF_ERROR(kernel->Compile());
    return kernel;
  }

  void Run(const KernelArguments& arguments) override {
    std::byte* bases[kMaxOperands];
    for (size_t i = 0; i < kernel_.operands.size(); ++i) {
      const TileOperand& operand = kernel_.operands[i];
      bases[i] = operand.operand == kNoOperand
                     ? nullptr
                     : arguments.buffers[buffers_[i]] + operand.offset * ByteSize(operand.dtype);
    }
    if (schedule_.reduces) {
      RunReduction(arguments, bases);
    } else {
      RunPointwise(bases);
    }
  }

 private:
  TileProgramKernel(const Program& program, uint32_t index, const DeviceShape& device)
      : program_(program),
        instruction_(program.instructions[index]),
        kernel_(program.kernels[instruction_.fused]),
        schedule_(ScheduleTile(kernel_)),
        threads_(device.threads) {}

  // ---- Making
  // ------------------------------------------------------------------------------------

  absl::Status Compile() {
    rank_ = kernel_.space.rank();
    int64_t element = 4;
    for (const TileInstruction& code : kernel_.code) {
      element = std::max(element, ByteSize(code.type));
      if (code.code == TileCode::kConvert || code.code == TileCode::kOp) {
        element = std::max(element, ByteSize(code.from));
      }
    }
    register_bytes_ = std::max(schedule_.tile_elements(), kRowLanes) * element + kTilePadding;
    register_bytes_ = (register_bytes_ + 63) / 64 * 64;
    // Which registers the prologue leaves.
    std::vector<bool> scalar(kernel_.registers, false);
    for (int i = 0; i < kernel_.prologue; ++i) scalar[kernel_.code[i].dst] = true;
    // Instruction i leaves value i; `value_of` says which one a register holds. The last value is
    // the results of a reduction.
    std::vector<uint32_t> value_of(std::max(1, kernel_.registers), 0);
    registers_of_.assign(kernel_.code.size() + 1, static_cast<uint32_t>(kernel_.registers));
    result_ = static_cast<uint32_t>(kernel_.code.size());
    int64_t partials = 0;
    for (uint32_t i = 0; i < kernel_.code.size(); ++i) {
      const TileInstruction& code = kernel_.code[i];
      MOAI_ASSIGN_OR_RETURN(TileStep step, MakeStep(code, scalar));
      step.dst = i;
      if (code.code == TileCode::kOp || code.code == TileCode::kMultiplyAdd ||
          code.code == TileCode::kConvert) {
        step.a = value_of[code.a];
      }
      step.b = value_of[code.b];
      step.c = value_of[code.c];
      if (code.code == TileCode::kReduce) {
        AddReduction(code, step, partials);
        step.operand = static_cast<uint32_t>(reductions_.size() - 1);
        step.run = &RunAccumulate;
      } else if (code.code != TileCode::kStore) {
        registers_of_[i] = code.dst;
        value_of[code.dst] = i;
      }
      const bool once = static_cast<int>(i) < kernel_.prologue;
      (once ? prologue_ : body_).push_back(step);
      // Registers of a prologue that does not last may be used again.
      if (!once && code.code != TileCode::kStore && code.code != TileCode::kReduce) {
        scalar[code.dst] = false;
      }
    }
    if (kernel_.operands.size() > kMaxOperands || reductions_.size() > kMaxReductions ||
        kernel_.code.size() > kMaxCode || ThreadBytes() > kThreadBytes) {
      return absl::InternalError(absl::StrCat("a fused kernel of ", kernel_.operands.size(),
                                              " operands, ", reductions_.size(), " reductions and ",
                                              kernel_.registers, " registers is too large"));
    }
    for (const TileOperand& operand : kernel_.operands) {
      if (operand.operand == kNoOperand) {
        buffers_.push_back(0);
        continue;
      }
      const size_t inputs = instruction_.inputs.size();
      buffers_.push_back(operand.operand < inputs
                             ? instruction_.inputs[operand.operand].buffer
                             : instruction_.outputs[operand.operand - inputs].buffer);
      bytes_per_element_ += ByteSize(operand.dtype);
    }
    BindOperands();
    return absl::OkStatus();
  }

  int64_t ThreadBytes() const {
    return (kernel_.registers + 1 + static_cast<int64_t>(reductions_.size())) * register_bytes_;
  }

  absl::StatusOr<TileStep> MakeStep(const TileInstruction& code, const std::vector<bool>& scalar) {
    const bool uses_operand = code.code == TileCode::kLoad || code.code == TileCode::kStore ||
                              code.code == TileCode::kReduce || code.code == TileCode::kIndex;
    TileStep step;
    TileScalars scalars = TileScalars::kNone;
    if (code.code == TileCode::kOp || code.code == TileCode::kMultiplyAdd) {
      if (scalar[code.b]) {
        scalars = TileScalars::kB;
      } else if (scalar[code.a]) {
        scalars = TileScalars::kA;
      }
    }
    const Dtype dtype = uses_operand ? kernel_.operands[code.a].dtype : code.dtype;
    step.run = FindTileFunction(code, dtype, scalars);
    if (step.run == nullptr) {
      return absl::UnimplementedError(
          absl::StrCat("no tile code for ", Name(code.op), " of ", Name(code.dtype)));
    }
    step.attribute = code.attribute;
    step.immediate = code.immediate;
    if (uses_operand) {
      step.operand = code.a;
      step.col_stride = kernel_.operands[code.a].strides[rank_ - 1];
      step.row_stride = rank_ >= 2 ? kernel_.operands[code.a].strides[rank_ - 2] : 0;
    }
    return step;
  }

  void AddReduction(const TileInstruction& code, const TileStep& step, int64_t& partials) {
    Reduction reduction;
    reduction.store = step;
    reduction.store.b = result_;
    reduction.type = code.type;
    reduction.mean = code.op == Op::kReduceMean;
    reduction.divisor = code.immediate;
    reduction.accumulate = FindAccumulateFunction(code.type, code.reduce);
    reduction.partials = partials;
    SetIdentity(code.reduce, code.dtype, reduction);
    partials +=
        (schedule_.chunks * schedule_.kept_elements * ByteSize(code.type) + kBufferAlignment - 1) /
        kBufferAlignment * kBufferAlignment;
    reductions_.push_back(reduction);
    accumulate_.push_back(schedule_.keeps_columns
                              ? reduction.accumulate
                              : FindAccumulateRowFunction(code.type, code.reduce));
  }

  // ---- Binding
  // -----------------------------------------------------------------------------------
  //
  // An operand that lies in memory as it would lie in a register needs no register: steps read and
  // write it in place, and its load or store falls away. Not in tiles that end within a vector.

  struct Binding {
    uint32_t value = 0;
    uint32_t operand = 0;
  };

  bool LiesLikeRegister(uint32_t index) const {
    const TileOperand& operand = kernel_.operands[index];
    const bool whole_rows = schedule_.rows == 1 || operand.strides[rank_ - 2] == schedule_.cols;
    return ByteSize(operand.dtype) == ByteSize(TileTypeOf(operand.dtype)) &&
           operand.strides[rank_ - 1] == 1 && whole_rows;
  }

  // True where two operands may share memory.
  bool Overlap(uint32_t a, uint32_t b) const {
    const BufferId x = buffers_[a], y = buffers_[b];
    if (x == y) return true;
    const Buffer& first = program_.buffers[x];
    const Buffer& second = program_.buffers[y];
    if (first.kind == BufferKind::kArena && second.kind == BufferKind::kArena) {
      return first.offset < second.offset + second.bytes &&
             second.offset < first.offset + first.bytes;
    }
    return first.kind == second.kind && first.index == second.index;
  }

  // The last instruction that reads a value, by position among all.
  std::vector<size_t> LastUses() const {
    std::vector<size_t> last(kernel_.code.size() + 1, 0);
    for (size_t i = 0; i < body_.size(); ++i) {
      const size_t at = i + prologue_.size();
      const TileCode code = kernel_.code[at].code;
      if (code == TileCode::kLoad || code == TileCode::kIndex || code == TileCode::kConstant) {
        continue;
      }
      if (code != TileCode::kStore && code != TileCode::kReduce) last[body_[i].a] = at;
      last[body_[i].b] = at;
      last[body_[i].c] = at;
    }
    return last;
  }

  // Splits body_ into what binding leaves (bound_body_) and everything (body_).
  void BindOperands() {
    const std::vector<size_t> last = LastUses();
    const size_t begin = prologue_.size(), end = kernel_.code.size();
    std::vector<bool> dropped(end, false);
    std::vector<size_t> written(end, 0);  // of stores: when memory changes
    std::vector<bool> taken(end, false);  // values that are written to an operand already
    for (size_t k = begin; k < end; ++k) written[k] = k;
    for (size_t k = begin; k < end; ++k) {
      if (kernel_.code[k].code != TileCode::kStore || !LiesLikeRegister(kernel_.code[k].a))
        continue;
      const uint32_t value = body_[k - begin].b;
      const bool computed = value >= begin && kernel_.code[value].code != TileCode::kLoad;
      if (!computed || taken[value]) continue;
      // Nothing that shares the memory may be loaded later, or used later from where it lies.
      bool safe = true;
      for (size_t i = begin; i < end; ++i) {
        if (kernel_.code[i].code != TileCode::kLoad) continue;
        if (!Overlap(kernel_.code[i].a, kernel_.code[k].a)) continue;
        if (i > value || last[i] > value) safe = false;
      }
      if (!safe) continue;
      taken[value] = true;
      dropped[k] = true;
      written[k] = value;
      bindings_.push_back({value, kernel_.code[k].a});
    }
    for (size_t i = begin; i < end; ++i) {
      if (kernel_.code[i].code != TileCode::kLoad || !LiesLikeRegister(kernel_.code[i].a)) continue;
      bool safe = true;
      for (size_t k = begin; k < end; ++k) {
        if (kernel_.code[k].code != TileCode::kStore) continue;
        if (Overlap(kernel_.code[i].a, kernel_.code[k].a) && last[i] > written[k]) safe = false;
      }
      if (!safe) continue;
      dropped[i] = true;
      bindings_.push_back({static_cast<uint32_t>(i), kernel_.code[i].a});
    }
    for (size_t i = begin; i < end; ++i) {
      if (!dropped[i]) bound_body_.push_back(body_[i - begin]);
    }
  }

  // The step of a kReduce.
  static void RunAccumulate(const TileStep& step, const TileFrame& frame) {
    frame.accumulate[step.operand](frame.accumulators[step.operand], step.B<std::byte>(frame),
                                   frame.count);
  }

  // ---- Walking
  // -----------------------------------------------------------------------------------

  // What one thread has.
  struct Worker {
    alignas(64) std::byte memory[kThreadBytes];
    std::byte* values[kMaxCode + 1];
    std::byte* addresses[kMaxOperands];
    int64_t positions[kMaxOperands];
    std::byte* accumulators[kMaxReductions];
    TileFrame frame;
    bool bound = false;
  };

  void Prepare(Worker& worker) const {
    worker.frame.values = worker.values;
    PointAtRegisters(worker);
    worker.bound = false;
    worker.frame.addresses = worker.addresses;
    worker.frame.positions = worker.positions;
    worker.frame.accumulators = worker.accumulators;
    worker.frame.accumulate = accumulate_.data();
    for (size_t r = 0; r < reductions_.size(); ++r) {
      worker.accumulators[r] = worker.memory + (kernel_.registers + 1 + r) * register_bytes_;
    }
  }

  void PointAtRegisters(Worker& worker) const {
    for (size_t i = 0; i < registers_of_.size(); ++i) {
      worker.values[i] = worker.memory + registers_of_[i] * register_bytes_;
    }
  }

  // Fills the registers that do not change from tile to tile.
  void RunPrologue(Worker& worker, std::byte* const* bases) const {
    if (prologue_.empty()) return;
    std::copy_n(bases, kernel_.operands.size(), worker.addresses);
    worker.frame.rows = 1;
    worker.frame.cols = worker.frame.count = schedule_.tile_elements();
    for (const TileStep& step : prologue_) step.run(step, worker.frame);
  }

  // Points the frame's operands at a place given by an offset per operand.
  void Point(Worker& worker, std::byte* const* bases, const int64_t* offsets) const {
    for (size_t i = 0; i < kernel_.operands.size(); ++i) {
      const TileOperand& operand = kernel_.operands[i];
      if (operand.operand == kNoOperand) {
        worker.positions[i] = operand.offset + offsets[i];
      } else {
        worker.addresses[i] = bases[i] + offsets[i] * ByteSize(operand.dtype);
      }
    }
  }

  // Adds to `offsets` what the coordinates along dims [begin, end) that satisfy `reduced` make of
  // the row-major position `position`.
  void AddDims(int begin, int end, bool reduced, int64_t position, int64_t* offsets) const {
    for (int dim = end - 1; dim >= begin; --dim) {
      if (((kernel_.reduced_dims >> dim & 1) != 0) != reduced) continue;
      const int64_t coordinate = position % kernel_.space[dim];
      position /= kernel_.space[dim];
      for (size_t i = 0; i < kernel_.operands.size(); ++i) {
        offsets[i] += coordinate * kernel_.operands[i].strides[dim];
      }
    }
  }

  bool HasRowDim() const {
    return rank_ >= 2 && (!schedule_.reduces || (kernel_.reduced_dims >> (rank_ - 2) & 1));
  }
  int OuterDims() const { return rank_ - (HasRowDim() ? 2 : 1); }

  // Sets the frame to block (row, col) of the tile grid at `outer` offsets and runs the code.
  void RunTile(Worker& worker, std::byte* const* bases, const int64_t* outer, int64_t row_block,
               int64_t col_block) const {
    const int64_t row = row_block * schedule_.rows, col = col_block * schedule_.cols;
    int64_t offsets[kMaxOperands];
    for (size_t i = 0; i < kernel_.operands.size(); ++i) {
      const Shape& strides = kernel_.operands[i].strides;
      offsets[i] = outer[i] + col * strides[rank_ - 1];
      if (row != 0) offsets[i] += row * strides[rank_ - 2];
    }
    Point(worker, bases, offsets);
    TileFrame& frame = worker.frame;
    frame.rows = HasRowDim() ? std::min(schedule_.rows, kernel_.space[rank_ - 2] - row) : 1;
    frame.cols = std::min(schedule_.cols, kernel_.space[rank_ - 1] - col);
    frame.count = frame.rows * frame.cols;
    if (frame.count % kWholeVectors != 0) {
      if (worker.bound) PointAtRegisters(worker);
      worker.bound = false;
      for (const TileStep& step : body_) step.run(step, frame);
      return;
    }
    for (const Binding& binding : bindings_) {
      worker.values[binding.value] = worker.addresses[binding.operand];
    }
    worker.bound = true;
    for (const TileStep& step : bound_body_) step.run(step, frame);
  }

  // Runs body(worker, begin, end) over [0, count) in one range per thread.
  template <class Body>
  void Parallel(int64_t count, int64_t bytes, const Body& body) const {
    const int team = static_cast<int>(
        std::clamp<int64_t>(bytes / kBytesPerThread, 1, std::min<int64_t>(threads_, count)));
    if (team == 1) {
      Worker worker;
      Prepare(worker);
      return body(worker, int64_t{0}, count);
    }
#pragma omp parallel num_threads(team)
    {
      const int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
      Worker worker;
      Prepare(worker);
      body(worker, count * thread / all, count * (thread + 1) / all);
    }
  }

  int64_t BytesTouched() const { return kernel_.space.elements() * bytes_per_element_; }

  void RunPointwise(std::byte* const* bases) const {
    const int64_t grid = schedule_.row_blocks * schedule_.col_blocks;
    const int64_t tiles = schedule_.outer * grid;
    if (tiles == 0) return;
    Parallel(tiles, BytesTouched(), [&](Worker& worker, int64_t begin, int64_t end) {
      RunPrologue(worker, bases);
      int64_t outer_offsets[kMaxOperands];
      int64_t at = -1;
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t outer = tile / grid, block = tile % grid;
        if (outer != at) {
          at = outer;
          std::fill_n(outer_offsets, kernel_.operands.size(), 0);
          AddDims(0, OuterDims(), false, outer, outer_offsets);
        }
        RunTile(worker, bases, outer_offsets, block / schedule_.col_blocks,
                block % schedule_.col_blocks);
      }
    });
  }

  // ---- Reductions
  // --------------------------------------------------------------------------------

  void FillIdentity(const Reduction& reduction, std::byte* to, int64_t count) const {
    switch (reduction.type) {
      case TileType::kF32:
        std::fill_n(reinterpret_cast<float*>(to), count, static_cast<float>(reduction.lowest_f64));
        return;
      case TileType::kF64:
        std::fill_n(reinterpret_cast<double*>(to), count, reduction.lowest_f64);
        return;
      case TileType::kI64:
        std::fill_n(reinterpret_cast<int64_t*>(to), count, reduction.lowest_i64);
        return;
    }
  }

  // Combines the first `count` groups of `unit` elements into the first, in a fixed tree.
  static void Fold(const Reduction& reduction, std::byte* values, int64_t count, int64_t unit) {
    while (count > 1) {
      const int64_t half = (count + 1) / 2;
      reduction.accumulate(values, values + half * unit * ByteSize(reduction.type),
                           (count - half) * unit);
      count = half;
    }
  }

  // Where an item's results stand: the first kept element and how many.
  struct Kept {
    int64_t outer = 0;
    int64_t col_block = 0;
    int64_t first = 0;
    int64_t count = 1;
  };

  Kept KeptOf(int64_t item) const {
    Kept kept;
    if (!schedule_.keeps_columns) {
      kept.outer = kept.first = item;
      return kept;
    }
    kept.outer = item / schedule_.col_blocks;
    kept.col_block = item % schedule_.col_blocks;
    const int64_t last = kernel_.space[rank_ - 1], col = kept.col_block * schedule_.cols;
    kept.first = kept.outer * last + col;
    kept.count = std::min(schedule_.cols, last - col);
    return kept;
  }

  // Divides, converts and stores the results of an item from the result register.
  void StoreResults(Worker& worker, std::byte* const* bases, const Reduction& reduction,
                    const Kept& kept) const {
    if (reduction.mean) {
      std::byte* values = worker.values[result_];
      for (int64_t i = 0; i < kept.count; ++i) {
        if (reduction.type == TileType::kF32) {
          float& value = reinterpret_cast<float*>(values)[i];
          value = static_cast<float>(value / reduction.divisor);
        } else if (reduction.type == TileType::kF64) {
          reinterpret_cast<double*>(values)[i] /= reduction.divisor;
        }
      }
    }
    int64_t offsets[kMaxOperands] = {};
    AddDims(0, schedule_.keeps_columns ? rank_ - 1 : rank_, false, kept.outer, offsets);
    if (schedule_.keeps_columns) {
      const int64_t col = kept.col_block * schedule_.cols;
      for (size_t i = 0; i < kernel_.operands.size(); ++i) {
        offsets[i] += col * kernel_.operands[i].strides[rank_ - 1];
      }
    }
    Point(worker, bases, offsets);
    worker.frame.rows = 1;
    worker.frame.cols = worker.frame.count = kept.count;
    reduction.store.run(reduction.store, worker.frame);
  }

  // Runs the tiles of one chunk of one item and leaves each reduction's results at its accumulator.
  void RunChunk(Worker& worker, std::byte* const* bases, const Kept& kept, int64_t chunk) const {
    const int64_t lanes = schedule_.keeps_columns ? schedule_.tile_elements() : kRowLanes;
    for (size_t r = 0; r < reductions_.size(); ++r) {
      FillIdentity(reductions_[r], worker.accumulators[r], lanes);
    }
    int64_t kept_offsets[kMaxOperands] = {};
    const int inner_kept = schedule_.keeps_columns ? rank_ - 1 : rank_;
    AddDims(0, inner_kept, false, kept.outer, kept_offsets);
    const int64_t begin = chunk * schedule_.tiles_per_chunk;
    const int64_t end = std::min(schedule_.tiles_per_item, begin + schedule_.tiles_per_chunk);
    const int64_t grid =
        schedule_.row_blocks * (schedule_.keeps_columns ? 1 : schedule_.col_blocks);
    int64_t outer_offsets[kMaxOperands];
    int64_t at = -1;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t outer = tile / grid;
      int64_t row_block = tile % grid, col_block = kept.col_block;
      if (!schedule_.keeps_columns) {
        col_block = row_block % schedule_.col_blocks;
        row_block /= schedule_.col_blocks;
      }
      if (outer != at) {
        at = outer;
        std::copy_n(kept_offsets, kernel_.operands.size(), outer_offsets);
        AddDims(0, OuterDims(), true, outer, outer_offsets);
      }
      RunTile(worker, bases, outer_offsets, row_block, col_block);
    }
    for (size_t r = 0; r < reductions_.size(); ++r) {
      Fold(reductions_[r], worker.accumulators[r],
           schedule_.keeps_columns ? schedule_.rows : kRowLanes, kept.count);
    }
  }

  std::byte* Partial(std::byte* scratch, const Reduction& reduction, int64_t chunk,
                     int64_t kept) const {
    return scratch + reduction.partials +
           (chunk * schedule_.kept_elements + kept) * ByteSize(reduction.type);
  }

  void RunReduction(const KernelArguments& arguments, std::byte* const* bases) const {
    if (schedule_.items == 0) return;
    std::byte* scratch =
        instruction_.scratch >= 0 ? arguments.buffers[instruction_.scratch] : nullptr;
    const int64_t chunks = schedule_.chunks;
    Parallel(
        schedule_.items * chunks, BytesTouched(), [&](Worker& worker, int64_t begin, int64_t end) {
          RunPrologue(worker, bases);
          for (int64_t i = begin; i < end; ++i) {
            const Kept kept = KeptOf(i / chunks);
            RunChunk(worker, bases, kept, i % chunks);
            for (size_t r = 0; r < reductions_.size(); ++r) {
              const Reduction& reduction = reductions_[r];
              std::byte* to = chunks == 1 ? worker.values[result_]
                                          : Partial(scratch, reduction, i % chunks, kept.first);
              std::copy_n(worker.accumulators[r], kept.count * ByteSize(reduction.type), to);
              if (chunks == 1) StoreResults(worker, bases, reduction, kept);
            }
          }
        });
    if (chunks > 1) CombineChunks(bases, scratch);
  }

  void CombineChunks(std::byte* const* bases, std::byte* scratch) const {
    const int64_t bytes = schedule_.chunks * schedule_.kept_elements * int64_t{8};
    Parallel(schedule_.items, bytes, [&](Worker& worker, int64_t begin, int64_t end) {
      std::byte* result = worker.values[result_];
      for (int64_t item = begin; item < end; ++item) {
        const Kept kept = KeptOf(item);
        for (const Reduction& reduction : reductions_) {
          std::copy_n(Partial(scratch, reduction, 0, kept.first),
                      kept.count * ByteSize(reduction.type), result);
          for (int64_t chunk = 1; chunk < schedule_.chunks; ++chunk) {
            reduction.accumulate(result, Partial(scratch, reduction, chunk, kept.first),
                                 kept.count);
          }
          StoreResults(worker, bases, reduction, kept);
        }
      }
    });
  }

  const Program& program_;
  const Instruction& instruction_;
  const TileKernel& kernel_;
  const TileSchedule schedule_;
  const int threads_;
  int rank_ = 0;
  int64_t register_bytes_ = 0;
  uint32_t result_ = 0;                 // the value that holds a reduction's results
  std::vector<uint32_t> registers_of_;  // per value
  int64_t bytes_per_element_ = 0;
  std::vector<TileStep> prologue_;
  std::vector<TileStep> body_;        // with every load and store
  std::vector<TileStep> bound_body_;  // without those of bindings_
  std::vector<Binding> bindings_;
  std::vector<Reduction> reductions_;
  std::vector<AccumulateFunction> accumulate_;  // of reductions_
  absl::InlinedVector<BufferId, 8> buffers_;    // per tile operand
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kernel>> MakeTileKernel(const Program& program, uint32_t index,
                                                       const DeviceShape& device) {
  return TileProgramKernel::Make(program, index, device);
}

}  // namespace moai
