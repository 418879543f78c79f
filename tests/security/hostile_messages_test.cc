// Mutated control messages through the server's session and the executor behind it, kernels
// included: no crash, no hang, errors that name the field, and enough that still run. Draws few by
// default; the long run sets MOAI_HOSTILE_MESSAGES=1000000, under --config=asan.
#include <algorithm>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "graph/builder.h"
#include "graph/fingerprint.h"
#include "graph/serialize.h"
#include "graph/testing/hostile.h"
#include "graph/testing/mutate_graph.h"
#include "graph/testing/random_bindings.h"
#include "graph/testing/random_graph.h"
#include "graph/testing/random_node.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"
#include "tests/security/local_session.h"
#include "tests/security/mutate_message.h"

namespace moai {
namespace {

constexpr int64_t kDeviceMemory = int64_t{1} << 20;
constexpr int kMessagesOfSession = 64;

// A client that knows the protocol well, and breaks it in one place at a time.
class HostileClient {
 public:
  // A serialised message, valid for the session as it is but for a mutation.
  std::string Draw(std::mt19937_64& random) {
    if (session_ == nullptr || session_->ended() || messages_ == kMessagesOfSession) Begin(random);
    ++messages_;
    if (spoiled_) Prepare();
    proto::ClientMessage message = Valid(random);
    if (OneIn(random, 3) && message.has_register_graph()) {
      MutateRegistration(*message.mutable_register_graph(), random);
    } else {
      MutateMessage(message, random);
    }
    if (OneIn(random, 5)) MutateMessage(message, random);
    std::string bytes = message.SerializeAsString();
    if (OneIn(random, 25)) MutateBytes(bytes, random);
    return bytes;
  }

  absl::Status Consume(absl::string_view bytes) {
    const absl::Status status = session_->Give(bytes);
    spoiled_ = !status.ok();
    if (!status.ok() || session_->ended()) return status;
    proto::ClientMessage message;
    if (!message.ParseFromArray(bytes.data(), int(bytes.size()))) return status;
    spoiled_ = message.has_release();
    // What became of a registration is told to the steps of its graph.
    if (!message.has_register_graph()) return status;
    proto::ClientMessage step = StepMessage();
    step.mutable_step()->set_fingerprint_high(message.register_graph().fingerprint_high());
    step.mutable_step()->set_fingerprint_low(message.register_graph().fingerprint_low());
    return session_->Give(step.SerializeAsString());
  }

  const absl::Status& internal_error() const { return internal_error_; }

  void CheckInternalErrors() {
    if (session_ != nullptr) internal_error_.Update(session_->internal_error());
  }

 private:
  void Begin(std::mt19937_64& random) {
    CheckInternalErrors();
    session_ = std::make_unique<LocalSession>(kDeviceMemory);
    messages_ = 0;
    next_id_ = 1;
    captured_ = RandomGraph(random, {.nodes = int(RandomInt(random, 1, 6))});
    bindings_ = RandomBindings(captured_, random);
    proto::ClientMessage message;
    proto::RegisterGraph* registration = message.mutable_register_graph();
    registration->set_fingerprint_high(captured_.fingerprint.high);
    registration->set_fingerprint_low(captured_.fingerprint.low);
    registration->set_graph(SerializeGraph(captured_.graph));
    registration_ = message;
    Give(message);
    slots_.assign(captured_.graph.slot_count, 0);
    values_.assign(captured_.graph.value_count, 0);
    spoiled_ = true;
  }

  // Gives the session what the next steps read, under new ids: what an earlier mutation spoiled or
  // released would make every later step fail.
  void Prepare() {
    for (uint64_t& id : slots_) id = next_id_++;  // those that the step creates among them
    for (uint64_t& id : values_) id = next_id_++;
    for (size_t i = 0; i < captured_.graph.inputs.size(); ++i) {
      const Input& input = captured_.graph.inputs[i];
      if (input.kind != InputKind::kSlot && input.kind != InputKind::kValue) continue;
      const uint64_t id = (input.kind == InputKind::kSlot ? slots_ : values_)[input.index];
      Give(UploadMessage(id, captured_.types[input.value], bindings_[i]));
    }
    Give(StepMessage());
    spoiled_ = false;
  }

  void Give(const proto::ClientMessage& message) {
    session_->Give(message.SerializeAsString()).IgnoreError();
  }

  static proto::ClientMessage UploadMessage(uint64_t id, const TensorType& type,
                                            const std::vector<std::byte>& bytes) {
    proto::ClientMessage message;
    proto::Upload* upload = message.mutable_upload();
    upload->set_id(id);
    upload->set_dtype(uint32_t(type.dtype));
    for (int64_t extent : type.shape) upload->add_shape(extent);
    upload->set_inline_bytes(bytes.data(), bytes.size());
    return message;
  }

  // Complete: leaves nothing to the step before.
  proto::ClientMessage StepMessage() {
    proto::ClientMessage message;
    proto::Step* step = message.mutable_step();
    step->set_step(session_->next_step());
    step->set_fingerprint_high(captured_.fingerprint.high);
    step->set_fingerprint_low(captured_.fingerprint.low);
    step->mutable_sizes()->Add(captured_.sizes.begin(), captured_.sizes.end());
    for (uint64_t id : slots_) AddId(id, step->add_slots());
    for (uint64_t id : values_) AddId(id, step->add_values());
    std::vector<std::string> feeds(captured_.graph.feed_count);
    std::vector<uint64_t> scalars(captured_.graph.scalar_count);
    for (size_t i = 0; i < captured_.graph.inputs.size(); ++i) {
      const Input& input = captured_.graph.inputs[i];
      const std::vector<std::byte>& bytes = bindings_[i];
      if (input.kind == InputKind::kFeed) {
        feeds[input.index].assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      } else if (input.kind == InputKind::kScalar) {
        const Dtype dtype = captured_.types[input.value].dtype;
        scalars[input.index] = uint64_t(ScalarFromBytes(dtype, bytes).i64);
      }
    }
    for (uint32_t i = 0; i < scalars.size(); ++i) {
      step->add_scalar_positions(i);
      step->add_scalar_bits(scalars[i]);
    }
    for (std::string& feed : feeds) step->add_feeds()->set_inline_bytes(std::move(feed));
    step->set_first_output(next_id_);
    next_id_ += captured_.graph.outputs.size();
    return message;
  }

  static void AddId(uint64_t id, proto::IdRange* range) {
    range->set_first(id);
    range->set_count(1);
  }

  // One message of any kind.
  proto::ClientMessage Valid(std::mt19937_64& random) {
    proto::ClientMessage message;
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
        return registration_;
      case 3:
        AddId(next_id_ - 1 - random() % std::min<uint64_t>(next_id_ - 1, 8),
              message.mutable_release()->add_ids());
        return message;
      case 4:
      case 5:
        message.mutable_read()->set_request(random() % 1000);
        message.mutable_read()->set_id(slots_.empty() ? next_id_ - 1 : slots_[0]);
        return message;
      case 6:
      case 7: {
        const TensorType type{Dtype::kF32, Shape{int64_t(random() % 4), 3}};
        return UploadMessage(next_id_++, type, std::vector<std::byte>(size_t(type.bytes())));
      }
      case 8:
        message.mutable_synchronize()->set_request(random() % 1000);
        return message;
      case 9:
        message.mutable_transfer_done()->set_ticket_id(std::string(16, char(random())));
        return message;
      default: {
        message = StepMessage();
        if (OneIn(random, 4)) {
          message.mutable_step()->clear_sizes();
          message.mutable_step()->set_same_sizes(true);
        }
        if (OneIn(random, 4)) {
          message.mutable_step()->clear_scalar_positions();
          message.mutable_step()->clear_scalar_bits();
        }
        return message;
      }
    }
  }

  // A graph that is wrong itself, under its own fingerprint: only verification can find it.
  void MutateRegistration(proto::RegisterGraph& registration, std::mt19937_64& random) {
    Graph graph = captured_.graph;
    MutateGraph(graph, random);
    const Fingerprint fingerprint = ComputeFingerprint(graph);
    registration.set_fingerprint_high(fingerprint.high);
    registration.set_fingerprint_low(fingerprint.low);
    registration.set_graph(SerializeGraph(graph));
  }

  std::unique_ptr<LocalSession> session_;
  int messages_ = 0;
  uint64_t next_id_ = 1;
  CapturedGraph captured_;
  std::vector<std::vector<std::byte>> bindings_;  // of each graph input
  proto::ClientMessage registration_;
  std::vector<uint64_t> slots_, values_;  // bound by the next step
  bool spoiled_ = true;                   // the bindings may be gone
  absl::Status internal_error_;
};

// "step 7: " says where, but not what is wrong.
absl::string_view WithoutStep(absl::string_view message) {
  if (!absl::StartsWith(message, "step ")) return message;
  const size_t colon = message.find(": ");
  return colon == absl::string_view::npos ? message : message.substr(colon + 2);
}

bool NamesField(absl::string_view message) {
  message = WithoutStep(message);
  for (absl::string_view field :
       {"message:", "step.step", "fingerprint", "same_sizes", "sizes", "slots", "slot binding",
        "value binding", "values", "feeds", "feed ", "scalar_positions", "scalar_bits",
        "first_output", "upload.", "read.", "synchronize.request", "transfer_done.ticket_id", "id ",
        "nodes", "node ", "inputs", "input ", "outputs", "output ", "_count", "graph:",
        // Not of the message but of what it asks for: memory, and the contents of tensors.
        "the step needs", "the tensor needs", "index ", "label "}) {
    if (absl::StrContains(message, field)) return true;
  }
  return false;
}

TEST(HostileMessagesTest, MutatedMessagesGiveErrorsThatNameTheField) {
  HostileClient client;
  const HostileTarget target = {
      .name = "control",
      .draw = [&](std::mt19937_64& random) { return client.Draw(random); },
      .consume = [&](absl::string_view message) { return client.Consume(message); },
      .names_field = NamesField};
  const HostileReport report = RunHostile(target, HostileMessages(6000), /*seed=*/1);
  client.CheckInternalErrors();
  std::cout << "target=control messages=" << report.messages << " passed=" << report.passed
            << " unnamed=" << report.unnamed << std::endl;
  EXPECT_EQ(report.unnamed, 0) << report.first_unnamed;
  EXPECT_TRUE(client.internal_error().ok()) << client.internal_error();
  EXPECT_GE(report.passed * 5, report.messages) << "too few mutations pass";
  EXPECT_LE(report.passed * 5, report.messages * 4) << "mutations are too harmless";
}

}  // namespace
}  // namespace moai
