// Published measurements of training steps, from a CSV table: what calibration fits to and what
// planners are judged by.
#ifndef MOAI_SCHEDULER_COST_PUBLISHED_TABLE_H_
#define MOAI_SCHEDULER_COST_PUBLISHED_TABLE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace moai {

// One measured configuration; the columns of the table have these names. What a source does not
// state is nullopt (numbers) or empty (words).
struct PublishedRow {
  int line = 0;  // of the file, from 1
  std::string source, model;
  std::optional<double> params_B;  // parameters, in billions
  std::optional<int64_t> layers, hidden, ffn, heads, kv_heads, vocab, seq_len;
  std::string gpu;
  std::optional<int64_t> gpus;
  std::optional<double> gpu_mem_GB;
  std::optional<int64_t> nvlink_domain;  // GPUs that share the fast links
  std::optional<double> nic_GBps_per_gpu;
  std::optional<int64_t> tp, pp, dp, cp, ep;
  std::string zero_or_fsdp;
  std::optional<int64_t> micro_batch, global_batch;  // sequences
  std::string recompute, precision;
  std::optional<double> tflops_per_gpu, tokens_per_s_per_gpu, mfu_pct, peak_mem_GB;
  std::string notes;
  std::map<std::string, std::string> extra;  // the key=value pairs of notes, separated by ';'

  // A number among the extra ones: "vp", "step_time_s", "ga".
  std::optional<double> ExtraNumber(absl::string_view key) const;
};

// The first line names the columns, in any order; unknown columns are an error, missing ones are
// not but for `gpu` and `gpus`. Fields may be quoted (RFC 4180). InvalidArgument names line and
// column: a number that is none or is negative, a quote that does not end, too few fields.
absl::StatusOr<std::vector<PublishedRow>> ParsePublishedTable(absl::string_view csv);

// NotFound where the file cannot be read; errors name it.
absl::StatusOr<std::vector<PublishedRow>> ReadPublishedTable(const std::string& path);

}  // namespace moai

#endif  // MOAI_SCHEDULER_COST_PUBLISHED_TABLE_H_
