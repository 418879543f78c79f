#include "tools/plan/options.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "client/models/catalog.h"
#include "scheduler/cost/cluster_file.h"
#include "scheduler/cost/gpu_types.h"

namespace moai {
namespace {

constexpr absl::string_view kKeys =
    "tp, pp, dp, micro_batch, micro_batches, recompute, zero, virtual_stages";

absl::StatusOr<int> ParseRecompute(absl::string_view text) {
  for (RecomputeMode mode :
       {RecomputeMode::kNone, RecomputeMode::kSelective, RecomputeMode::kFull}) {
    if (text == Name(mode)) return int(mode);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("recompute is none, selective or full, not '", text, "'"));
}

// The numbers of --force; 0 where one is not there.
struct Stated {
  int64_t tp = 0, pp = 0, dp = 0, cp = 1, ep = 1, micro_batch = 0, micro_batches = 0,
          virtual_stages = 0;
};

// Sequences and experts are split along the axis of tensor parallelism, in its place.
absl::Status ShareModelAxis(Stated& stated, SearchConstraints& constraints) {
  const int stated_sizes =
      (stated.tp > 1 ? 1 : 0) + (stated.cp > 1 ? 1 : 0) + (stated.ep > 1 ? 1 : 0);
  if (stated_sizes > 1) {
    return absl::UnimplementedError(
        "--force states more than one of tp, cp and ep: a plan has one axis beside dp and pp. "
        "State one of them; the search splits along it what else can be split");
  }
  if (stated.cp > 1) {
    constraints.sequence = 2;
    stated.tp = stated.cp;
  } else if (stated.ep > 1) {
    constraints.experts = 1;
    stated.tp = stated.ep;
  } else {
    constraints.tensor = stated.tp > 1;
  }
  return absl::OkStatus();
}

absl::Status FillIn(Stated& stated, int64_t devices) {
  // One of the three follows from the other two.
  int64_t product = 1;
  int64_t* missing = nullptr;
  int count = 0;
  for (int64_t* one : {&stated.tp, &stated.pp, &stated.dp}) {
    if (*one > 0) {
      // Too many are as good as one too many; the product itself may overflow.
      product = product > devices / *one ? devices + 1 : product * *one;
    } else {
      missing = one;
      ++count;
    }
  }
  if (devices % product != 0 || (count == 0 && product != devices)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tp * pp * dp must make ", devices, " devices; got tp=", stated.tp,
                     ", pp=", stated.pp, ", dp=", stated.dp, " (0: left out)"));
  }
  if (count == 1) *missing = devices / product;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SearchConstraints> ParseForce(absl::string_view text, int64_t devices,
                                             int64_t batch) {
  Stated stated;
  SearchConstraints constraints;
  std::set<std::string> seen;
  for (absl::string_view pair : absl::StrSplit(text, ',')) {
    const std::vector<std::string> parts = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const std::string& key = parts[0];
    if (parts.size() != 2 || parts[1].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--force is a list of key=value; '", pair, "' is none"));
    }
    if (!seen.insert(key).second) {
      return absl::InvalidArgumentError(absl::StrCat("--force states ", key, " twice"));
    }
    if (key == "recompute") {
      MOAI_ASSIGN_OR_RETURN(constraints.recompute, ParseRecompute(parts[1]));
      continue;
    }
    int64_t number = 0;
    const bool zero = key == "zero";
    if (!absl::SimpleAtoi(parts[1], &number) || number < (zero ? 0 : 1) || (zero && number > 3)) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, zero ? " is 0, 1, 2 or 3" : " is a whole number of at least 1",
                       ", not '", parts[1], "'"));
    }
    int64_t* to = key == "tp"               ? &stated.tp
                  : key == "pp"             ? &stated.pp
                  : key == "dp"             ? &stated.dp
                  : key == "cp"             ? &stated.cp
                  : key == "ep"             ? &stated.ep
                  : key == "micro_batch"    ? &stated.micro_batch
                  : key == "micro_batches"  ? &stated.micro_batches
                  : key == "virtual_stages" ? &stated.virtual_stages
                                            : nullptr;
    if (zero) {
      constraints.state = int(number);
    } else if (to != nullptr) {
      *to = number;
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("--force has no key '", key, "'; known are ", kKeys));
    }
  }
  MOAI_RETURN_IF_ERROR(ShareModelAxis(stated, constraints));
  MOAI_RETURN_IF_ERROR(FillIn(stated, devices));
  if (stated.micro_batch > 0) {
    if (stated.micro_batches > 0) {
      return absl::InvalidArgumentError("micro_batch and micro_batches say the same: state one");
    }
    if (stated.dp == 0) {
      return absl::InvalidArgumentError("micro_batch needs dp, or tp and pp from which it follows");
    }
    if (batch % stated.dp != 0 || batch / stated.dp % stated.micro_batch != 0) {
      return absl::InvalidArgumentError(absl::StrCat("a batch of ", batch, " over dp=", stated.dp,
                                                     " has no micro-batches of ",
                                                     stated.micro_batch));
    }
    stated.micro_batches = batch / stated.dp / stated.micro_batch;
  }
  constraints.data = stated.dp;
  constraints.model = stated.tp;
  constraints.stages = stated.pp;
  constraints.micro_batches = stated.micro_batches;
  constraints.virtual_stages = stated.virtual_stages;
  return constraints;
}

absl::StatusOr<CapturedStep> LoadStep(const std::string& model_or_file, const ModelOptions& options,
                                      int64_t devices) {
  absl::StatusOr<models::ModelConfig> config = models::FindModel(model_or_file);
  if (!config.ok()) {
    if (!std::ifstream(model_or_file)) {
      return absl::NotFoundError(
          absl::StrCat("'", model_or_file, "' is no file, and ", config.status().message()));
    }
    if (options.batch != 0 || options.sequence != 0) {
      return absl::InvalidArgumentError(
          "--batch and --sequence are for built-in models: a file's step has its own");
    }
    return LoadCapturedStep(model_or_file);
  }
  CaptureOptions capture;
  if (options.dtype == "f32") {
    capture.autocast = std::nullopt;
  } else if (options.dtype == "f16") {
    capture.autocast = Dtype::kF16;
  } else if (options.dtype != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--dtype is bf16, f16 or f32, not '", options.dtype, "'"));
  }
  if (options.sequence > 0) models::SetSequence(*config, options.sequence);
  return models::CaptureModel(model_or_file, *config, options.batch > 0 ? options.batch : devices,
                              capture);
}

absl::StatusOr<Cluster> LoadCluster(const std::string& file, const std::string& gpu,
                                    int64_t devices) {
  if (file.empty() == gpu.empty()) {
    return absl::InvalidArgumentError("name a cluster: --cluster=FILE, or --gpu=TYPE --devices=N");
  }
  if (!file.empty()) return ReadClusterFile(file);
  MOAI_ASSIGN_OR_RETURN(const GpuType* type, FindGpuType(gpu));
  const int64_t per_node = ClusterOf(*type, 1).devices_per_node;
  return ClusterOf(*type, (std::max<int64_t>(devices, 1) + per_node - 1) / per_node);
}

}  // namespace moai
