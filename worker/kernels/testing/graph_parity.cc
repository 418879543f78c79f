#include "worker/kernels/testing/graph_parity.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/interpreter.h"
#include "graph/op.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/tolerance.h"
#include "program/compile.h"
#include "program/explain.h"
#include "program/program_checker.h"
#include "worker/kernels/testing/program_runner.h"

namespace moai {
namespace {

BufferKind KindOf(InputKind kind) {
  switch (kind) {
    case InputKind::kSlot:
      return BufferKind::kSlot;
    case InputKind::kFeed:
      return BufferKind::kFeed;
    case InputKind::kScalar:
      return BufferKind::kScalar;
    case InputKind::kValue:
      break;
  }
  return BufferKind::kValue;
}

std::string Describe(const CapturedGraph& captured) {
  std::string text;
  for (const Input& input : captured.graph.inputs) {
    absl::StrAppend(&text, "v", input.value, ": input ", ToString(captured.types[input.value]),
                    "\n");
  }
  for (const Node& node : captured.graph.nodes) {
    absl::StrAppend(&text, "v", node.first_output, ": ",
                    ToString(captured.types[node.first_output]), " ", Name(node.op));
    for (ValueId input : node.inputs) absl::StrAppend(&text, " v", input);
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace

double Tolerance(const CapturedGraph& captured, Dtype dtype) {
  if (!IsFloat(dtype)) return 0;
  for (const TensorType& type : captured.types) dtype = Coarser(dtype, type.dtype);
  return RoundingTolerance(dtype);
}

std::string Difference(const TensorType& type, double tolerance, absl::Span<const std::byte> got,
                       const ReferenceTensor& want) {
  const TensorBytes want_bytes = want.ToBytes();
  const int64_t size = ByteSize(type.dtype);
  double scale = 1;
  for (double value : want.floats) {
    if (std::isfinite(value)) scale = std::max(scale, std::abs(value));
  }
  for (int64_t i = 0; i < type.shape.elements(); ++i) {
    const double a = LoadElement(type.dtype, got.data() + i * size);
    const double b = LoadElement(type.dtype, want_bytes.data() + i * size);
    const bool same = a == b || (std::isnan(a) && std::isnan(b));
    if (same || std::abs(a - b) <= tolerance * (std::abs(b) + 0.1 * scale)) continue;
    return absl::StrCat("element ", i, " of ", ToString(type), " is ", a, ", expected ", b);
  }
  return "";
}

absl::StatusOr<std::vector<TensorBytes>> RunGraph(const CapturedGraph& captured,
                                                  const std::vector<TensorBytes>& bindings,
                                                  KernelFactory factory,
                                                  const DeviceShape& device) {
  MOAI_ASSIGN_OR_RETURN(Program program, CompileProgram(captured.graph, captured.sizes, device));
  MOAI_RETURN_IF_ERROR(CheckProgram(captured.graph, program));
  MOAI_ASSIGN_OR_RETURN(const std::unique_ptr<ProgramRunner> runner,
                        ProgramRunner::Make(std::move(program), factory, device));
  for (size_t i = 0; i < bindings.size(); ++i) {
    const Input& input = captured.graph.inputs[i];
    const absl::Span<std::byte> memory = runner->Memory(KindOf(input.kind), input.index);
    if (!memory.empty()) std::copy(bindings[i].begin(), bindings[i].end(), memory.begin());
  }
  MOAI_RETURN_IF_ERROR(runner->Run());
  std::vector<TensorBytes> outputs;
  uint32_t values = 0;
  for (const Output& output : captured.graph.outputs) {
    const bool value = output.kind == OutputKind::kValue;
    const absl::Span<const std::byte> memory = runner->Memory(
        value ? BufferKind::kOutput : BufferKind::kSlot, value ? values++ : output.index);
    outputs.emplace_back(memory.begin(), memory.end());
    if (!memory.empty() || value) continue;
    // A slot that stays as it is has no part in the program.
    for (size_t i = 0; i < bindings.size(); ++i) {
      if (captured.graph.inputs[i].value == output.value) outputs.back() = bindings[i];
    }
  }
  return outputs;
}

absl::Status CheckAgainstInterpreter(const CapturedGraph& captured, KernelFactory factory,
                                     std::mt19937_64& random) {
  const std::vector<TensorBytes> bindings = RandomBindings(captured, random);
  std::vector<ReferenceTensor> reference;
  for (size_t i = 0; i < bindings.size(); ++i) {
    reference.push_back(
        ReferenceTensor::FromBytes(captured.types[captured.graph.inputs[i].value], bindings[i]));
  }
  MOAI_ASSIGN_OR_RETURN(const std::vector<ReferenceTensor> want,
                        Interpret(captured.graph, captured.sizes, reference));
  MOAI_ASSIGN_OR_RETURN(const std::vector<TensorBytes> got,
                        RunGraph(captured, bindings, factory, {.threads = 2}));
  for (size_t i = 0; i < want.size(); ++i) {
    const TensorType& type = captured.types[captured.graph.outputs[i].value];
    if (got[i].size() != static_cast<size_t>(type.bytes())) {
      return absl::InternalError(absl::StrCat("output ", i, " has ", got[i].size(), " bytes"));
    }
    const std::string difference =
        Difference(type, Tolerance(captured, type.dtype), got[i], want[i]);
    if (difference.empty()) continue;
    MOAI_ASSIGN_OR_RETURN(const Program program,
                          CompileProgram(captured.graph, captured.sizes, {.threads = 2}));
    return absl::InternalError(absl::StrCat("output ", i, " (v", captured.graph.outputs[i].value,
                                            "): ", difference, "\n", Describe(captured),
                                            Explain(program)));
  }
  return absl::OkStatus();
}

absl::Status CheckRandomGraphs(int rounds, uint64_t seed, const RandomGraphOptions& options,
                               KernelFactory factory) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < rounds; ++round) {
    RandomGraphOptions drawn = options;
    drawn.nodes = 1 + static_cast<int>(random() % options.nodes);
    const CapturedGraph captured = RandomGraph(random, drawn);
    const absl::Status status = CheckAgainstInterpreter(captured, factory, random);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("round ", round, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace moai
