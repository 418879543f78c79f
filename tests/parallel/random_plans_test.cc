// Random graphs under random plans, through executors: each device's program is compiled and run by
// an executor's core, over real links, in two or three processes. Together they give what the
// reference interpreter gives on one device.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "graph/interpreter.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_node.h"
#include "gtest/gtest.h"
#include "scheduler/partition/testing/random_decisions.h"
#include "scheduler/partition/testing/run_on_devices.h"
#include "tests/parallel/forked_processes.h"
#include "worker/executor/executor_core.h"
#include "worker/executor/session_peers.h"
#include "worker/kernels/cpu/cpu_kernels.h"
#include "worker/kernels/testing/graph_parity.h"

namespace moai {
namespace {

constexpr int kProcesses = 3;
constexpr int64_t kMostDevices = 8;
// Ids of an executor's objects, by binding.
constexpr uint64_t kValues = 1000, kSlots = 2000, kFeeds = 3000, kOutputs = 4000;

// A graph, its inputs, a plan, and which process has which devices. All processes draw the same
// cases in the same order, so that nothing of a case needs to be sent.
struct RandomCase {
  // `steer`: towards what the coverage misses.
  RandomCase(int seed, bool steer, PlanCoverage* coverage)
      : random(uint64_t(seed)),
        wanted(steer ? DrawMissing(random, *coverage) : std::nullopt),
        captured(DrawGraph(random, /*most_nodes=*/10, wanted)),
        decisions(captured, random, coverage) {
    const auto bytes = RandomBindings(captured, random);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bindings.push_back(
          ReferenceTensor::FromBytes(captured.types[captured.graph.inputs[i].value], bytes[i]));
    }
    want = Interpret(captured.graph, captured.sizes, bindings);
    request = decisions.Draw(
        {.most_devices = kMostDevices,
         .schedule = wanted.has_value() ? std::optional(std::get<2>(*wanted)) : std::nullopt});
    const int64_t devices = request.mesh.DeviceCount();
    const int64_t processes =
        RandomInt(random, std::min<int64_t>(2, devices), std::min<int64_t>(kProcesses, devices));
    devices_of.assign(size_t(processes), 1);
    for (int64_t i = processes; i < devices; ++i) {
      ++devices_of[size_t(RandomInt(random, 0, processes - 1))];
    }
  }

  std::mt19937_64 random;
  const std::optional<PlanCoverage::Cell> wanted;
  const CapturedGraph captured;
  RandomDecisions decisions;
  std::vector<ReferenceTensor> bindings;
  absl::StatusOr<std::vector<ReferenceTensor>> want = absl::UnknownError("not run");
  PartitionRequest request;
  std::vector<int64_t> devices_of;  // by process
};

// ---- In an executor's process -------------------------------------------------------------------

// Writes a tensor: rank, extents, bytes.
void Append(std::string& text, const ReadView& view) {
  const auto number = [&text](int64_t value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  number(view.type.shape.rank());
  for (const int64_t extent : view.type.shape) number(extent);
  number(view.bytes->size());
  text.append(reinterpret_cast<const char*>(view.bytes->data()), size_t(view.bytes->size()));
}

absl::Status Bind(ExecutorCore& core, const DeviceGraph& part,
                  const std::vector<ReferenceTensor>& bindings, std::vector<FeedSource>& feeds,
                  std::vector<ScalarUpdate>& scalars) {
  const size_t constants = part.constants.size();
  for (size_t i = 0; i < bindings.size(); ++i) {
    const Input& input = part.graph->inputs[i];
    const ReferenceTensor& binding = bindings[i];
    if (input.kind == InputKind::kScalar) {
      if (input.index >= part.graph->scalar_count - constants) continue;
      Scalar scalar;
      scalar.i64 = 0;
      if (IsFloat(binding.type.dtype)) {
        scalar.f64 = binding.floats[0];
      } else {
        scalar.i64 = binding.integers[0];
      }
      scalars.push_back({input.index, scalar});
      continue;
    }
    const uint64_t first = input.kind == InputKind::kSlot   ? kSlots
                           : input.kind == InputKind::kFeed ? kFeeds
                                                            : kValues;
    MOAI_RETURN_IF_ERROR(core.Upload(first + input.index, binding.type, binding.ToBytes()));
    if (input.kind == InputKind::kFeed) feeds[input.index].uploaded = first + input.index;
  }
  return absl::OkStatus();
}

// The outputs of one device's part, one after the other.
absl::StatusOr<std::string> RunDevice(const RandomCase& one, const DeviceGraph& part,
                                      int64_t device, bool collectives, DevicePeers* peers) {
  ExecutorCore core({.memory_bytes = int64_t{1} << 28,
                     .device = {1},
                     .make_kernel = MakeCpuKernel,
                     .peers = peers});
  const Graph& graph = *part.graph;
  std::vector<FeedSource> feeds(graph.feed_count);
  std::vector<ScalarUpdate> scalars;
  absl::Status status = core.LoadStructure(1, CompileForDevices(graph));
  status.Update(core.LoadProgram(1, {.graph = 1,
                                     .structure = 1,
                                     .sizes = part.sizes,
                                     .groups = part.groups,
                                     .constants = part.constants,
                                     .collectives = collectives}));
  status.Update(
      Bind(core, part, BindingsOf(one.request, part, one.bindings, device), feeds, scalars));
  const ObjectRange slots[] = {{kSlots, graph.slot_count}};
  const ObjectRange values[] = {{kValues, graph.value_count}};
  // After an error too: the others wait for this device to say so.
  status.Update(core.Execute({.step = 1,
                              .program = 1,
                              .slots = slots,
                              .values = values,
                              .scalars = scalars,
                              .feeds = feeds,
                              .first_output = kOutputs}));
  MOAI_RETURN_IF_ERROR(status);
  MOAI_RETURN_IF_ERROR(core.link_status());
  std::string text;
  uint64_t next = kOutputs;
  for (const Output& output : graph.outputs) {
    const ReadView view =
        core.Read(output.kind == OutputKind::kValue ? next++ : kSlots + output.index);
    MOAI_RETURN_IF_ERROR(view.status);
    Append(text, view);
  }
  return text;
}

// Runs this process's devices, and tells the parent of each what it gave.
void RunDevices(const RandomCase& one, int process, StringPipe& parent) {
  if (size_t(process) >= one.devices_of.size()) return;
  proto::SessionShape shape;
  shape.set_executor(uint32_t(process));
  int64_t first = 0;
  for (size_t i = 0; i < one.devices_of.size(); ++i) {
    shape.add_devices(uint32_t(one.devices_of[i]));
    if (i < size_t(process)) first += one.devices_of[i];
  }
  auto peers = SessionPeers::Open(shape, "");
  for (size_t i = 0; i < one.devices_of.size(); ++i) {
    parent.Write(peers.ok() ? (*peers)->addresses()[i] : "");
  }
  proto::ConnectPeers addresses;
  for (size_t i = 0; i < one.devices_of.size(); ++i) {
    addresses.add_addresses(parent.Read().value_or(""));
  }
  absl::Status connected = peers.status();
  connected.Update(peers.ok() ? (*peers)->Connect(addresses) : absl::OkStatus());
  const absl::StatusOr<PartitionedGraph> partitioned = Partition(one.request);
  connected.Update(partitioned.status());

  const int64_t count = one.devices_of[size_t(process)];
  std::vector<absl::StatusOr<std::string>> results(
      size_t(count), connected.ok() ? absl::UnknownError("did not run") : connected);
  if (connected.ok()) {
    bool collectives = false;
    for (const DeviceGraph& part : partitioned->parts) {
      for (const Node& node : part.graph->nodes) collectives |= IsCollective(node.op);
    }
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        results[size_t(i)] = RunDevice(one, partitioned->parts[size_t(first + i)], first + i,
                                       collectives, (*peers)->For(size_t(i)));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (const absl::StatusOr<std::string>& result : results) {
    parent.Write(result.ok() ? "ok" : result.status().ToString());
    parent.Write(result.ok() ? *result : "");
  }
}

// ---- In the test's process ----------------------------------------------------------------------

// The reverse of Append, of all outputs.
std::vector<ReferenceTensor> Tensors(const Graph& graph, const std::string& text) {
  std::vector<ReferenceTensor> tensors;
  const char* at = text.data();
  const auto number = [&at] {
    int64_t value = 0;
    memcpy(&value, at, sizeof(value));
    at += sizeof(value);
    return value;
  };
  for (const Output& output : graph.outputs) {
    TensorType type{graph.values[output.value].dtype, {}};
    const int64_t rank = number();
    for (int64_t i = 0; i < rank; ++i) type.shape.push_back(number());
    const int64_t size = number();
    tensors.push_back(
        ReferenceTensor::FromBytes(type, {reinterpret_cast<const std::byte*>(at), size_t(size)}));
    at += size;
  }
  return tensors;
}

// What the executors give together.
absl::StatusOr<std::vector<ReferenceTensor>> RunOnExecutors(const RandomCase& one,
                                                            ForkedProcesses& processes,
                                                            double tolerance) {
  const size_t count = one.devices_of.size();
  const auto lost = absl::InternalError("an executor's process has ended");
  // [from][to]
  std::vector<std::vector<std::string>> addresses(count);
  for (size_t from = 0; from < count; ++from) {
    for (size_t to = 0; to < count; ++to) {
      std::optional<std::string> address = processes.pipe(int(from)).Read();
      if (!address.has_value()) return lost;
      addresses[from].push_back(*std::move(address));
    }
  }
  for (size_t to = 0; to < count; ++to) {
    for (size_t from = 0; from < count; ++from) {
      if (!processes.pipe(int(to)).Write(addresses[from][to])) return lost;
    }
  }
  std::vector<std::vector<ReferenceTensor>> results;
  absl::Status status;
  for (size_t process = 0; process < count; ++process) {
    for (int64_t i = 0; i < one.devices_of[process]; ++i) {
      const std::optional<std::string> how = processes.pipe(int(process)).Read();
      const std::optional<std::string> outputs = processes.pipe(int(process)).Read();
      if (!how.has_value() || !outputs.has_value()) return lost;
      if (*how == "ok") {
        results.push_back(Tensors(one.captured.graph, *outputs));
      } else {
        status.Update(absl::InternalError(absl::StrCat("device ", results.size(), ": ", *how)));
      }
    }
  }
  MOAI_RETURN_IF_ERROR(status);
  return JoinOutputs(one.request, results, tolerance);
}

void Check(const RandomCase& one, ForkedProcesses& processes) {
  const auto got =
      RunOnExecutors(one, processes, std::max(1e-4, Tolerance(one.captured, Dtype::kF32)));
  ASSERT_TRUE(got.ok()) << got.status();
  for (size_t i = 0; i < one.want->size(); ++i) {
    const TensorType& type = one.captured.types[one.captured.graph.outputs[i].value];
    EXPECT_EQ(
        Difference(type, Tolerance(one.captured, type.dtype), (*got)[i].ToBytes(), (*one.want)[i]),
        "")
        << "output " << i;
  }
}

// At least 500, and on until every placement of every op has occurred under every schedule.
constexpr int kMostCases = 3000;
constexpr char kSteer[] = "steer";
int LeastCases() {
  int cases = 500;
  if (const char* wanted = std::getenv("MOAI_RANDOM_PLANS")) {
    EXPECT_TRUE(absl::SimpleAtoi(wanted, &cases));
  }
  return cases;
}

TEST(RandomPlansTest, ExecutorsGiveWhatOneDeviceGives) {
  ForkedProcesses processes(kProcesses, [](int process, StringPipe& parent) {
    PlanCoverage coverage;
    int seed = 0;
    while (const std::optional<std::string> command = parent.Read()) {
      const RandomCase one(seed++, *command == kSteer, &coverage);
      if (one.want.ok()) RunDevices(one, process, parent);
    }
  });
  PlanCoverage coverage;
  const int least = LeastCases();
  int seed = 0, unusable = 0;
  for (; seed < least + unusable || (seed < kMostCases && !coverage.Missing().empty()); ++seed) {
    const bool steer = seed >= least + unusable;
    for (int i = 0; i < processes.count(); ++i) {
      ASSERT_TRUE(processes.pipe(i).Write(steer ? kSteer : "next"));
    }
    const RandomCase one(seed, steer, &coverage);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(one.request)));
    // An index that is out of range for one of its readers is another test's.
    if (!one.want.ok()) {
      ++unusable;
      continue;
    }
    Check(one, processes);
    if (HasFailure()) return;
  }
  EXPECT_LE(10 * unusable, seed);
  std::cout << seed - unusable << " cases\n" << coverage.Table() << std::endl;
  EXPECT_THAT(coverage.Missing(), testing::IsEmpty());
}

}  // namespace
}  // namespace moai
