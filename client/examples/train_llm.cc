// Trains a Llama-style language model on a text, byte by byte, and samples from it.
//
// The program sees one accelerator. Where that is, and what it is made of, is not its business.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <random>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "client/examples/byte_text.h"
#include "client/examples/progress.h"
#include "client/examples/sample.h"
#include "client/moai.h"
#include "client/models/llama.h"

ABSL_FLAG(std::string, server, "", "host:port or unix:/path; else $MOAI_SERVER, else a local one");
ABSL_FLAG(std::string, text, "/usr/share/common-licenses",
          "file, or directory of files, to learn from");
ABSL_FLAG(int64_t, vocabulary, 256, "ids the model knows; bytes use the first 256");
ABSL_FLAG(int64_t, hidden, 128, "width of the model");
ABSL_FLAG(int64_t, ffn, 352, "width inside the feed-forward part");
ABSL_FLAG(int64_t, layers, 4, "blocks");
ABSL_FLAG(int64_t, heads, 4, "attention heads");
ABSL_FLAG(int64_t, kv_heads, 2, "key and value heads; divides heads");
ABSL_FLAG(int64_t, batch, 16, "sequences in a step");
ABSL_FLAG(int64_t, sequence, 128, "bytes in a sequence");
ABSL_FLAG(int64_t, steps, 300, "training steps");
ABSL_FLAG(double, learning_rate, 3e-3, "peak of the cosine schedule");
ABSL_FLAG(int64_t, warmup, 20, "steps until the peak");
ABSL_FLAG(double, weight_decay, 0.1, "decoupled, as AdamW has it");
ABSL_FLAG(double, clip, 1.0, "bound on the norm of all gradients; 0: none");
ABSL_FLAG(double, dropout, 0, "probability of dropping an element");
ABSL_FLAG(std::string, dtype, "f32", "f32, or bf16: mixed precision with f32 weights");
ABSL_FLAG(int64_t, log_every, 10, "read and print the loss every so many steps");
ABSL_FLAG(bool, read_first, false,
          "read losses before the backward pass, as programs do that log them there");
ABSL_FLAG(uint64_t, seed, 1, "of weights, batches, dropout and samples");
ABSL_FLAG(int64_t, sample, 160, "bytes to sample at the end");
ABSL_FLAG(double, temperature, 0.7, "of sampling; 0: always the likeliest byte");
ABSL_FLAG(std::string, save, "", "safetensors file to write at the end");
ABSL_FLAG(std::string, load, "", "safetensors file to begin from");
ABSL_FLAG(bool, stats, false, "print what the session cost");

namespace moai::examples {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

absl::StatusOr<std::optional<Dtype>> ComputeDtype() {
  const std::string name = absl::GetFlag(FLAGS_dtype);
  if (name == "f32") return std::nullopt;
  if (name == "bf16") return Dtype::kBF16;
  return absl::InvalidArgumentError(absl::StrCat("--dtype must be f32 or bf16, got ", name));
}

models::LlamaConfig ConfigFromFlags() {
  return {.vocabulary = absl::GetFlag(FLAGS_vocabulary),
          .hidden = absl::GetFlag(FLAGS_hidden),
          .ffn = absl::GetFlag(FLAGS_ffn),
          .layers = absl::GetFlag(FLAGS_layers),
          .heads = absl::GetFlag(FLAGS_heads),
          .kv_heads = absl::GetFlag(FLAGS_kv_heads),
          .sequence = absl::GetFlag(FLAGS_sequence),
          .dropout = absl::GetFlag(FLAGS_dropout)};
}

absl::Status CheckFlags(const models::LlamaConfig& config, const ByteText& text) {
  if (config.vocabulary < 256) {
    return absl::InvalidArgumentError("--vocabulary must be at least 256: ids are bytes");
  }
  if (config.heads < 1 || config.hidden % config.heads != 0 ||
      config.hidden / config.heads % 2 != 0) {
    return absl::InvalidArgumentError("--heads must divide --hidden into heads of an even size");
  }
  if (config.kv_heads < 1 || config.heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError("--kv_heads must divide --heads");
  }
  if (config.sequence < 1 || config.sequence >= text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--sequence must be in [1, ", text.size(), "), the length of the text"));
  }
  if (absl::GetFlag(FLAGS_batch) < 1 || absl::GetFlag(FLAGS_log_every) < 1) {
    return absl::InvalidArgumentError("--batch and --log_every must be at least 1");
  }
  return absl::OkStatus();
}

struct Losses {
  double first = 0;
  double last = 0;
};

// Steps are recorded and sent without waiting; only reading a loss waits for the accelerator, so
// the time between two reads is the time the steps between them took.
absl::StatusOr<Losses> Train(models::Llama& model, const ByteText& text) {
  MOAI_ASSIGN_OR_RETURN(const std::optional<Dtype> compute_dtype, ComputeDtype());
  const int64_t steps = absl::GetFlag(FLAGS_steps);
  const int64_t batch_size = absl::GetFlag(FLAGS_batch);
  const int64_t sequence = model.config().sequence;
  const int64_t log_every = absl::GetFlag(FLAGS_log_every);
  const bool read_first = absl::GetFlag(FLAGS_read_first);
  const double clip = absl::GetFlag(FLAGS_clip);
  const double peak = absl::GetFlag(FLAGS_learning_rate);
  const std::vector<nn::NamedTensor> parameters = model.NamedParameters();
  optim::AdamW optimizer(
      parameters,
      {.learning_rate = peak, .beta2 = 0.95, .weight_decay = absl::GetFlag(FLAGS_weight_decay)});
  const optim::CosineSchedule schedule = {.warmup_steps = absl::GetFlag(FLAGS_warmup),
                                          .total_steps = steps};
  std::mt19937_64 random(absl::GetFlag(FLAGS_seed));
  Losses losses;
  Clock::time_point begin = Clock::now();
  int64_t steps_since = 0;
  for (int64_t step = 0; step < steps; ++step) {
    const Batch batch = text.Draw(batch_size, sequence, random);
    optimizer.set_learning_rate(peak * schedule.Factor(step));
    Tensor loss;
    {
      const std::optional<Autocast> autocast =
          compute_dtype.has_value() ? std::optional<Autocast>(std::in_place, *compute_dtype)
                                    : std::nullopt;
      loss = model.Loss(Tensor::FromData(batch.ids, {batch_size, sequence}),
                        Tensor::FromData(batch.labels, {batch_size, sequence}));
    }
    const bool log = step == 0 || (step + 1) % log_every == 0 || step + 1 == steps;
    double value = 0;
    const auto read = [&]() -> absl::Status {
      const Progress progress("waiting for the accelerator", 1);
      MOAI_ASSIGN_OR_RETURN(value, loss.Item());
      return absl::OkStatus();
    };
    if (log && read_first) MOAI_RETURN_IF_ERROR(read());
    MOAI_RETURN_IF_ERROR(loss.Backward());
    optim::StepOptions options = {.release_gradients = true};
    if (clip > 0) options.gradient_scale = optim::ClipGradientNorm(parameters, clip).scale;
    MOAI_RETURN_IF_ERROR(optimizer.Step(options));
    ++steps_since;
    if (!log) continue;

    if (!read_first) MOAI_RETURN_IF_ERROR(read());
    const double duration = SecondsSince(begin) / static_cast<double>(steps_since);
    absl::PrintF("[Step %d/%d] | Loss: %.5f | Duration: %.3f | Throughput: %.2f tokens/sec\n",
                 step + 1, steps, value, duration,
                 static_cast<double>(batch_size * sequence) / duration);
    std::fflush(stdout);
    if (step == 0) losses.first = value;
    losses.last = value;
    begin = Clock::now();
    steps_since = 0;
  }
  return losses;
}

void PrintStats(const Accelerator& accelerator, int64_t steps) {
  const SessionStats stats = accelerator.stats();
  absl::PrintF(
      "stats: steps=%d graphs=%d control_bytes=%d control_bytes_per_step=%.0f feed_bytes=%d "
      "bytes_read=%d blocking_round_trips=%d reconnects=%d\n",
      stats.steps, stats.graphs_registered, stats.control_bytes_sent,
      static_cast<double>(stats.control_bytes_sent) /
          static_cast<double>(std::max<int64_t>(1, steps)),
      stats.feed_bytes_sent, stats.bytes_read, stats.blocking_round_trips, stats.reconnects);
}

absl::Status Run() {
  MOAI_ASSIGN_OR_RETURN(const ByteText text, ByteText::Load(absl::GetFlag(FLAGS_text)));
  MOAI_RETURN_IF_ERROR(CheckFlags(ConfigFromFlags(), text));
  MOAI_ASSIGN_OR_RETURN(Accelerator accelerator,
                        Accelerator::Connect({.server = absl::GetFlag(FLAGS_server)}));
  ManualSeed(absl::GetFlag(FLAGS_seed));
  models::Llama model(ConfigFromFlags());
  MOAI_RETURN_IF_ERROR(model.status());
  if (const std::string path = absl::GetFlag(FLAGS_load); !path.empty()) {
    MOAI_RETURN_IF_ERROR(LoadTensors(path, model.StateDict()).status());
  }
  absl::PrintF("%s: %d parameters, %d bytes of text\n", accelerator.name(), model.ParameterCount(),
               text.size());

  MOAI_ASSIGN_OR_RETURN(const Losses losses, Train(model, text));
  if (absl::GetFlag(FLAGS_stats)) PrintStats(accelerator, absl::GetFlag(FLAGS_steps));
  if (absl::GetFlag(FLAGS_steps) > 0) {
    absl::PrintF("Loss: %.4f at the start, %.4f at the end\n", losses.first, losses.last);
  }

  if (const int64_t count = absl::GetFlag(FLAGS_sample); count > 0) {
    model.Eval();
    std::mt19937_64 random(absl::GetFlag(FLAGS_seed));
    const std::string prompt = text.Excerpt(std::min<int64_t>(32, model.config().sequence), random);
    MOAI_ASSIGN_OR_RETURN(const std::string continuation,
                          Sample(model, prompt,
                                 {.count = count,
                                  .temperature = absl::GetFlag(FLAGS_temperature),
                                  .seed = absl::GetFlag(FLAGS_seed)}));
    absl::PrintF("--- sample\n%s|%s\n---\n", prompt, continuation);
  }
  if (const std::string path = absl::GetFlag(FLAGS_save); !path.empty()) {
    MOAI_RETURN_IF_ERROR(SaveTensors(path, model.StateDict()));
  }
  return accelerator.Synchronize();
}

}  // namespace
}  // namespace moai::examples

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("trains a small language model on one virtual accelerator");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = moai::examples::Run();
  if (status.ok()) return 0;
  std::cerr << "train_llm: " << status.message() << "\n";
  return 1;
}
