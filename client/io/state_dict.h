// Named tensors between a safetensors file and the accelerator, one at a time: neither side needs
// room for all of them here.
#ifndef MOAI_CLIENT_IO_STATE_DICT_H_
#define MOAI_CLIENT_IO_STATE_DICT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/io/safetensors.h"
#include "client/nn/module.h"

namespace moai {

// Waits for each tensor and writes it straight into the file. The file appears complete or not at
// all.
absl::Status SaveTensors(const std::string& path, const std::vector<nn::NamedTensor>& tensors,
                         const SafetensorsMetadata& metadata = {});

// Replaces the content of every tensor by the file's of that name, converted to the tensor's dtype.
// The bytes are sent from the mapped file in the background. Names and shapes must match exactly,
// or nothing is replaced: InvalidArgument names the first that does not. Returns the file's
// metadata.
absl::StatusOr<SafetensorsMetadata> LoadTensors(const std::string& path,
                                                const std::vector<nn::NamedTensor>& tensors);

}  // namespace moai

#endif  // MOAI_CLIENT_IO_STATE_DICT_H_
