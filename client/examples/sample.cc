#include "client/examples/sample.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/status.h"
#include "client/examples/progress.h"
#include "client/moai.h"

namespace moai::examples {
namespace {

int Choose(const std::vector<float>& logits, double temperature, std::mt19937_64& random) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return static_cast<int>(likeliest - logits.begin());
  std::vector<double> weights;
  for (float logit : logits) weights.push_back(std::exp((logit - *likeliest) / temperature));
  return std::discrete_distribution<int>(weights.begin(), weights.end())(random);
}

std::string Printable(const std::string& bytes) {
  std::string text = bytes;
  for (char& c : text) {
    if (c != '\n' && (c < ' ' || c > '~')) c = '?';
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> Sample(models::Llama& model, const std::string& prompt,
                                   const SampleOptions& options) {
  if (prompt.empty())
    return absl::InvalidArgumentError("sampling needs a prompt of a byte at least");
  const NoGradGuard no_grad;
  const size_t window = static_cast<size_t>(model.config().sequence);
  std::mt19937_64 random(options.seed);
  std::string text = prompt;
  Progress progress("sampling", options.count);
  for (int64_t i = 0; i < options.count; ++i) {
    // One length for every call, so that one compiled graph serves all: what follows the text is
    // ignored, because attention is causal.
    const size_t used = std::min(window, text.size());
    std::vector<int32_t> ids(window, 0);
    for (size_t j = 0; j < used; ++j) {
      ids[j] = static_cast<uint8_t>(text[text.size() - used + j]);
    }
    const Tensor logits = model.Forward(Tensor::FromData(ids, {1, static_cast<int64_t>(window)}));
    const Tensor last =
        IndexSelect(logits.Reshape({static_cast<int64_t>(window), -1}), 0,
                    Tensor::FromData(std::vector<int32_t>{static_cast<int32_t>(used) - 1}, {1}))
            .Narrow(1, 0, 256);
    MOAI_ASSIGN_OR_RETURN(const std::vector<float> scores, last.To(Dtype::kF32).ToVector<float>());
    text.push_back(static_cast<char>(Choose(scores, options.temperature, random)));
    progress.Advance(i + 1);
  }
  return Printable(text.substr(prompt.size()));
}

}  // namespace moai::examples
