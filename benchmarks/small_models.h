// Models whose training step takes some tens of milliseconds on one core, of kinds that want
// different plans.
#ifndef MOAI_BENCHMARKS_SMALL_MODELS_H_
#define MOAI_BENCHMARKS_SMALL_MODELS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/moai.h"

namespace moai {

struct SmallTraining {
  std::shared_ptr<nn::Module> module;
  std::function<Tensor(int step)> loss;  // of another batch in each step; makes its feeds
};

struct SmallModel {
  std::string name;
  std::function<SmallTraining()> make;  // on the current session
};

// llama: many tokens, few parameters. wide: few tokens, many parameters. gpt, mixtral (a mixture of
// four experts), resnet, vit.
std::vector<SmallModel> SmallModels();

}  // namespace moai

#endif  // MOAI_BENCHMARKS_SMALL_MODELS_H_
