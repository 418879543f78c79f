// conv2d and its gradients by oneDNN, for f32 and bf16.
//
// oneDNN chooses the layouts; tensors that lie otherwise are reordered through scratch before and
// after. The reorders move each tensor once, a small part of a convolution's work.
#include "worker/kernels/cpu/conv_library.h"

#include <omp.h>

#include <array>
#include <dnnl.hpp>

#include "graph/window.h"

namespace moai {
namespace {

using dnnl::memory;

// What oneDNN calls the three tensors of a convolution, forward or backward.
enum Role { kInput, kWeight, kOutput };

struct Tensor {
  memory::desc plain;
  memory::desc chosen;
  Address address;
  int64_t scratch_offset = 0;  // of the reordered copy
  memory plain_memory, chosen_memory;
  dnnl::reorder reorder;  // into the chosen layout, or back for the result

  bool reordered() const { return plain != chosen; }
};

class LibraryConv final : public Kernel {
 public:
  // Throws dnnl::error where oneDNN has no implementation.
  explicit LibraryConv(const KernelContext& context)
      : engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_),
        op_(context.instruction.op),
        threads_(context.device.threads) {
    omp_set_num_threads(threads_);  // oneDNN lays its work out for the team it finds here
    attributes_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    // Which operand plays which role; the last of each is the instruction's output.
    const std::array<int, 3> operand = op_ == Op::kConv2d            ? std::array{0, 1, 2}
                                       : op_ == Op::kConv2dGradInput ? std::array{2, 1, 0}
                                                                     : std::array{1, 2, 0};
    const auto operand_of = [&](Role role) -> const Operand& {
      return operand[role] == 2 ? context.instruction.outputs[0]
                                : context.instruction.inputs[operand[role]];
    };
    result_ = op_ == Op::kConv2d ? kOutput : op_ == Op::kConv2dGradInput ? kInput : kWeight;
    const Shape& weight = operand_of(kWeight).shape;
    const Window window = ConvWindow(context.instruction.extents, weight[2], weight[3]);
    const auto type =
        operand_of(kInput).dtype == Dtype::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
    for (Role role : {kInput, kWeight, kOutput}) {
      const Shape& shape = operand_of(role).shape;
      memory::dims dims(shape.begin(), shape.end());
      if (role == kWeight && window.groups > 1) {
        dims[0] /= window.groups;
        dims.insert(dims.begin(), window.groups);
      }
      tensors_[role].plain = memory::desc(
          dims, type, dims.size() == 5 ? memory::format_tag::abcde : memory::format_tag::abcd);
      tensors_[role].chosen = memory::desc(dims, type, memory::format_tag::any);
      tensors_[role].address = AddressOf(operand_of(role));
    }
    MakePrimitive(window);
    LayOutScratch();
    // The results of inputs are copied before, that of the output after the primitive runs.
    for (Role role : {kInput, kWeight, kOutput}) MakeReorder(role);
  }

  int64_t scratch_bytes() const { return scratch_bytes_; }
  void set_scratch(const Address& scratch) { scratch_ = scratch; }

  void Run(const KernelArguments& arguments) override {
    if (omp_get_max_threads() != threads_) omp_set_num_threads(threads_);
    std::byte* scratch = scratch_bytes_ > 0 ? scratch_.at<std::byte>(arguments) : nullptr;
    for (Role role : {kInput, kWeight, kOutput}) {
      Tensor& tensor = tensors_[role];
      tensor.plain_memory.set_data_handle(tensor.address.at<void>(arguments));
      tensor.chosen_memory.set_data_handle(tensor.reordered() ? scratch + tensor.scratch_offset
                                                              : tensor.address.at<void>(arguments));
    }
    scratchpad_.set_data_handle(scratch == nullptr ? nullptr : scratch + scratchpad_offset_);
    for (Role role : {kInput, kWeight, kOutput}) {
      Tensor& tensor = tensors_[role];
      if (role != result_ && tensor.reordered()) {
        tensor.reorder.execute(stream_, tensor.plain_memory, tensor.chosen_memory);
      }
    }
    primitive_.execute(stream_, arguments_);
    Tensor& result = tensors_[result_];
    if (result.reordered()) {
      result.reorder.execute(stream_, result.chosen_memory, result.plain_memory);
    }
    stream_.wait();
  }

 private:
  void MakePrimitive(const Window& window) {
    const memory::dims strides = {window.h.stride, window.w.stride};
    const memory::dims dilations = {window.h.dilation - 1, window.w.dilation - 1};
    const memory::dims low = {window.h.low, window.w.low};
    const memory::dims high = {window.h.high, window.w.high};
    const memory::desc &x = tensors_[kInput].chosen, &w = tensors_[kWeight].chosen,
                       &y = tensors_[kOutput].chosen;
    const dnnl::convolution_forward::primitive_desc forward(
        dnnl::convolution_forward::desc(dnnl::prop_kind::forward_training,
                                        dnnl::algorithm::convolution_direct, x, w, y, strides,
                                        dilations, low, high),
        attributes_, engine_);
    if (op_ == Op::kConv2d) {
      primitive_ = dnnl::convolution_forward(forward);
      Choose(forward.src_desc(), forward.weights_desc(), forward.dst_desc(),
             forward.scratchpad_desc(), DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST);
    } else if (op_ == Op::kConv2dGradInput) {
      const dnnl::convolution_backward_data::primitive_desc backward(
          dnnl::convolution_backward_data::desc(dnnl::algorithm::convolution_direct, x, w, y,
                                                strides, dilations, low, high),
          attributes_, engine_, forward);
      primitive_ = dnnl::convolution_backward_data(backward);
      Choose(backward.diff_src_desc(), backward.weights_desc(), backward.diff_dst_desc(),
             backward.scratchpad_desc(), DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST);
    } else {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          dnnl::convolution_backward_weights::desc(dnnl::algorithm::convolution_direct, x, w, y,
                                                   strides, dilations, low, high),
          attributes_, engine_, forward);
      primitive_ = dnnl::convolution_backward_weights(backward);
      Choose(backward.src_desc(), backward.diff_weights_desc(), backward.diff_dst_desc(),
             backward.scratchpad_desc(), DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST);
    }
  }

  void Choose(const memory::desc& x, const memory::desc& w, const memory::desc& y,
              const memory::desc& scratchpad, int x_name, int w_name, int y_name) {
    const memory::desc* descs[] = {&x, &w, &y};
    const int names[] = {x_name, w_name, y_name};
    for (Role role : {kInput, kWeight, kOutput}) {
      Tensor& tensor = tensors_[role];
      tensor.chosen = *descs[role];
      tensor.plain_memory = memory(tensor.plain, engine_, nullptr);
      tensor.chosen_memory = memory(tensor.chosen, engine_, nullptr);
      arguments_[names[role]] = tensor.chosen_memory;
    }
    scratchpad_ = memory(scratchpad, engine_, nullptr);
    arguments_[DNNL_ARG_SCRATCHPAD] = scratchpad_;
  }

  void LayOutScratch() {
    const auto take = [this](int64_t bytes) {
      const int64_t offset = scratch_bytes_;
      scratch_bytes_ += (bytes + 63) / 64 * 64;
      return offset;
    };
    for (Tensor& tensor : tensors_) {
      if (tensor.reordered()) tensor.scratch_offset = take(tensor.chosen.get_size());
    }
    scratchpad_offset_ = take(scratchpad_.get_desc().get_size());
  }

  void MakeReorder(Role role) {
    Tensor& tensor = tensors_[role];
    if (!tensor.reordered()) return;
    const memory::desc& from = role == result_ ? tensor.chosen : tensor.plain;
    const memory::desc& to = role == result_ ? tensor.plain : tensor.chosen;
    tensor.reorder = dnnl::reorder(dnnl::reorder::primitive_desc(engine_, from, engine_, to));
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  Op op_;
  int threads_;
  Role result_ = kOutput;
  dnnl::primitive_attr attributes_;
  std::array<Tensor, 3> tensors_;
  dnnl::primitive primitive_;
  memory scratchpad_;
  std::unordered_map<int, memory> arguments_;
  Address scratch_;
  int64_t scratch_bytes_ = 0;
  int64_t scratchpad_offset_ = 0;
};

bool IsEmpty(const KernelContext& context) {
  return context.input_shape(0).elements() == 0 || context.input_shape(1).elements() == 0 ||
         context.output_shape(0).elements() == 0;
}

}  // namespace

std::unique_ptr<Kernel> MakeLibraryConvKernel(const KernelContext& context) {
  const Dtype dtype = context.input_dtype(0);
  if ((dtype != Dtype::kF32 && dtype != Dtype::kBF16) || IsEmpty(context)) return nullptr;
  try {
    auto kernel = std::make_unique<LibraryConv>(context);
    auto scratch = ScratchFor(context, kernel->scratch_bytes());
    if (!scratch.ok()) return nullptr;
    kernel->set_scratch(*scratch);
    return kernel;
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace moai
