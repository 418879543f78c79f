// What the graph layer alone costs: recording a node, and, on the server's side, parsing, verifying
// and inferring one. The client's capture and autograd come on top (`record`).
#include <benchmark/benchmark.h>

#include "graph/builder.h"
#include "graph/infer.h"
#include "graph/serialize.h"
#include "graph/verify.h"

namespace moai {
namespace {

constexpr int kNodes = 2000;

TensorType F32(std::initializer_list<int64_t> extents) { return {Dtype::kF32, Shape(extents)}; }

// A chain of `kNodes` nodes of the sort that training steps consist of.
CapturedGraph Record(Op op) {
  GraphBuilder builder;
  const ValueId x = builder.AddInput(InputKind::kValue, 0, F32({8, 256, 384}));
  const ValueId square = builder.AddInput(InputKind::kSlot, 0, F32({8, 384, 384}));
  const ValueId weight = builder.AddInput(InputKind::kSlot, 1, F32({384}));
  ValueId value = x;
  for (int i = 0; i < kNodes; ++i) {
    absl::StatusOr<ValueId> added;
    switch (op) {
      case Op::kAdd:
        added = builder.AddNode(op, {value, x});
        break;
      case Op::kMatmul:
        added = builder.AddNode(op, {value, square}, {0, 0});
        break;
      case Op::kRmsNorm:
        added = builder.AddNode(op, {value, weight}, {}, {}, {1e-5});
        break;
      case Op::kSlice:
        added = builder.AddNode(op, {value}, {}, {0, 8, 1, 0, 256, 1, 0, 384, 1});
        break;
      case Op::kReduceSum:
        added = builder.AddNode(op, {x}, {2});
        break;
      default:
        added = builder.AddNode(op, {value});
    }
    if (!added.ok()) std::abort();
    value = *added;
  }
  builder.AddOutput(OutputKind::kValue, value);
  return builder.Finish();
}

void PerNode(benchmark::State& state) {
  state.counters["per_node"] = benchmark::Counter(
      kNodes, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void BM_Record(benchmark::State& state) {
  const Op op = static_cast<Op>(state.range(0));
  state.SetLabel(std::string(Name(op)));
  for (auto _ : state) benchmark::DoNotOptimize(Record(op));
  PerNode(state);
}
BENCHMARK(BM_Record)
    ->Arg(static_cast<int>(Op::kExp))
    ->Arg(static_cast<int>(Op::kAdd))
    ->Arg(static_cast<int>(Op::kMatmul))
    ->Arg(static_cast<int>(Op::kRmsNorm))
    ->Arg(static_cast<int>(Op::kSlice))
    ->Arg(static_cast<int>(Op::kReduceSum));

void BM_Parse(benchmark::State& state) {
  const std::string bytes = SerializeGraph(Record(Op::kRmsNorm).graph);
  for (auto _ : state) benchmark::DoNotOptimize(ParseGraph(bytes));
  PerNode(state);
}
BENCHMARK(BM_Parse);

void BM_Verify(benchmark::State& state) {
  const Graph graph = Record(Op::kRmsNorm).graph;
  for (auto _ : state) benchmark::DoNotOptimize(VerifyStructure(graph));
  PerNode(state);
}
BENCHMARK(BM_Verify);

void BM_Infer(benchmark::State& state) {
  const CapturedGraph captured = Record(Op::kRmsNorm);
  for (auto _ : state) benchmark::DoNotOptimize(InferGraph(captured.graph, captured.sizes));
  PerNode(state);
}
BENCHMARK(BM_Infer);

}  // namespace
}  // namespace moai

BENCHMARK_MAIN();
