// Layers that multiply by a matrix: Linear and Embedding.
#ifndef MOAI_CLIENT_NN_LINEAR_H_
#define MOAI_CLIENT_NN_LINEAR_H_

#include <optional>

#include "client/nn/module.h"

namespace moai::nn {

struct LinearOptions {
  bool bias = true;
  Dtype dtype = Dtype::kF32;
  // Standard deviation of normally distributed initial weights. Without it, uniform in
  // +-1/sqrt(in), as PyTorch does.
  std::optional<double> init_stddev;
};

// y = x weight^T + bias over the last dim; weight [out, in].
class Linear : public Layer {
 public:
  Linear(int64_t in, int64_t out, const LinearOptions& options = {});
  Tensor Forward(const Tensor& x) override;

  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  // undefined without one

 private:
  Tensor weight_;
  Tensor bias_;
};

struct EmbeddingOptions {
  Dtype dtype = Dtype::kF32;
  double init_stddev = 1;
};

// Rows of a table [count, size] by id; ids of any shape. An id out of range is an error at the next
// read.
class Embedding : public Layer {
 public:
  Embedding(int64_t count, int64_t size, const EmbeddingOptions& options = {});
  Tensor Forward(const Tensor& ids) override;

  const Tensor& weight() const { return weight_; }

 private:
  Tensor weight_;
};

}  // namespace moai::nn

#endif  // MOAI_CLIENT_NN_LINEAR_H_
