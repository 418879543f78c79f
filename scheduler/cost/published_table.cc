#include "scheduler/cost/published_table.h"

#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace moai {
namespace {

struct Field {
  std::string text;
  int line = 0;
};

// Splits CSV text into records of fields (RFC 4180). Lines are counted for errors.
class CsvReader {
 public:
  explicit CsvReader(absl::string_view text) : rest_(text) {}

  bool done() const { return rest_.empty(); }
  int line() const { return line_; }

  absl::StatusOr<std::vector<Field>> Record() {
    std::vector<Field> fields;
    while (true) {
      MOAI_ASSIGN_OR_RETURN(Field field, OneField(fields.size() + 1));
      fields.push_back(std::move(field));
      if (absl::ConsumePrefix(&rest_, ",")) continue;
      absl::ConsumePrefix(&rest_, "\r");
      absl::ConsumePrefix(&rest_, "\n");
      ++line_;
      return fields;
    }
  }

 private:
  absl::StatusOr<Field> OneField(size_t position) {
    Field field{.line = line_};
    if (!absl::ConsumePrefix(&rest_, "\"")) {
      size_t length = rest_.find_first_of(",\r\n");
      length = std::min(length, rest_.size());
      field.text = std::string(rest_.substr(0, length));
      rest_.remove_prefix(length);
      return field;
    }
    while (true) {
      const size_t quote = rest_.find('"');
      if (quote == absl::string_view::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", field.line, ", field ", position, ": the quote does not end"));
      }
      absl::StrAppend(&field.text, rest_.substr(0, quote));
      for (char c : rest_.substr(0, quote)) line_ += c == '\n' ? 1 : 0;
      rest_.remove_prefix(quote + 1);
      if (!absl::ConsumePrefix(&rest_, "\"")) break;
      field.text.push_back('"');
    }
    if (!rest_.empty() && absl::string_view(",\r\n").find(rest_[0]) == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line_, ", field ", position, ": text after the closing quote"));
    }
    return field;
  }

  absl::string_view rest_;
  int line_ = 1;
};

absl::Status Set(absl::string_view text, std::string* target) {
  *target = std::string(text);
  return absl::OkStatus();
}

absl::Status Set(absl::string_view text, std::optional<double>* target) {
  double number = 0;
  if (text.empty()) return absl::OkStatus();
  if (!absl::SimpleAtod(text, &number) || !std::isfinite(number) || number < 0) {
    return absl::InvalidArgumentError("is not a number of at least 0");
  }
  *target = number;
  return absl::OkStatus();
}

absl::Status Set(absl::string_view text, std::optional<int64_t>* target) {
  std::optional<double> number;
  MOAI_RETURN_IF_ERROR(Set(text, &number));
  if (!number.has_value()) return absl::OkStatus();
  if (*number != std::floor(*number) || *number > 1e15) {
    return absl::InvalidArgumentError("is not a whole number");
  }
  *target = static_cast<int64_t>(*number);
  return absl::OkStatus();
}

// NotFound for a column that no field stands for.
absl::Status SetColumn(absl::string_view column, absl::string_view text, PublishedRow* row) {
#define MOAI_COLUMN(name) \
  if (column == #name) return Set(text, &row->name)
  MOAI_COLUMN(source);
  MOAI_COLUMN(model);
  MOAI_COLUMN(params_B);
  MOAI_COLUMN(layers);
  MOAI_COLUMN(hidden);
  MOAI_COLUMN(ffn);
  MOAI_COLUMN(heads);
  MOAI_COLUMN(kv_heads);
  MOAI_COLUMN(vocab);
  MOAI_COLUMN(seq_len);
  MOAI_COLUMN(gpu);
  MOAI_COLUMN(gpus);
  MOAI_COLUMN(gpu_mem_GB);
  MOAI_COLUMN(nvlink_domain);
  MOAI_COLUMN(nic_GBps_per_gpu);
  MOAI_COLUMN(tp);
  MOAI_COLUMN(pp);
  MOAI_COLUMN(dp);
  MOAI_COLUMN(cp);
  MOAI_COLUMN(ep);
  MOAI_COLUMN(zero_or_fsdp);
  MOAI_COLUMN(micro_batch);
  MOAI_COLUMN(global_batch);
  MOAI_COLUMN(recompute);
  MOAI_COLUMN(precision);
  MOAI_COLUMN(tflops_per_gpu);
  MOAI_COLUMN(tokens_per_s_per_gpu);
  MOAI_COLUMN(mfu_pct);
  MOAI_COLUMN(peak_mem_GB);
  MOAI_COLUMN(notes);
#undef MOAI_COLUMN
  return absl::NotFoundError("");
}

absl::Status CheckColumns(const std::vector<Field>& columns) {
  bool gpu = false;
  bool gpus = false;
  PublishedRow unused;
  for (const Field& column : columns) {
    if (absl::IsNotFound(SetColumn(column.text, "", &unused))) {
      return absl::InvalidArgumentError(
          absl::StrCat("line 1: no column is named '", column.text, "'"));
    }
    gpu |= column.text == "gpu";
    gpus |= column.text == "gpus";
  }
  if (gpu && gpus) return absl::OkStatus();
  return absl::InvalidArgumentError("line 1: the columns 'gpu' and 'gpus' must be there");
}

absl::StatusOr<PublishedRow> ReadRow(const std::vector<Field>& columns,
                                     const std::vector<Field>& fields) {
  PublishedRow row;
  row.line = fields[0].line;
  if (fields.size() != columns.size()) {
    return absl::InvalidArgumentError(absl::StrCat("line ", row.line, ": ", fields.size(),
                                                   " fields, but ", columns.size(), " columns"));
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const absl::Status status = SetColumn(columns[i].text, fields[i].text, &row);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", fields[i].line, ", column '",
                                                     columns[i].text, "': '", fields[i].text, "' ",
                                                     status.message()));
    }
  }
  for (absl::string_view pair : absl::StrSplit(row.notes, ';', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    row.extra[std::string(absl::StripAsciiWhitespace(parts.first))] =
        std::string(absl::StripAsciiWhitespace(parts.second));
  }
  return row;
}

}  // namespace

std::optional<double> PublishedRow::ExtraNumber(absl::string_view key) const {
  const auto found = extra.find(std::string(key));
  double number = 0;
  if (found == extra.end() || !absl::SimpleAtod(found->second, &number)) return std::nullopt;
  return number;
}

absl::StatusOr<std::vector<PublishedRow>> ParsePublishedTable(absl::string_view csv) {
  CsvReader reader(csv);
  if (reader.done()) return absl::InvalidArgumentError("the table is empty");
  MOAI_ASSIGN_OR_RETURN(const std::vector<Field> columns, reader.Record());
  MOAI_RETURN_IF_ERROR(CheckColumns(columns));
  std::vector<PublishedRow> rows;
  while (!reader.done()) {
    MOAI_ASSIGN_OR_RETURN(const std::vector<Field> fields, reader.Record());
    if (fields.size() == 1 && fields[0].text.empty()) continue;  // an empty line
    MOAI_ASSIGN_OR_RETURN(PublishedRow row, ReadRow(columns, fields));
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<std::vector<PublishedRow>> ReadPublishedTable(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the table '", path, "'"));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  absl::StatusOr<std::vector<PublishedRow>> rows = ParsePublishedTable(text);
  if (rows.ok()) return rows;
  return absl::Status(rows.status().code(), absl::StrCat(path, ": ", rows.status().message()));
}

}  // namespace moai
