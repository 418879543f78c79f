// Trains the language model of client/models/llama.h through a local server, worker and executor
// and measures its step, reading the loss of every step. One side of `benchmarks/run.sh
// llm_vs_torch`; llm_in_torch.py is the other, with the same hyperparameters.
//
// With --make, writes initial weights and batches for both sides instead. Else it trains from
// those, and prints one JSON object: {"median_s": ..., "losses": [...]}.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/moai.h"
#include "client/models/llama.h"

ABSL_FLAG(bool, make, false, "write --weights and --tokens");
ABSL_FLAG(std::string, weights, "", "safetensors file of the initial weights");
ABSL_FLAG(std::string, tokens, "", "file of i32 ids [warmup + steps, batch, sequence + 1]");
ABSL_FLAG(std::string, dtype, "f32", "f32, or bf16: mixed precision with f32 weights");
ABSL_FLAG(int, warmup, 2, "steps that are not measured");
ABSL_FLAG(int, steps, 6, "steps that are");
ABSL_FLAG(int64_t, batch, 8, "sequences in a step");
ABSL_FLAG(int64_t, sequence, 256, "ids in a sequence");
ABSL_FLAG(int64_t, vocabulary, 8192, "ids");
ABSL_FLAG(int64_t, hidden, 384, "width of the model");
ABSL_FLAG(int64_t, ffn, 1024, "width inside the feed-forward part");
ABSL_FLAG(int64_t, layers, 8, "blocks");
ABSL_FLAG(int64_t, heads, 6, "attention heads");
ABSL_FLAG(int64_t, kv_heads, 2, "key and value heads");
ABSL_FLAG(double, learning_rate, 3e-4, "of AdamW");

namespace moai::examples {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

// Both sides of the shifted ids.
struct Batch {
  std::vector<int32_t> ids, labels;
};

absl::Status MakeFiles(models::Llama& model, int64_t tokens) {
  std::vector<int32_t> ids(tokens);
  std::mt19937 random(1);
  const auto vocabulary = uint32_t(absl::GetFlag(FLAGS_vocabulary));
  for (int32_t& id : ids) id = int32_t(random() % vocabulary);
  const std::string path = absl::GetFlag(FLAGS_tokens);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(ids.data()),
             std::streamsize(ids.size() * sizeof(int32_t)));
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return SaveTensors(absl::GetFlag(FLAGS_weights), model.StateDict());
}

absl::StatusOr<std::vector<Batch>> ReadBatches(int steps, int64_t batch, int64_t sequence) {
  const std::string path = absl::GetFlag(FLAGS_tokens);
  std::vector<int32_t> ids(steps * batch * (sequence + 1));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(ids.data()), std::streamsize(ids.size() * sizeof(int32_t)));
  if (!file) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has fewer than ", ids.size(), " ids"));
  }
  std::vector<Batch> batches(steps);
  auto row = ids.begin();
  for (Batch& step : batches) {
    for (int64_t i = 0; i < batch; ++i, row += sequence + 1) {
      step.ids.insert(step.ids.end(), row, row + sequence);
      step.labels.insert(step.labels.end(), row + 1, row + sequence + 1);
    }
  }
  return batches;
}

absl::Status Train(models::Llama& model, const std::vector<Batch>& batches, const Shape& shape) {
  optim::AdamW optimizer(
      model.NamedParameters(),
      {.learning_rate = absl::GetFlag(FLAGS_learning_rate), .beta2 = 0.95, .weight_decay = 0.1});
  const bool mixed = absl::GetFlag(FLAGS_dtype) == "bf16";
  std::vector<double> seconds, losses;
  for (const Batch& batch : batches) {
    const auto begin = steady_clock::now();
    Tensor loss;
    {
      std::optional<Autocast> autocast;
      if (mixed) autocast.emplace(Dtype::kBF16);
      loss = model.Loss(Tensor::FromData(batch.ids, shape), Tensor::FromData(batch.labels, shape));
    }
    MOAI_RETURN_IF_ERROR(loss.Backward());
    MOAI_RETURN_IF_ERROR(optimizer.Step({.release_gradients = true}));
    MOAI_ASSIGN_OR_RETURN(const double value, loss.Item());
    losses.push_back(value);
    seconds.push_back(duration<double>(steady_clock::now() - begin).count());
  }
  seconds.erase(seconds.begin(), seconds.begin() + absl::GetFlag(FLAGS_warmup));
  std::sort(seconds.begin(), seconds.end());
  const size_t n = seconds.size();
  printf("{\"median_s\": %.5f, \"losses\": [", (seconds[(n - 1) / 2] + seconds[n / 2]) / 2);
  for (size_t i = 0; i < losses.size(); ++i) printf("%s%.7f", i == 0 ? "" : ", ", losses[i]);
  printf("]}\n");
  return absl::OkStatus();
}

absl::Status Run() {
  const int steps = absl::GetFlag(FLAGS_warmup) + absl::GetFlag(FLAGS_steps);
  const int64_t batch = absl::GetFlag(FLAGS_batch), sequence = absl::GetFlag(FLAGS_sequence);
  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  if (absl::GetFlag(FLAGS_warmup) < 0 || absl::GetFlag(FLAGS_steps) < 1 ||
      (dtype != "f32" && dtype != "bf16")) {
    return absl::InvalidArgumentError("--warmup >= 0, --steps >= 1, --dtype f32 or bf16");
  }
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator, Accelerator::Connect());
  ManualSeed(1);
  models::Llama model({.vocabulary = absl::GetFlag(FLAGS_vocabulary),
                       .hidden = absl::GetFlag(FLAGS_hidden),
                       .ffn = absl::GetFlag(FLAGS_ffn),
                       .layers = absl::GetFlag(FLAGS_layers),
                       .heads = absl::GetFlag(FLAGS_heads),
                       .kv_heads = absl::GetFlag(FLAGS_kv_heads),
                       .sequence = sequence});
  MOAI_RETURN_IF_ERROR(model.status());
  if (absl::GetFlag(FLAGS_make)) return MakeFiles(model, steps * batch * (sequence + 1));
  MOAI_RETURN_IF_ERROR(LoadTensors(absl::GetFlag(FLAGS_weights), model.StateDict()).status());
  MOAI_ASSIGN_OR_RETURN(const std::vector<Batch> batches, ReadBatches(steps, batch, sequence));
  MOAI_RETURN_IF_ERROR(Train(model, batches, {batch, sequence}));
  return accelerator.Synchronize();
}

}  // namespace
}  // namespace moai::examples

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = moai::examples::Run();
  if (status.ok()) return 0;
  std::cerr << "llm_step_benchmark: " << status.message() << "\n";
  return 1;
}
