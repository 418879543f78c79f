#include "benchmarks/published_plans.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {
namespace {

constexpr double kGiga = 1e9;

absl::Status Missing(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not stated: ", what));
}

int64_t Or(const std::optional<int64_t>& value, int64_t fallback) {
  return value.has_value() ? *value : fallback;
}

int64_t Extra(const PublishedRow& row, absl::string_view key) {
  const std::optional<double> number = row.ExtraNumber(key);
  return number.has_value() && *number >= 1 && *number < 1e9 ? int64_t(std::llround(*number)) : 0;
}

absl::Status ReadSizes(const PublishedRow& row, PublishedCase& c) {
  if (!row.layers || !row.hidden || !row.heads || !row.vocab) {
    return Missing("the model's sizes (layers, hidden, heads, vocab)");
  }
  if (!row.seq_len) return Missing("the sequence length");
  c.sizes = {.layers = *row.layers,
             .hidden = *row.hidden,
             .ffn = Or(row.ffn, 0),
             .heads = *row.heads,
             .kv_heads = Or(row.kv_heads, 0),
             .vocabulary = *row.vocab,
             .sequence = *row.seq_len,
             .parameters = row.params_B.value_or(0) * kGiga};
  // Vocabularies are padded so that they split evenly.
  const int64_t multiple = 128 * Or(row.tp, 1);
  c.sizes.vocabulary = (c.sizes.vocabulary + multiple - 1) / multiple * multiple;
  return absl::OkStatus();
}

// Which of the two attentions: stated, or read from the precision. Training in f16 is of the time
// before fused kernels, whose matrices of weights took most of a run's memory: the reading that
// does not call fitting what does not fit.
// What selective recomputation computes again with a tensor axis is the inside of attention: then
// no weights are kept, as if it were fused.
bool FusedAttention(const PublishedRow& row, const StatedPlan& plan, Dtype dtype) {
  if (plan.recompute == RecomputeMode::kSelective && plan.model > 1) return true;
  if (row.extra.contains("noflash")) return false;
  return dtype != Dtype::kF16 || row.extra.contains("flash");
}

absl::Status ReadPrecision(const PublishedRow& row, PublishedCase& c) {
  const std::string text = absl::AsciiStrToLower(row.precision);
  if (absl::StrContains(text, "fp8")) {
    return absl::UnimplementedError("FP8: graphs have no such dtype");
  }
  if (absl::StrContains(text, "fp16") || absl::StrContains(text, "f16")) {
    c.dtype = absl::StrContains(text, "bf16") ? Dtype::kBF16 : Dtype::kF16;
  }
  return absl::OkStatus();
}

// Sequences of a step, of a micro-batch on one replica, and the number of micro-batches: two say
// the third.
absl::Status ReadBatch(const PublishedRow& row, PublishedCase& c) {
  int64_t micro = Or(row.micro_batch, 0), global = Or(row.global_batch, 0);
  int64_t count = Extra(row, "ga");
  if (count == 0) count = Extra(row, "num_micro_batches");
  if (micro == 0 && global == 0) {
    micro = Extra(row, "local_batch");
    if (count == 0) count = 1;
  }
  if (micro == 0 && count > 0) micro = global / (c.plan.data * count);
  // Memory does not depend on how many there are beyond those in flight.
  if (global == 0 && micro > 0 && count == 0 && row.peak_mem_GB.has_value() &&
      !row.tokens_per_s_per_gpu.has_value()) {
    count = 4 * c.plan.stages;
  }
  if (global == 0) global = micro * c.plan.data * count;
  if (micro == 0) return Missing("the micro-batch");
  if (global == 0) return Missing("the global batch");
  if (global % (c.plan.data * micro) != 0) {
    return absl::InvalidArgumentError("the batch does not divide over replicas and micro-batches");
  }
  c.batch = global;
  c.plan.micro_batches = global / (c.plan.data * micro);
  return absl::OkStatus();
}

// The number that ends "ZeRO-1 over 8", "FSDP2(8)", "FSDP(group=128)"; 0: none.
int64_t GroupIn(absl::string_view text) {
  size_t begin = text.find('(');
  if (begin == absl::string_view::npos) begin = text.find(" over ");
  if (begin == absl::string_view::npos) return 0;
  absl::string_view rest = text.substr(begin);
  while (!rest.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(rest[0]))) {
    rest.remove_prefix(1);
  }
  int64_t number = 0;
  for (char digit : rest) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit)) || number > 1000000) break;
    number = number * 10 + (digit - '0');
  }
  return number;
}

absl::Status ReadState(const PublishedRow& row, PublishedCase& c) {
  const std::string text = absl::AsciiStrToLower(row.zero_or_fsdp);
  if (text.empty() || text == "none" || text == "ddp") return absl::OkStatus();
  c.plan.state_group = GroupIn(text);
  if (absl::StrContains(text, "hsdp")) {
    // Sharded inside a node, replicated between nodes.
    c.plan.state = StateSharding::kParameters;
    c.plan.state_group = Or(row.nvlink_domain, 8);
  } else if (absl::StrContains(text, "zero-1") || absl::StrContains(text, "dist-optimizer")) {
    c.plan.state = StateSharding::kOptimizer;
  } else if (absl::StrContains(text, "zero-2") || absl::StrContains(text, "grad")) {
    c.plan.state = StateSharding::kGradients;
  } else if (absl::StrContains(text, "zero-3") || absl::StrContains(text, "fsdp")) {
    c.plan.state = StateSharding::kParameters;
  } else {
    return absl::InvalidArgumentError("unknown words for how state is sharded");
  }
  return absl::OkStatus();
}

absl::Status ReadPlan(const PublishedRow& row, PublishedCase& c) {
  if (!row.tp || !row.pp || !row.dp) return Missing("the plan (tp, pp, dp)");
  if (Or(row.ep, 1) > 1 || row.extra.contains("moe")) {
    return absl::UnimplementedError("mixtures of experts: the table has no column for experts");
  }
  c.plan.model = *row.tp;
  c.plan.stages = *row.pp;
  c.plan.data = *row.dp;
  c.plan.context = Or(row.cp, 1);
  c.plan.virtual_stages = c.plan.stages > 1 ? std::max<int64_t>(1, Extra(row, "vp")) : 1;
  c.devices = Or(row.gpus, 0);
  const int64_t product = c.plan.model * c.plan.stages * c.plan.context * c.plan.data;
  if (product != c.devices) {
    return absl::InvalidArgumentError("tp * pp * cp * dp is not the number of GPUs");
  }
  const std::string text = absl::AsciiStrToLower(row.recompute);
  c.recompute_stated = !text.empty();
  if (absl::StartsWith(text, "full")) {
    c.plan.recompute = RecomputeMode::kFull;
  } else if (absl::StartsWith(text, "selective")) {
    c.plan.recompute = RecomputeMode::kSelective;
  } else if (!text.empty() && !absl::StartsWith(text, "none")) {
    return absl::InvalidArgumentError("unknown words for what is recomputed");
  }
  if (absl::StrContains(text, "no sp") || absl::StrContains(text, "tp only")) {
    c.plan.light = LightNodes::kWhole;
  } else if (absl::StrContains(text, "sequence parallel")) {
    c.plan.light = LightNodes::kSplit;
  }
  MOAI_RETURN_IF_ERROR(ReadState(row, c));
  return ReadBatch(row, c);
}

absl::Status ReadCluster(const PublishedRow& row, PublishedCase& c) {
  std::string name = row.gpu;
  const double memory = row.gpu_mem_GB.value_or(0);
  // Types of one name with different memory are built in as NAME-<size>GB.
  if (memory > 0) {
    const std::string sized = absl::StrCat(name, "-", memory, "GB");
    if (FindGpuType(sized).ok()) name = sized;
  }
  const absl::StatusOr<const GpuType*> type = FindGpuType(name);
  if (!type.ok()) return absl::InvalidArgumentError("the GPU type is not built in");
  GpuType own = **type;
  if (memory > 0) own.device.memory_bytes = memory * kGibi;
  if (row.nvlink_domain.has_value()) own.fast_domain = int(*row.nvlink_domain);
  if (row.nic_GBps_per_gpu.value_or(0) > 0) own.network_bandwidth = *row.nic_GBps_per_gpu * kGiga;
  const int64_t per_node = std::min<int64_t>(8, std::max<int64_t>(1, c.devices));
  c.cluster = ClusterOf(own, (c.devices + per_node - 1) / per_node, per_node);
  c.memory_bytes = own.device.memory_bytes;
  return CheckCluster(c.cluster);
}

absl::Status ReadMeasurement(const PublishedRow& row, PublishedCase& c) {
  c.peak_bytes = row.peak_mem_GB.value_or(0) * kGibi;
  const double tokens = row.tokens_per_s_per_gpu.value_or(0);
  if (tokens > 0) {
    c.seconds = double(c.batch) * double(c.sizes.sequence) / (tokens * double(c.devices));
  } else {
    c.seconds = row.ExtraNumber("step_time_s").value_or(0);
  }
  if (c.seconds > 0 || c.peak_bytes > 0) return absl::OkStatus();
  return Missing("a throughput, a step time or a peak of memory");
}

}  // namespace

absl::StatusOr<PublishedCase> ReadCase(const PublishedRow& row) {
  PublishedCase c;
  MOAI_RETURN_IF_ERROR(ReadPlan(row, c));
  MOAI_RETURN_IF_ERROR(ReadSizes(row, c));
  MOAI_RETURN_IF_ERROR(ReadPrecision(row, c));
  c.sizes.fused_attention = FusedAttention(row, c.plan, c.dtype);
  // Programs that run op by op compute the loss from a copy of the logits in f32.
  c.sizes.f32_logits = !absl::StrContains(absl::AsciiStrToLower(row.notes), "compile");
  MOAI_RETURN_IF_ERROR(ReadCluster(row, c));
  MOAI_RETURN_IF_ERROR(ReadMeasurement(row, c));
  return c;
}

}  // namespace moai
