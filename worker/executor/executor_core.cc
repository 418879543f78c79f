#include "worker/executor/executor_core.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "graph/infer.h"

namespace moai {
namespace {

// Whatever a client says a bool is, kernels see 0 or 1: another byte in a C++ bool is undefined
// behaviour.
void MakeValid(const TensorType& type, std::byte* bytes) {
  if (type.dtype != Dtype::kBool) return;
  for (int64_t i = 0; i < type.bytes(); ++i) bytes[i] = std::byte(bytes[i] != std::byte{0});
}

absl::Status WithStep(uint64_t step, const absl::Status& status) {
  if (step == 0) return status;
  return absl::Status(status.code(), absl::StrCat("step ", step, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Bytes>> Bytes::Allocate(DeviceMemory& memory, int64_t size) {
  MOAI_ASSIGN_OR_RETURN(std::byte * data, memory.Allocate(size));
  return std::shared_ptr<Bytes>(new Bytes(memory, data, size));
}

ExecutorCore::ExecutorCore(const ExecutorOptions& options)
    : options_(options), memory_(options.memory_bytes) {}

ExecutorCore::~ExecutorCore() {
  programs_.clear();
  fresh_.clear();
  objects_.clear();
  FreeArena();
}

absl::Status ExecutorCore::LoadStructure(uint32_t id, std::shared_ptr<const Structure> content) {
  absl::Status status = content->status;
  structures_[id] = std::move(content);
  return status;
}

void ExecutorCore::UnloadStructure(uint32_t id) {
  absl::erase_if(programs_, [id](const auto& entry) { return entry.second.structure == id; });
  structures_.erase(id);
}

absl::Status ExecutorCore::LoadProgram(uint32_t id, ProgramPart part) {
  LoadedProgramEntry& entry = programs_[id];
  entry = {.graph = part.graph, .structure = part.structure, .collectives = part.collectives};
  auto made = MakeProgram(part);
  entry.constants = std::move(part.constants);
  if (made.ok()) {
    entry.program = *std::move(made);
  } else {
    entry.status = made.status();
  }
  return entry.status;
}

absl::StatusOr<std::unique_ptr<LoadedProgram>> ExecutorCore::MakeProgram(const ProgramPart& part) {
  auto found = structures_.find(part.structure);
  if (found == structures_.end()) {
    return absl::NotFoundError(absl::StrCat("structure ", part.structure, " has not been loaded"));
  }
  const Structure& structure = *found->second;
  MOAI_RETURN_IF_ERROR(structure.status);
  if (part.constants.size() > structure.graph.scalar_count) {
    return absl::InvalidArgumentError(absl::StrCat(part.constants.size(), " constants came for ",
                                                   structure.graph.scalar_count, " scalars"));
  }
  MOAI_ASSIGN_OR_RETURN(std::vector<TensorType> types, InferGraph(structure.graph, part.sizes));
  MOAI_ASSIGN_OR_RETURN(
      Program program, InstantiateProgram(*structure.compiled, part.sizes, types, options_.device));
  return LoadedProgram::Make(std::move(program), options_.make_kernel, options_.device,
                             options_.peers, part.groups, &background_);
}

void ExecutorCore::UnloadProgram(uint32_t program) { programs_.erase(program); }

ExecutorCore::Object* ExecutorCore::Find(uint64_t id) {
  auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : &found->second;
}

void ExecutorCore::Erase(uint64_t id) {
  auto found = objects_.find(id);
  if (found == objects_.end()) return;
  Object& object = found->second;
  WaitForReaders(object);
  if (object.arrival != nullptr) {
    object.arrival->Open(absl::CancelledError("the tensor was released before its bytes arrived"));
  }
  if (object.is_slot) ++slots_erased_;
  objects_.erase(found);
}

absl::Status ExecutorCore::Ready(Object& object) {
  if (object.arrival != nullptr) {
    object.status = object.arrival->Wait();
    object.arrival = nullptr;
    if (!object.status.ok()) {
      object.bytes = nullptr;
    } else {
      MakeValid(object.type, object.bytes->data());
    }
  }
  return object.status;
}

void ExecutorCore::Rename(uint64_t from, uint64_t to) {
  Object content;
  if (auto found = objects_.find(from); found != objects_.end()) {
    content = std::move(found->second);
    objects_.erase(found);
  } else {
    content.status = absl::InternalError(absl::StrCat("id ", from, " names no value or slot"));
  }
  Object& object = objects_[to];  // stays where it is: graphs have resolved it
  WaitForReaders(object);
  const bool is_slot = object.is_slot;
  object = std::move(content);
  object.is_slot = is_slot;
}

void ExecutorCore::WaitForReaders(Object& object) {
  for (const auto& reader : object.readers) reader->Wait().IgnoreError();
  object.readers.clear();
}

absl::StatusOr<std::shared_ptr<Bytes>> ExecutorCore::AllocateObject(int64_t bytes) {
  if (AllocatedBytes(bytes) > memory_.limit() - memory_.in_use()) FreeArena();
  return Bytes::Allocate(memory_, bytes);
}

absl::Status ExecutorCore::Upload(uint64_t id, const TensorType& type,
                                  absl::Span<const std::byte> bytes) {
  Object& object = objects_[id];
  object.type = type;
  auto upload = [&]() -> absl::Status {
    if (int64_t(bytes.size()) != type.bytes()) {
      return absl::InvalidArgumentError(absl::StrCat("upload of ", ToString(type), ": ",
                                                     bytes.size(), " bytes came, expected ",
                                                     type.bytes()));
    }
    MOAI_ASSIGN_OR_RETURN(object.bytes, AllocateObject(type.bytes()));
    if (!bytes.empty()) memcpy(object.bytes->data(), bytes.data(), bytes.size());
    MakeValid(type, object.bytes->data());
    return absl::OkStatus();
  };
  object.status = upload();
  return object.status;
}

absl::StatusOr<Arrival> ExecutorCore::OpenUpload(uint64_t id, const TensorType& type,
                                                 std::chrono::steady_clock::time_point deadline) {
  Object& object = objects_[id];
  object.type = type;
  auto bytes = AllocateObject(type.bytes());
  if (!bytes.ok()) {
    object.status = bytes.status();
    return object.status;
  }
  object.bytes = *std::move(bytes);
  object.arrival = std::make_shared<TransferGate>(deadline);
  return Arrival{object.bytes, object.arrival};
}

ReadView ExecutorCore::Read(uint64_t id) {
  Object* object = Find(id);
  if (object == nullptr) {
    return {absl::NotFoundError(absl::StrCat("id ", id, " names no value or slot")), {}, nullptr};
  }
  absl::Status status = Ready(*object);
  return {std::move(status), object->type, object->bytes};
}

void ExecutorCore::HoldForRead(uint64_t id, std::shared_ptr<TransferGate> gate) {
  Object* object = Find(id);
  if (object == nullptr) return;
  std::erase_if(object->readers, [](const auto& reader) { return reader->open(); });
  object->readers.push_back(std::move(gate));
}

void ExecutorCore::Release(ObjectRange range) {
  if (range.count <= objects_.size()) {
    for (uint64_t i = 0; i < range.count; ++i) Erase(range.first + i);
    return;
  }
  std::vector<uint64_t> ids;
  for (const auto& [id, object] : objects_) {
    if (id - range.first < range.count) ids.push_back(id);
  }
  for (uint64_t id : ids) Erase(id);
}

absl::Status ExecutorCore::TakeFirstError() { return std::exchange(first_error_, absl::Status()); }

absl::Status ExecutorCore::Execute(const StepCommand& command,
                                   const std::function<void()>& settled) {
  auto entry = programs_.find(command.program);
  auto structure =
      entry == programs_.end() ? structures_.end() : structures_.find(entry->second.structure);
  if (structure == structures_.end()) {
    return absl::InternalError(
        absl::StrCat("step ", command.step, ": program ", command.program, " has not been loaded"));
  }
  Bindings& bindings = bindings_[entry->second.graph];
  const absl::Status status =
      RunStep(command, entry->second, *structure->second, bindings, settled);
  if (options_.peers != nullptr) last_step_.sent = options_.peers->TakeSent();
  fresh_.clear();
  if (!status.ok()) {
    Poison(command, *structure->second, bindings, status);
    first_error_.Update(status);
  }
  for (const FeedSource& feed : command.feeds) {
    if (feed.uploaded != 0) Erase(feed.uploaded);
  }
  return status;
}

absl::Status ExecutorCore::TakeBindings(const StepCommand& command, const LoadedProgramEntry& entry,
                                        const Structure& structure, Bindings& bindings) {
  // The client's scalars; the structure's last ones are the program's own.
  const size_t own = std::min<size_t>(entry.constants.size(), structure.graph.scalar_count);
  bindings.scalars.resize(structure.graph.scalar_count - own);
  for (const ScalarUpdate& update : command.scalars) {
    if (update.position < bindings.scalars.size()) {
      bindings.scalars[update.position] = update.value;
    }
  }
  if (!command.same_slots) {
    bindings.slots.clear();
    bindings.resolved_at = 0;
    for (const ObjectRange& range : command.slots) {
      if (range.count > structure.graph.slot_count - bindings.slots.size()) break;
      for (uint64_t i = 0; i < range.count; ++i) bindings.slots.push_back(range.first + i);
    }
  }
  if (bindings.slots.size() != structure.graph.slot_count) {
    return absl::InvalidArgumentError(absl::StrCat("step ", command.step, ": ",
                                                   bindings.slots.size(), " slots bound, expected ",
                                                   structure.graph.slot_count));
  }
  return absl::OkStatus();
}

absl::Status ExecutorCore::Prepare(const StepCommand& command, const LoadedProgramEntry& entry,
                                   const Structure& structure, Bindings& bindings) {
  MOAI_RETURN_IF_ERROR(TakeBindings(command, entry, structure, bindings));
  MOAI_RETURN_IF_ERROR(entry.status);
  LoadedProgram& program = *entry.program;
  MOAI_RETURN_IF_ERROR(EnsureArena(program.memory()));
  program.SetArena(arena_);
  MOAI_RETURN_IF_ERROR(MakeFresh(program));
  MOAI_RETURN_IF_ERROR(BindSlots(program, bindings));
  MOAI_RETURN_IF_ERROR(BindValues(command, program));
  MOAI_RETURN_IF_ERROR(BindFeeds(command, program));
  const size_t client_scalars = bindings.scalars.size();
  for (size_t i = 0; i < client_scalars; ++i) program.WriteScalar(i, bindings.scalars[i]);
  for (size_t i = 0; i < entry.constants.size(); ++i) {
    program.WriteScalar(client_scalars + i, entry.constants[i]);
  }
  return absl::OkStatus();
}

absl::Status ExecutorCore::RunStep(const StepCommand& command, const LoadedProgramEntry& entry,
                                   const Structure& structure, Bindings& bindings,
                                   const std::function<void()>& settled) {
  DevicePeers* const peers = options_.peers;
  const bool together = peers != nullptr && entry.collectives;
  absl::Status status = Prepare(command, entry, structure, bindings);
  if (status.ok()) {
    last_step_.object_bytes = memory_.in_use() - arena_bytes_;
    last_step_.arena_bytes = entry.program->memory().arena;
  }
  // None waits in a collective for one that cannot begin.
  if (together) MOAI_RETURN_IF_ERROR(peers->Agree(status));
  if (status.ok()) {
    const OnError on_error = together ? OnError::kGoOn : OnError::kStop;
    status = WithStep(command.step, entry.program->RunToCommit(on_error));
  }
  // While the devices tell each other, they go on with what nobody can see.
  if (peers != nullptr) peers->BeginAgreement(status);
  if (status.ok() || together) entry.program->RunToFirstWrite();
  if (peers != nullptr) status = peers->FinishAgreement();
  if (!status.ok()) {
    if (entry.program != nullptr) entry.program->Abandon();
    return status;
  }
  if (settled) {
    PublishEarly(command, *entry.program);
    settled();
    early_.clear();
  }
  // Reads of the old content of a slot end before the slot is written.
  for (uint32_t slot : structure.written) {
    Object* object = bindings.resolved[slot];
    if (object != nullptr && !object->readers.empty()) WaitForReaders(*object);
  }
  entry.program->RunFromFirstWrite();
  if (together) MOAI_RETURN_IF_ERROR(peers->status());
  Commit(command, *entry.program, bindings);
  return absl::OkStatus();
}

absl::Status ExecutorCore::EnsureArena(const StepMemory& needed) {
  const bool fits = needed.fresh <= memory_.limit() - memory_.in_use();
  if (arena_bytes_ >= needed.arena && fits) return absl::OkStatus();
  if (arena_bytes_ == needed.arena) return absl::OkStatus();  // nothing to gain here
  FreeArena();
  MOAI_ASSIGN_OR_RETURN(arena_, memory_.Allocate(needed.arena));
  arena_bytes_ = needed.arena;
  return absl::OkStatus();
}

void ExecutorCore::FreeArena() {
  if (arena_ != nullptr) memory_.Free(arena_, arena_bytes_);
  arena_ = nullptr;
  arena_bytes_ = 0;
}

absl::Status ExecutorCore::MakeFresh(LoadedProgram& program) {
  const Program& p = program.program();
  fresh_.clear();
  auto make = [&](const TensorType& type) -> absl::StatusOr<std::byte*> {
    MOAI_ASSIGN_OR_RETURN(std::shared_ptr<Bytes> bytes, Bytes::Allocate(memory_, type.bytes()));
    fresh_.push_back(std::move(bytes));
    return fresh_.back()->data();
  };
  for (size_t i = 0; i < p.output_types.size(); ++i) {
    MOAI_ASSIGN_OR_RETURN(std::byte * address, make(p.output_types[i]));
    program.SetOutput(i, address);
  }
  for (size_t i = 0; i < p.slot_types.size(); ++i) {
    if (!p.slot_created[i]) continue;
    MOAI_ASSIGN_OR_RETURN(std::byte * address, make(p.slot_types[i]));
    program.SetSlot(i, address);
  }
  return absl::OkStatus();
}

void ExecutorCore::ResolveSlots(Bindings& bindings) {
  if (bindings.resolved_at != slots_erased_) {
    bindings.resolved.assign(bindings.slots.size(), nullptr);
    bindings.resolved_at = slots_erased_;
  }
  for (size_t i = 0; i < bindings.slots.size(); ++i) {
    if (bindings.resolved[i] != nullptr) continue;
    Object* object = Find(bindings.slots[i]);
    if (object != nullptr) object->is_slot = true;
    bindings.resolved[i] = object;
  }
}

absl::Status ExecutorCore::BindSlots(LoadedProgram& program, Bindings& bindings) {
  ResolveSlots(bindings);
  const Program& p = program.program();
  for (size_t i = 0; i < p.slot_types.size(); ++i) {
    if (p.slot_created[i]) continue;
    Object* object = bindings.resolved[i];
    if (object == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("slot binding ", i, ": id ", bindings.slots[i], " does not exist"));
    }
    MOAI_RETURN_IF_ERROR(Ready(*object));
    if (object->bytes->size() != p.slot_types[i].bytes()) {
      return absl::InvalidArgumentError(absl::StrCat("slot binding ", i, ": id ", bindings.slots[i],
                                                     " is ", ToString(object->type), ", expected ",
                                                     ToString(p.slot_types[i])));
    }
    program.SetSlot(i, object->bytes->data());
  }
  return absl::OkStatus();
}

absl::Status ExecutorCore::BindValues(const StepCommand& command, LoadedProgram& program) {
  const Program& p = program.program();
  size_t i = 0;
  for (const ObjectRange& range : command.values) {
    for (uint64_t k = 0; k < range.count; ++k, ++i) {
      const uint64_t id = range.first + k;
      Object* object = i < p.value_types.size() ? Find(id) : nullptr;
      if (object == nullptr) {
        return absl::NotFoundError(
            absl::StrCat("value binding ", i, ": id ", id, " does not exist"));
      }
      MOAI_RETURN_IF_ERROR(Ready(*object));
      if (object->bytes->size() != p.value_types[i].bytes()) {
        return absl::InvalidArgumentError(absl::StrCat("value binding ", i, ": id ", id, " is ",
                                                       ToString(object->type), ", expected ",
                                                       ToString(p.value_types[i])));
      }
      program.SetValue(i, object->bytes->data());
    }
  }
  if (i == p.value_types.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(i, " values bound, expected ", p.value_types.size()));
}

absl::Status ExecutorCore::BindFeeds(const StepCommand& command, LoadedProgram& program) {
  const Program& p = program.program();
  if (command.feeds.size() != p.feed_types.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(command.feeds.size(), " feeds came, expected ", p.feed_types.size()));
  }
  for (size_t i = 0; i < p.feed_types.size(); ++i) {
    const FeedSource& feed = command.feeds[i];
    const int64_t expected = p.feed_types[i].bytes();
    Object* object = nullptr;
    if (feed.uploaded != 0) {
      object = Find(feed.uploaded);
      if (object == nullptr) {
        return absl::NotFoundError(
            absl::StrCat("feed ", i, ": id ", feed.uploaded, " was not uploaded"));
      }
      MOAI_RETURN_IF_ERROR(Ready(*object));
    }
    const int64_t size = object != nullptr ? object->bytes->size() : int64_t(feed.bytes.size());
    if (size != expected || (object == nullptr && size > kMaxInlineBytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("feed ", i, ": ", size, " bytes came, expected ", expected));
    }
    std::byte* place = object != nullptr ? object->bytes->data() : program.FeedPlace(i);
    if (object == nullptr && size > 0) {
      memcpy(place, feed.bytes.data(), size_t(size));
      MakeValid(program.program().feed_types[i], place);
    }
    program.SetFeed(i, place);
  }
  return absl::OkStatus();
}

void ExecutorCore::PublishEarly(const StepCommand& command, const LoadedProgram& program) {
  const std::vector<TensorType>& types = program.program().output_types;
  for (size_t i = 0; i < types.size(); ++i) {
    if (!program.IsCompleteAtFirstWrite(i)) continue;
    early_.push_back(command.first_output + i);
    Publish(early_.back(), types[i], std::move(fresh_[i]));
  }
}

ExecutorCore::Object& ExecutorCore::Publish(uint64_t id, const TensorType& type,
                                            std::shared_ptr<Bytes> bytes) {
  Object& object = objects_[id];
  object.type = type;
  object.bytes = std::move(bytes);
  object.status = absl::OkStatus();
  return object;
}

void ExecutorCore::Commit(const StepCommand& command, const LoadedProgram& program,
                          const Bindings& bindings) {
  const Program& p = program.program();
  size_t next = 0;
  for (size_t i = 0; i < p.output_types.size(); ++i, ++next) {
    if (fresh_[next] == nullptr) continue;  // published when the step settled
    Publish(command.first_output + i, p.output_types[i], std::move(fresh_[next]));
  }
  for (size_t i = 0; i < p.slot_types.size(); ++i) {
    if (!p.slot_created[i]) continue;
    Publish(bindings.slots[i], p.slot_types[i], std::move(fresh_[next++])).is_slot = true;
  }
}

void ExecutorCore::Poison(const StepCommand& command, const Structure& structure,
                          const Bindings& bindings, const absl::Status& status) {
  uint64_t id = command.first_output;
  for (const Output& output : structure.graph.outputs) {
    if (output.kind == OutputKind::kValue) {
      Object& object = objects_[id++];
      object.bytes = nullptr;
      object.status = status;
    } else if (output.index < bindings.slots.size()) {
      // Slots that exist stay as they are; those that the step would have created are poisoned.
      auto [object, inserted] = objects_.try_emplace(bindings.slots[output.index]);
      if (inserted) object->second.status = status;
    }
  }
}

}  // namespace moai
