// The client library in one include: a virtual accelerator in a program's hands.
//
//   auto accelerator = moai::Accelerator::Connect();
//   if (!accelerator.ok()) ...
//   moai::nn::Linear layer(16, 4);
//   moai::Tensor y = layer(moai::Normal({8, 16}));
//   absl::StatusOr<std::vector<float>> values = y.ToVector<float>();
#ifndef MOAI_CLIENT_MOAI_H_
#define MOAI_CLIENT_MOAI_H_

#include "client/accelerator.h"
#include "client/autograd/grad_node.h"
#include "client/io/state_dict.h"
#include "client/nn/attention.h"
#include "client/nn/conv.h"
#include "client/nn/dropout.h"
#include "client/nn/linear.h"
#include "client/nn/loss.h"
#include "client/nn/moe.h"
#include "client/nn/module.h"
#include "client/nn/norm.h"
#include "client/nn/sequential.h"
#include "client/optim/adam.h"
#include "client/optim/clip.h"
#include "client/optim/schedule.h"
#include "client/optim/sgd.h"
#include "client/tensor/autocast.h"
#include "client/tensor/ops.h"
#include "client/tensor/random.h"
#include "client/tensor/tensor.h"

#endif  // MOAI_CLIENT_MOAI_H_
