#include "client/io/state_dict.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/autograd/grad_node.h"

namespace moai {
namespace {

absl::Status CheckMatch(const std::string& path, const SafetensorsFile& file,
                        const std::vector<nn::NamedTensor>& tensors) {
  for (const nn::NamedTensor& entry : tensors) {
    MOAI_RETURN_IF_ERROR(entry.tensor.status());
    const auto found = file.entries().find(entry.name);
    if (found == file.entries().end()) {
      return absl::InvalidArgumentError(absl::StrCat(path, " has no tensor \"", entry.name, "\""));
    }
    if (found->second.type.shape == entry.tensor.shape()) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", entry.name, "\" is ",
                                                   ToString(found->second.type), ", expected ",
                                                   ToString(entry.tensor.type())));
  }
  if (file.entries().size() == tensors.size()) return absl::OkStatus();
  for (const auto& [name, unused] : file.entries()) {
    bool wanted = false;
    for (const nn::NamedTensor& entry : tensors) wanted |= entry.name == name;
    if (wanted) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has a tensor \"", name, "\" that nothing here takes"));
  }
  return absl::InvalidArgumentError("two tensors to load have the same name");
}

}  // namespace

absl::Status SaveTensors(const std::string& path, const std::vector<nn::NamedTensor>& tensors,
                         const SafetensorsMetadata& metadata) {
  std::vector<SafetensorsWriter::Tensor> layout;
  for (const nn::NamedTensor& entry : tensors) {
    MOAI_RETURN_IF_ERROR(entry.tensor.status());
    layout.push_back({entry.name, entry.tensor.type()});
  }
  MOAI_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                        SafetensorsWriter::Create(path, layout, metadata));
  for (size_t i = 0; i < tensors.size(); ++i) {
    MOAI_RETURN_IF_ERROR(tensors[i].tensor.ReadBytes(writer.destination(i)));
  }
  return writer.Finish();
}

absl::StatusOr<SafetensorsMetadata> LoadTensors(const std::string& path,
                                                const std::vector<nn::NamedTensor>& tensors) {
  MOAI_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  MOAI_RETURN_IF_ERROR(CheckMatch(path, file, tensors));
  const NoGradGuard no_grad;
  for (const nn::NamedTensor& entry : tensors) {
    const SafetensorsEntry& saved = file.entries().at(entry.name);
    Tensor tensor = entry.tensor;
    tensor.Copy_(
        Tensor::FromBytes(saved.type, {.bytes = file.bytes(saved), .owner = file.owner()}));
    MOAI_RETURN_IF_ERROR(tensor.status());
  }
  return file.metadata();
}

}  // namespace moai
