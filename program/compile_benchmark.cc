// How long it takes to compile a training step of about 2,000 nodes, and to place the known
// structure at new sizes. Processor time of one thread; the best of several.
//
//   tools/bazel run //program:compile_benchmark
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "graph/builder.h"
#include "graph/infer.h"
#include "program/compile.h"

namespace moai {
namespace {

double Now() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

double BestMilliseconds(const auto& function) {
  double best = 1e30;
  for (int i = 0; i < 20; ++i) {
    const double start = Now();
    function();
    best = std::min(best, Now() - start);
  }
  return best;
}

class Recorder {
 public:
  ValueId Add(Op op, std::vector<ValueId> inputs, std::vector<int32_t> attributes = {},
              std::vector<int64_t> extents = {}, std::vector<double> numbers = {}) {
    auto value = builder.AddNode(op, inputs, attributes, extents, numbers);
    if (!value.ok()) {
      std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
      std::exit(1);
    }
    return *value;
  }
  ValueId Parameter(const Shape& shape) {
    const ValueId value = builder.AddInput(InputKind::kSlot, slots_++, {Dtype::kF32, shape});
    parameters.push_back({value, slots_ - 1});
    return value;
  }
  uint32_t slots() const { return slots_; }
  uint32_t NextSlot() { return slots_++; }

  GraphBuilder builder;
  struct Slot {
    ValueId value;
    uint32_t index;
  };
  std::vector<Slot> parameters;

 private:
  uint32_t slots_ = 0;
};

// Residual blocks of two linear layers with a gate, forward and backward by hand, and AdamW.
CapturedGraph TrainingStep(int layers, int64_t batch, int64_t width, int64_t hidden) {
  Recorder r;
  const ValueId x0 = r.builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, {batch, width}});
  std::vector<ValueId> scalars;
  for (int i = 0; i < 8; ++i) scalars.push_back(r.builder.AddScalar(Dtype::kF32));
  struct Layer {
    ValueId x, norm, rstd, scale, gate, up, act, silu, sigmoid, wg, wu, wd, y;
  };
  std::vector<Layer> saved;
  ValueId x = x0;
  for (int i = 0; i < layers; ++i) {
    Layer l;
    l.x = x;
    l.scale = r.Parameter({width});
    l.wg = r.Parameter({hidden, width});
    l.wu = r.Parameter({hidden, width});
    l.wd = r.Parameter({width, hidden});
    l.norm = r.Add(Op::kRmsNorm, {x, l.scale}, {}, {}, {1e-5});
    l.rstd = l.norm + 1;
    const auto linear = [&](ValueId v, ValueId w) {
      return r.Add(Op::kMatmul, {v, r.Add(Op::kTranspose, {w}, {1, 0})}, {0, 0});
    };
    l.gate = linear(l.norm, l.wg);
    l.up = linear(l.norm, l.wu);
    l.sigmoid = r.Add(Op::kSigmoid, {l.gate});
    l.silu = r.Add(Op::kMul, {l.gate, l.sigmoid});
    l.act = r.Add(Op::kMul, {l.silu, l.up});
    l.y = linear(l.act, l.wd);
    x = r.Add(Op::kAdd, {x, l.y});
    saved.push_back(l);
  }
  r.builder.AddOutput(OutputKind::kValue, r.Add(Op::kReduceMean, {x}, {0, 1}));
  std::vector<ValueId> gradients;
  ValueId dx = x;
  for (int i = layers; i-- > 0;) {
    const Layer& l = saved[i];
    const ValueId dact = r.Add(Op::kMatmul, {dx, l.wd}, {0, 0});
    const ValueId dwd = r.Add(Op::kMatmul, {dx, l.act}, {1, 0});
    const ValueId dup = r.Add(Op::kMul, {dact, l.silu});
    const ValueId dsilu = r.Add(Op::kMul, {dact, l.up});
    const ValueId rest = r.Add(Op::kSub, {l.gate, l.silu});
    const ValueId slope = r.Add(Op::kMul, {l.sigmoid, r.Add(Op::kAdd, {rest, scalars[0]})});
    const ValueId dgate = r.Add(Op::kMul, {dsilu, slope});
    const ValueId dwu = r.Add(Op::kMatmul, {dup, l.norm}, {1, 0});
    const ValueId dwg = r.Add(Op::kMatmul, {dgate, l.norm}, {1, 0});
    const ValueId dnorm = r.Add(Op::kAdd, {r.Add(Op::kMatmul, {dup, l.wu}, {0, 0}),
                                           r.Add(Op::kMatmul, {dgate, l.wg}, {0, 0})});
    const ValueId grad = r.Add(Op::kRmsNormGrad, {l.x, l.scale, l.rstd, dnorm});
    dx = r.Add(Op::kAdd, {dx, grad});
    // In the order in which the parameters stand.
    gradients.insert(gradients.begin(), {grad + 1, dwg, dwu, dwd});
  }
  const std::vector<Recorder::Slot> parameters = r.parameters;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const TensorType type = r.builder.type(parameters[i].value);
    const uint32_t m_slot = r.NextSlot(), v_slot = r.NextSlot();
    std::vector<ValueId> inputs = {parameters[i].value, gradients[i],
                                   r.builder.AddInput(InputKind::kSlot, m_slot, type),
                                   r.builder.AddInput(InputKind::kSlot, v_slot, type)};
    inputs.insert(inputs.end(), scalars.begin(), scalars.end());
    const ValueId updated = r.Add(Op::kAdamW, inputs);
    r.builder.AddOutput(OutputKind::kSlot, updated, parameters[i].index);
    r.builder.AddOutput(OutputKind::kSlot, updated + 1, m_slot);
    r.builder.AddOutput(OutputKind::kSlot, updated + 2, v_slot);
  }
  return r.builder.Finish();
}

int Main() {
  const CapturedGraph captured = TrainingStep(62, 128, 256, 512);
  const DeviceShape device{.threads = 2};
  const auto types = InferGraph(captured.graph, captured.sizes);
  const auto structure = CompileStructure(captured.graph);
  if (!types.ok() || !structure.ok()) return 1;
  const auto program = InstantiateProgram(**structure, captured.sizes, *types, device);
  if (!program.ok()) return 1;
  int64_t temporaries = 0;
  for (const Buffer& buffer : program->buffers) {
    if (buffer.kind == BufferKind::kArena) temporaries += buffer.bytes;
  }
  std::printf("nodes %zu, instructions %zu, arena %.1f MB of %.1f MB of temporaries\n",
              captured.graph.nodes.size(), program->instructions.size(),
              static_cast<double>(program->memory.arena) / 1e6,
              static_cast<double>(temporaries) / 1e6);
  std::printf("infer       %6.2f ms\n",
              BestMilliseconds([&] { (void)InferGraph(captured.graph, captured.sizes); }));
  std::printf("structure   %6.2f ms\n",
              BestMilliseconds([&] { (void)CompileStructure(captured.graph); }));
  std::printf("instantiate %6.2f ms\n", BestMilliseconds([&] {
                (void)InstantiateProgram(**structure, captured.sizes, *types, device);
              }));
  return 0;
}

}  // namespace
}  // namespace moai

int main() { return moai::Main(); }
