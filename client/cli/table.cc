#include "client/cli/table.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace moai {
namespace {

constexpr size_t kPadding = 2;

std::string Spaces(size_t count) { return std::string(count, ' '); }

std::string Printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, '?');
  return text;
}

std::string Cell(const std::string& text, Align align, size_t width) {
  const size_t space = width - Utf8Length(text);
  size_t left = kPadding;
  if (align == Align::kRight) left = space - kPadding;
  if (align == Align::kCenter) left = space / 2;
  return absl::StrCat(Spaces(left), text, Spaces(space - left));
}

std::string Heading(const std::string& heading, size_t width) {
  const size_t more = width - heading.size();
  return absl::StrCat(Spaces((more + 1) / 2), heading, Spaces(more / 2));
}

}  // namespace

std::string RenderTable(const Table& table) {
  std::vector<std::vector<std::string>> rows = table.rows;
  std::vector<size_t> widths;
  size_t inner = table.columns.size() - 1;  // the bars between the columns
  for (size_t c = 0; c < table.columns.size(); ++c) {
    size_t width = table.columns[c].heading.size();
    for (std::vector<std::string>& row : rows) {
      row[c] = Printable(std::move(row[c]));
      width = std::max(width, Utf8Length(row[c]) + 2 * kPadding);
    }
    widths.push_back(width);
    inner += width;
  }
  const size_t title = table.title.empty() ? 0 : table.title.size() + 2 * kPadding;
  if (title > inner) {
    widths.back() += title - inner;
    inner = title;
  }
  const std::string line = absl::StrCat("+", std::string(inner, '-'), "+\n");
  std::string text = line;
  if (!table.title.empty()) {
    absl::StrAppend(&text, "|", Cell(table.title, Align::kRight, inner), "|\n", line);
  }
  for (size_t c = 0; c < widths.size(); ++c) {
    absl::StrAppend(&text, "|", Heading(table.columns[c].heading, widths[c]));
  }
  absl::StrAppend(&text, "|\n+", std::string(inner, '='), "+\n");
  for (const std::vector<std::string>& row : rows) {
    for (size_t c = 0; c < widths.size(); ++c) {
      absl::StrAppend(&text, "|", Cell(row[c], table.columns[c].align, widths[c]));
    }
    absl::StrAppend(&text, "|\n");
  }
  return text + line;
}

}  // namespace moai
