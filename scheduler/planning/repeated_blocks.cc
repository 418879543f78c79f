#include "scheduler/planning/repeated_blocks.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "scheduler/planning/block_rows.h"
#include "scheduler/planning/node_kinds.h"

namespace moai {
namespace {

constexpr ValueId kNone = RepeatedBlocks::kNone;
constexpr uint32_t kNoNode = UINT32_MAX;
constexpr int32_t kNoIndex = std::numeric_limits<int32_t>::min();
// A block has at most so many heavy nodes, in one pass.
constexpr size_t kMostHeavy = 1024;
// How many periods are tried.
constexpr size_t kMostTries = 8;
// Of what a node reads: how many blocks away it may be made.
constexpr int32_t kFarthest = 2;
// How many blocks at the ends of a row may turn out to be different.
constexpr int32_t kMostCropped = 3;

bool IsRandom(Op op) {
  return op == Op::kRandomUniform || op == Op::kRandomNormal || op == Op::kRandomBernoulli;
}

// What a node is, but for which values it reads.
size_t SymbolOf(const Node& node, absl::Span<const int64_t> sizes,
                absl::Span<const TensorType> types) {
  size_t hash =
      absl::HashOf(uint16_t(node.op), node.numbers, Extents(node, sizes), node.output_count);
  // Which random numbers they are differs from block to block.
  if (!IsRandom(node.op)) hash = absl::HashOf(hash, node.attributes);
  const auto add = [&](const TensorType& type) {
    hash = absl::HashOf(hash, uint8_t(type.dtype), type.shape.span());
  };
  for (ValueId input : node.inputs) add(types[input]);
  for (uint32_t k = 0; k < node.output_count; ++k) add(types[node.first_output + k]);
  return hash;
}

// Structure that all tries share.
struct Structure {
  Structure(const Graph& whole, absl::Span<const int64_t> sizes, absl::Span<const TensorType> all)
      : graph(whole), types(all) {
    producer.assign(graph.values.size(), kNoNode);
    input.assign(graph.values.size(), kNoNode);
    for (uint32_t i = 0; i < graph.inputs.size(); ++i) input[graph.inputs[i].value] = i;
    first_reader.assign(graph.values.size() + 1, 0);
    for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      symbols.push_back(SymbolOf(node, sizes, types));
      if (IsHeavy(node)) heavy.push_back(i);
      for (uint32_t k = 0; k < node.output_count; ++k) producer[node.first_output + k] = i;
      for (ValueId read : node.inputs) ++first_reader[read + 1];
    }
    for (size_t v = 0; v < graph.values.size(); ++v) first_reader[v + 1] += first_reader[v];
    readers.resize(first_reader.back());
    std::vector<uint32_t> filled(first_reader.begin(), first_reader.end() - 1);
    for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      for (uint32_t k = 0; k < node.inputs.size(); ++k) {
        readers[filled[node.inputs[k]]++] = {i, k};
      }
    }
  }

  struct Reader {
    uint32_t node = 0;
    uint32_t operand = 0;
  };
  absl::Span<const Reader> ReadersOf(ValueId value) const {
    return absl::MakeConstSpan(readers).subspan(first_reader[value],
                                                first_reader[value + 1] - first_reader[value]);
  }

  const Graph& graph;
  const absl::Span<const TensorType> types;
  std::vector<size_t> symbols;     // by node
  std::vector<uint32_t> heavy;     // nodes
  std::vector<uint32_t> producer;  // by value
  std::vector<uint32_t> input;     // by value: its position among the graph's inputs
  std::vector<uint32_t> first_reader;
  std::vector<Reader> readers;
};

// Heavy nodes [begin, end), of which each is like the one `period` later.
struct Run {
  size_t period = 0;
  size_t begin = 0;
  size_t end = 0;
  size_t repeats() const { return (end - begin) / period; }
};

// One run at most for each period, the one that covers most first; of equal ones the shorter
// period.
std::vector<Run> FindRuns(const Structure& structure, size_t least) {
  const std::vector<uint32_t>& heavy = structure.heavy;
  const auto symbol = [&](size_t i) { return structure.symbols[heavy[i]]; };
  std::vector<Run> runs;
  for (size_t period = 1; period <= std::min(kMostHeavy, heavy.size() / least); ++period) {
    Run best;
    for (size_t begin = 0; begin + period < heavy.size();) {
      size_t i = begin;
      while (i + period < heavy.size() && symbol(i) == symbol(i + period)) ++i;
      if (i + period - begin > best.end - best.begin) best = {period, begin, i + period};
      begin = i + 1;
    }
    if (best.period != 0 && best.repeats() >= least) runs.push_back(best);
  }
  // A multiple of a period covers no more than a node or two beyond it.
  std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) {
    return (a.repeats() - 1) * a.period > (b.repeats() - 1) * b.period;
  });
  return runs;
}

// Grows counterparts from those of one run.
class Matcher {
 public:
  Matcher(const Structure& structure, const Run& run) : s_(structure), run_(run) {
    next_.assign(s_.graph.values.size(), kNone);
    previous_.assign(s_.graph.values.size(), kNone);
    index_.assign(s_.graph.values.size(), kNoIndex);
  }

  std::vector<ValueRow> Match() {
    for (size_t i = run_.begin; i + run_.period < run_.end; ++i) {
      Propose(s_.graph.nodes[s_.heavy[i]].first_output,
              s_.graph.nodes[s_.heavy[i + run_.period]].first_output,
              int32_t((i - run_.begin) / run_.period));
    }
    // Operands before readers: which operand is whose counterpart is never in doubt.
    size_t operands = 0, readers = 0;
    while (readers < found_.size()) {
      while (operands < found_.size()) MatchOperands(found_[operands++]);
      const size_t end = found_.size();
      while (readers < end) MatchReaders(found_[readers++]);
    }
    return Rows();
  }

 private:
  const Node* ProducerOf(ValueId value) const {
    return s_.producer[value] == kNoNode ? nullptr : &s_.graph.nodes[s_.producer[value]];
  }

  bool Alike(ValueId a, ValueId b) const {
    const uint32_t m = s_.producer[a], n = s_.producer[b];
    if ((m == kNoNode) != (n == kNoNode) || m == n) {
      return m == kNoNode && n == kNoNode && a != b && s_.types[a] == s_.types[b] &&
             s_.graph.inputs[s_.input[a]].kind == s_.graph.inputs[s_.input[b]].kind;
    }
    return s_.symbols[m] == s_.symbols[n] &&
           a - s_.graph.nodes[m].first_output == b - s_.graph.nodes[n].first_output;
  }

  // `b` is the counterpart of `a` in the next block, where nothing speaks against it. `index` is
  // a's block, where it has none yet.
  bool Propose(ValueId a, ValueId b, int32_t index) {
    if (next_[a] == b) return true;
    if (next_[a] != kNone || previous_[b] != kNone || !Alike(a, b)) return false;
    if (index_[a] != kNoIndex) {
      index = index_[a];
    } else if (index_[b] != kNoIndex) {
      index = index_[b] - 1;
    }
    if (index_[b] != kNoIndex && index_[b] != index + 1) return false;
    const Node* m = ProducerOf(a);
    const Node* n = ProducerOf(b);
    const uint32_t count = m == nullptr ? 1 : m->output_count;
    const ValueId first = m == nullptr ? a : m->first_output;
    const ValueId second = n == nullptr ? b : n->first_output;
    for (uint32_t k = 0; k < count; ++k) {
      next_[first + k] = second + k;
      previous_[second + k] = first + k;
      index_[first + k] = index;
      index_[second + k] = index + 1;
      found_.push_back(first + k);
    }
    return true;
  }

  void MatchOperands(ValueId value) {
    const Node* a = ProducerOf(value);
    const Node* b = ProducerOf(next_[value]);
    if (a == nullptr || value != a->first_output) return;
    for (size_t i = 0; i < a->inputs.size(); ++i) {
      if (a->inputs[i] != b->inputs[i]) Propose(a->inputs[i], b->inputs[i], index_[value]);
    }
  }

  // Readers of one kind are matched in their order, where both values have as many.
  void MatchReaders(ValueId value) {
    using Kind = std::pair<size_t, uint32_t>;  // symbol, operand
    absl::flat_hash_map<Kind, std::vector<uint32_t>> mine, others;
    for (const Structure::Reader& reader : s_.ReadersOf(value)) {
      if (next_[s_.graph.nodes[reader.node].first_output] != kNone) continue;
      mine[{s_.symbols[reader.node], reader.operand}].push_back(reader.node);
    }
    if (mine.empty()) return;
    for (const Structure::Reader& reader : s_.ReadersOf(next_[value])) {
      if (previous_[s_.graph.nodes[reader.node].first_output] != kNone) continue;
      others[{s_.symbols[reader.node], reader.operand}].push_back(reader.node);
    }
    for (const Structure::Reader& reader : s_.ReadersOf(value)) {
      const auto from = mine.find({s_.symbols[reader.node], reader.operand});
      if (from == mine.end()) continue;
      const auto to = others.find(from->first);
      if (to != others.end() && to->second.size() == from->second.size()) {
        for (size_t i = 0; i < from->second.size(); ++i) {
          MatchNodes(from->second[i], to->second[i], index_[value]);
        }
      }
      mine.erase(from);
    }
  }

  void MatchNodes(uint32_t a, uint32_t b, int32_t index) {
    if (a == b) return;
    const Node& m = s_.graph.nodes[a];
    const Node& n = s_.graph.nodes[b];
    for (size_t i = 0; i < m.inputs.size(); ++i) {
      const ValueId x = m.inputs[i], y = n.inputs[i];
      if (x == y) continue;
      if ((next_[x] != kNone || previous_[y] != kNone) && next_[x] != y) return;
    }
    Propose(m.first_output, n.first_output, index);
  }

  std::vector<ValueRow> Rows() const {
    std::vector<ValueRow> rows;
    for (ValueId value = 0; value < next_.size(); ++value) {
      if (next_[value] == kNone || previous_[value] != kNone) continue;
      rows.emplace_back();
      for (ValueId v = value; v != kNone; v = next_[v]) rows.back().push_back(v);
    }
    return rows;
  }

  const Structure& s_;
  const Run run_;
  std::vector<ValueId> next_, previous_;
  std::vector<int32_t> index_;  // of the block, counted from where the run begins
  std::vector<ValueId> found_;  // values with a counterpart in the next block
};

// Whether inner blocks are read by blocks near them only, and counterparts read counterparts.
bool Holds(const Structure& structure, const RepeatedBlocks& blocks) {
  const int32_t last = blocks.count - 1;
  for (const Node& node : structure.graph.nodes) {
    const int32_t mine = blocks.block[node.first_output];
    for (ValueId input : node.inputs) {
      const int32_t its = blocks.block[input];
      if (its == RepeatedBlocks::kOutside || its == 0 || its == last) continue;
      if (mine == RepeatedBlocks::kOutside || std::abs(mine - its) > kFarthest) {
        return false;
      }
    }
    if (mine == RepeatedBlocks::kOutside || mine == last) continue;
    const Node& other = structure.graph.nodes[structure.producer[blocks.next[node.first_output]]];
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId a = node.inputs[i], b = other.inputs[i];
      if (a == b) continue;
      // At the ends the row touches what is outside.
      const int32_t from = blocks.block[a], to = blocks.block[b];
      const bool begins = mine < kFarthest && from == RepeatedBlocks::kOutside && to < kFarthest;
      const bool ends = mine >= last - kFarthest && (from == last || from == -1) && to == -1;
      if (begins || ends) continue;
      if (from == RepeatedBlocks::kOutside || blocks.next[a] != b) return false;
    }
  }
  return true;
}

// Without the first `from_low` and the last `from_high` blocks, which are outside then.
RepeatedBlocks Crop(const RepeatedBlocks& blocks, int32_t from_low, int32_t from_high) {
  RepeatedBlocks inner = blocks;
  inner.count -= from_low + from_high;
  for (ValueId value = 0; value < inner.block.size(); ++value) {
    if (blocks.block[value] == RepeatedBlocks::kOutside) continue;
    int32_t& block = inner.block[value];
    block -= from_low;
    if (block < 0 || block >= inner.count) block = RepeatedBlocks::kOutside;
    if (block < 0 || block == inner.count - 1) inner.next[value] = kNone;
  }
  return inner;
}

}  // namespace

RepeatedBlocks FindRepeatedBlocks(const Graph& graph, absl::Span<const int64_t> sizes,
                                  absl::Span<const TensorType> types, int32_t least) {
  const Structure structure(graph, sizes, types);
  const std::vector<Run> runs = FindRuns(structure, size_t(std::max(2, least)));
  for (size_t i = 0; i < runs.size() && i < kMostTries; ++i) {
    // Rows are shorter by a block or two where they touch what is outside.
    const size_t shortest = std::max<size_t>(2, runs[i].repeats() - 2);
    const RepeatedBlocks blocks =
        NumberBlocks(graph, Matcher(structure, runs[i]).Match(), shortest);
    // What touches the ends of the row may reach further in.
    for (int32_t cropped = 0; cropped <= kMostCropped; ++cropped) {
      for (int32_t low = 0; low <= cropped && blocks.count - cropped >= least; ++low) {
        RepeatedBlocks inner = Crop(blocks, low, cropped - low);
        if (Holds(structure, inner)) return inner;
      }
    }
  }
  RepeatedBlocks none;
  none.block.assign(graph.values.size(), RepeatedBlocks::kOutside);
  none.next.assign(graph.values.size(), kNone);
  return none;
}

}  // namespace moai
