// Tables in the style of moreh-smi: framed, one line a row, a double line below the headings.
#ifndef MOAI_CLIENT_CLI_TABLE_H_
#define MOAI_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace moai {

enum class Align { kLeft, kRight, kCenter };

struct TableColumn {
  std::string heading;  // with its padding: the least width of the column
  Align align = Align::kLeft;
};

struct Table {
  // A line above the headings, at the right; empty: none.
  std::string title;
  std::vector<TableColumn> columns;
  std::vector<std::vector<std::string>> rows;  // UTF-8, as many cells as columns
};

// Ends with a newline. A cell has two spaces on either side; a column that has longer cells is
// widened, and its heading stays in the middle. Control characters are shown as '?'.
std::string RenderTable(const Table& table);

}  // namespace moai

#endif  // MOAI_CLIENT_CLI_TABLE_H_
