#include "scheduler/partition/factors.h"

#include <utility>

#include "absl/container/flat_hash_map.h"

namespace moai {
namespace {

using List = std::vector<FactorId>;  // major first

// Factors under construction: a union-find whose sets may be split in two, each member alike.
class FactorSets {
 public:
  FactorId Add(int64_t extent) {
    sets_.push_back({.parent = FactorId(sets_.size()), .extent = extent});
    return FactorId(sets_.size() - 1);
  }

  FactorId Root(FactorId id) {
    while (sets_[id].parent != id) id = sets_[id].parent = sets_[sets_[id].parent].parent;
    return id;
  }
  int64_t extent(FactorId root) const { return sets_[root].extent; }

  // The factors that a list stands for by now: roots that are not split.
  List Resolve(const List& list) {
    List resolved;
    for (FactorId id : list) Append(id, resolved);
    return resolved;
  }

  // Makes two lists of equal product alike, from the outermost on, as far as extents allow.
  void Unify(const List& first, const List& second) {
    List a = Resolve(first), b = Resolve(second);
    // Reversed, so that the outermost is taken from the back.
    std::vector<FactorId> x(a.rbegin(), a.rend()), y(b.rbegin(), b.rend());
    while (!x.empty() && !y.empty()) {
      Expand(x);
      Expand(y);
      const FactorId f = x.back(), g = y.back();
      const int64_t m = extent(f), n = extent(g);
      if (m == n) {
        if (f != g) sets_[g].parent = f;
        x.pop_back();
        y.pop_back();
      } else if (m > n && m % n == 0) {
        Split(f, n);
      } else if (n > m && n % m == 0) {
        Split(g, m);
      } else {
        return;
      }
    }
  }

 private:
  struct Set {
    FactorId parent = 0;
    int64_t extent = 1;
    FactorId major = kNoFactor;  // of a root that is split
    FactorId minor = kNoFactor;
  };

  void Append(FactorId id, List& to) {
    id = Root(id);
    if (sets_[id].major == kNoFactor) {
      to.push_back(id);
      return;
    }
    Append(sets_[id].major, to);
    Append(sets_[id].minor, to);
  }

  void Expand(std::vector<FactorId>& reversed) {
    FactorId id = Root(reversed.back());
    while (sets_[id].major != kNoFactor) {
      reversed.back() = sets_[id].minor;
      id = Root(sets_[id].major);
      reversed.push_back(id);
    }
    reversed.back() = id;
  }

  void Split(FactorId root, int64_t major) {
    const FactorId a = Add(major), b = Add(sets_[root].extent / major);
    sets_[root].major = a;
    sets_[root].minor = b;
  }

  std::vector<Set> sets_;
};

class Analysis {
 public:
  explicit Analysis(absl::Span<const TensorType> types) : types_(types) {
    for (const TensorType& type : types) {
      first_dim_.push_back(uint32_t(dims_.size()));
      for (int64_t extent : type.shape) {
        dims_.push_back(extent > 1 ? List{sets_.Add(extent)} : List{});
      }
    }
  }

  void Reshape(const Node& node) {
    const Shape& from = types_[node.inputs[0]].shape;
    const Shape& to = types_[node.first_output].shape;
    if (from.elements() == 0) return;
    int i = 0, j = 0;
    while (i < from.rank() || j < to.rank()) {
      // The fewest dims of both that hold the same elements.
      List left, right;
      int64_t m = 1, n = 1;
      do {
        if ((m <= n && i < from.rank()) || j == to.rank()) {
          Add(node.inputs[0], i, left);
          m *= from[i++];
        } else {
          Add(node.first_output, j, right);
          n *= to[j++];
        }
      } while (m != n);
      sets_.Unify(left, right);
    }
  }

  void Indices(const Node& node, const IndexSignature& signature) {
    for (size_t index = 0; index < signature.indices.size(); ++index) {
      const IndexKind kind = signature.indices[index].kind;
      // Classes of a cross entropy are whole in its rule, and may be split by hand
      // (vocabulary_loss.h).
      const bool classes = node.op == Op::kCrossEntropyGrad && kind == IndexKind::kWhole;
      if ((kind == IndexKind::kWhole && !classes) || kind == IndexKind::kHalo) continue;
      List first;
      int64_t first_extent = 0;
      const auto join = [&](ValueId value, absl::Span<const int8_t> dims) {
        for (size_t dim = 0; dim < dims.size(); ++dim) {
          if (dims[dim] != int8_t(index)) continue;
          const int64_t extent = types_[value].shape[int(dim)];
          if (extent <= 1) continue;
          const List& list = dims_[first_dim_[value] + dim];
          if (first_extent == 0) {
            first = list;
            first_extent = extent;
          } else if (extent == first_extent) {
            sets_.Unify(first, list);
          } else {
            JoinMultiples(first, first_extent, list, extent);
          }
        }
      };
      for (size_t i = 0; i < node.inputs.size(); ++i) join(node.inputs[i], signature.inputs[i]);
      for (size_t i = 0; i < node.output_count; ++i) {
        join(node.first_output + ValueId(i), signature.outputs[i]);
      }
    }
  }

  void Finish(std::vector<FactorPlace>& places, std::vector<uint32_t>& begins,
              std::vector<uint32_t>& first_dim, std::vector<int64_t>& extents) {
    absl::flat_hash_map<FactorId, FactorId> numbers;
    for (const List& dim : dims_) {
      begins.push_back(uint32_t(places.size()));
      const List list = sets_.Resolve(dim);
      int64_t rest = 1;
      for (FactorId root : list) rest *= sets_.extent(root);
      int64_t outer = 1;
      for (FactorId root : list) {
        const auto [number, added] = numbers.try_emplace(root, FactorId(extents.size()));
        const int64_t extent = sets_.extent(root);
        if (added) extents.push_back(extent);
        rest /= extent;
        places.push_back({number->second, outer, extent, rest});
        outer *= extent;
      }
    }
    begins.push_back(uint32_t(places.size()));
    first_dim = std::move(first_dim_);
  }

 private:
  void Add(ValueId value, int dim, List& to) const {
    const List& list = dims_[first_dim_[value] + size_t(dim)];
    to.insert(to.end(), list.begin(), list.end());
  }

  // Heads of attention: each key head serves several query heads, so the larger extent has the
  // smaller as its outer factor.
  void JoinMultiples(const List& a, int64_t m, const List& b, int64_t n) {
    const int64_t large = std::max(m, n), small = std::min(m, n);
    if (large % small != 0) return;
    List extended = m < n ? a : b;
    extended.push_back(sets_.Add(large / small));
    sets_.Unify(m < n ? b : a, extended);
  }

  const absl::Span<const TensorType> types_;
  FactorSets sets_;
  std::vector<List> dims_;
  std::vector<uint32_t> first_dim_;
};

}  // namespace

Factors Factors::Analyze(const Graph& graph, absl::Span<const TensorType> types,
                         absl::Span<const IndexSignature> signatures) {
  Analysis analysis(types);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op == Op::kReshape) {
      analysis.Reshape(graph.nodes[i]);
    } else {
      analysis.Indices(graph.nodes[i], signatures[i]);
    }
  }
  Factors factors;
  analysis.Finish(factors.places_, factors.begins_, factors.first_dim_, factors.extents_);
  return factors;
}

}  // namespace moai
