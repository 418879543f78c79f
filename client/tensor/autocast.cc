#include "client/tensor/autocast.h"

#include <utility>

namespace moai {
namespace {

thread_local std::optional<Dtype> current;

}  // namespace

Autocast::Autocast(Dtype dtype) : before_(std::exchange(current, dtype)) {}
Autocast::~Autocast() { current = before_; }
std::optional<Dtype> Autocast::Current() { return current; }

Tensor Autocasted(const Tensor& x) {
  return current.has_value() && IsFloat(x.dtype()) ? x.To(*current) : x;
}

}  // namespace moai
