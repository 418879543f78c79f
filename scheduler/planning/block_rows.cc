#include "scheduler/planning/block_rows.h"

#include <algorithm>
#include <limits>

namespace moai {
namespace {

constexpr uint32_t kNoNode = UINT32_MAX;
constexpr int32_t kUnplaced = std::numeric_limits<int32_t>::min();

struct Pass {
  bool backwards = false;  // runs through the blocks from the last to the first
  ValueRow reference;      // of its first row, in the order in which they run
  std::vector<size_t> rows;
  std::vector<int32_t> starts;  // by row of the pass: slot of its first value to run
};

class Numbering {
 public:
  Numbering(const Graph& graph, std::vector<ValueRow> rows, size_t least)
      : graph_(graph), rows_(std::move(rows)) {
    for (ValueRow& row : rows_) row = LongestOrdered(row);
    std::erase_if(rows_, [&](const ValueRow& row) { return row.size() < least; });
    const auto begin = [](const ValueRow& row) { return std::min(row.front(), row.back()); };
    std::stable_sort(rows_.begin(), rows_.end(),
                     [&](const ValueRow& a, const ValueRow& b) { return begin(a) < begin(b); });
    producer_.assign(graph.values.size(), kNoNode);
    for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      for (uint32_t k = 0; k < node.output_count; ++k) producer_[node.first_output + k] = i;
    }
  }

  RepeatedBlocks Run() {
    for (size_t row = 0; row < rows_.size(); ++row) JoinPass(row);
    block_.assign(graph_.values.size(), kUnplaced);
    for (const Pass& pass : passes_) Place(pass);
    return Window();
  }

 private:
  // Blocks run one after another. What was matched beyond the ends of the model does not.
  static ValueRow LongestOrdered(const ValueRow& row) {
    size_t best = 0, length = 0;
    for (size_t begin = 0; begin + 1 < row.size();) {
      const bool rises = row[begin] < row[begin + 1];
      size_t end = begin + 2;
      while (end < row.size() && (row[end - 1] < row[end]) == rises) ++end;
      if (end - begin > length) best = begin, length = end - begin;
      begin = end - 1;
    }
    return ValueRow(row.begin() + ptrdiff_t(best), row.begin() + ptrdiff_t(best + length));
  }

  static bool Backwards(const ValueRow& row) { return row.front() > row.back(); }

  static ValueRow InOrder(ValueRow row) {
    if (Backwards(row)) std::reverse(row.begin(), row.end());
    return row;
  }

  // How many of the pass's reference run before, for the first of the row: by its middle, as its
  // ends may lie beyond the reference's.
  static int32_t StartIn(const Pass& pass, const ValueRow& ordered) {
    const size_t middle = ordered.size() / 2;
    const auto at = std::upper_bound(pass.reference.begin(), pass.reference.end(), ordered[middle]);
    return int32_t(at - pass.reference.begin()) - int32_t(middle);
  }

  void JoinPass(size_t row) {
    const ValueRow ordered = InOrder(rows_[row]);
    for (Pass& pass : passes_) {
      if (pass.backwards != Backwards(rows_[row])) continue;
      const ValueId begin = std::max(ordered.front(), pass.reference.front());
      const ValueId end = std::min(ordered.back(), pass.reference.back());
      const ValueId shorter = std::min(ordered.back() - ordered.front(),
                                       pass.reference.back() - pass.reference.front());
      if (begin >= end || end - begin < shorter / 2) continue;
      pass.rows.push_back(row);
      pass.starts.push_back(StartIn(pass, ordered));
      return;
    }
    passes_.push_back({Backwards(rows_[row]), ordered, {row}, {1}});
  }

  // Block of a row's i-th value, by the pass's own count.
  int32_t Own(const Pass& pass, size_t row, size_t i) const {
    const int32_t count = int32_t(rows_[pass.rows[row]].size());
    return pass.backwards ? -(pass.starts[row] + count - 1 - int32_t(i))
                          : pass.starts[row] + int32_t(i);
  }

  void Place(const Pass& pass) {
    // What the middle of each row reads of passes that are placed.
    int32_t least = std::numeric_limits<int32_t>::max();
    int32_t most = std::numeric_limits<int32_t>::min();
    for (size_t k = 0; k < pass.rows.size(); ++k) {
      const ValueRow& row = rows_[pass.rows[k]];
      const size_t middle = row.size() / 2;
      if (producer_[row[middle]] == kNoNode) continue;
      for (ValueId input : graph_.nodes[producer_[row[middle]]].inputs) {
        if (block_[input] == kUnplaced) continue;
        const int32_t off = block_[input] - Own(pass, k, middle);
        least = std::min(least, off);
        most = std::max(most, off);
      }
    }
    const int32_t shift = least > most ? 0 : least + (most - least) / 2;
    for (size_t k = 0; k < pass.rows.size(); ++k) {
      const ValueRow& row = rows_[pass.rows[k]];
      for (size_t i = 0; i < row.size(); ++i) block_[row[i]] = Own(pass, k, i) + shift;
    }
  }

  // The blocks that all rows have.
  RepeatedBlocks Window() const {
    RepeatedBlocks blocks;
    if (rows_.empty()) return blocks;
    int32_t low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
    for (const ValueRow& row : rows_) {
      low = std::max(low, block_[row.front()]);
      high = std::min(high, block_[row.back()]);
    }
    if (high <= low) return blocks;
    blocks.count = high - low + 1;
    blocks.block.assign(graph_.values.size(), RepeatedBlocks::kOutside);
    blocks.next.assign(graph_.values.size(), RepeatedBlocks::kNone);
    for (const ValueRow& row : rows_) {
      for (size_t i = 0; i < row.size(); ++i) {
        const int32_t block = block_[row[i]];
        if (block < low || block > high) continue;
        blocks.block[row[i]] = block - low;
        if (block < high) blocks.next[row[i]] = row[i + 1];
      }
    }
    return blocks;
  }

  const Graph& graph_;
  std::vector<ValueRow> rows_;
  std::vector<uint32_t> producer_;  // by value
  std::vector<Pass> passes_;
  std::vector<int32_t> block_;  // by value
};

}  // namespace

RepeatedBlocks NumberBlocks(const Graph& graph, std::vector<ValueRow> rows, size_t least) {
  return Numbering(graph, std::move(rows), least).Run();
}

}  // namespace moai
