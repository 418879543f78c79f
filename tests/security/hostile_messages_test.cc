// Mutated control messages through the server's session and the executor behind it, kernels
// included: no crash, no hang, errors that name the field, and enough that still run. Draws few by
// default; the long run sets MOAI_HOSTILE_MESSAGES=1000000, under --config=asan.
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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
constexpr uint64_t kFirstId = 100;  // smaller ones name nothing
constexpr uint64_t kIdsApart = 40;

absl::string_view TextOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// A client that knows the protocol well, and breaks it in one place at a time.
class HostileClient {
 public:
  // A serialised message, valid for the session as it is but for a mutation.
  std::string Draw(std::mt19937_64& random) {
    if (session_ == nullptr || session_->ended() || messages_ == kMessagesOfSession) Begin(random);
    ++messages_;
    if (spoiled_) valid_error_.Update(Prepare());
    proto::ClientMessage message = Valid(random);
    if (message.has_register_graph() && OneIn(random, 3)) {
      MutateRegistration(*message.mutable_register_graph(), random);
    } else if (message.has_step() && OneIn(random, 3)) {
      MutateData(*message.mutable_step(), random);
    } else {
      MutateMessage(message, random);
      if (OneIn(random, 5)) MutateMessage(message, random);
    }
    std::string bytes = message.SerializeAsString();
    if (OneIn(random, 25)) MutateBytes(bytes, random);
    return bytes;
  }

  absl::Status Consume(absl::string_view bytes) {
    proto::ClientMessage message;
    const bool parsed = message.ParseFromArray(bytes.data(), int(bytes.size()));
    const absl::Status status = Consume(bytes, parsed ? &message : nullptr);
    Tally& tally = tallies_[parsed ? KindOf(message) : "unparsed"];
    ++tally.messages;
    tally.passed += status.ok();
    return status;
  }

  // How many messages of each kind came, and passed.
  std::string Table() const {
    std::string table;
    for (const auto& [kind, tally] : tallies_) {
      absl::StrAppend(&table, "  ", kind, ": ", tally.passed, " of ", tally.messages, " passed\n");
    }
    return table;
  }

  // What valid messages came to.
  const absl::Status& valid_error() const { return valid_error_; }
  // What server and executor accused each other of.
  const absl::Status& internal_error() const { return internal_error_; }

  void CheckInternalErrors() {
    if (session_ != nullptr) internal_error_.Update(session_->internal_error());
  }

 private:
  struct Tally {
    int64_t messages = 0;
    int64_t passed = 0;
  };

  static std::string KindOf(const proto::ClientMessage& message) {
    const auto* const field =
        message.GetDescriptor()->FindFieldByNumber(static_cast<int>(message.kind_case()));
    return field == nullptr ? "none" : field->name();
  }

  // `message` is what `bytes` hold, if anything.
  absl::Status Consume(absl::string_view bytes, const proto::ClientMessage* message) {
    const absl::Status status = session_->Give(bytes);
    spoiled_ = !status.ok() || message == nullptr || message->has_release();
    if (!status.ok() || session_->ended() || message == nullptr) return status;
    // What became of a registration is told to the steps of its graph.
    if (!message->has_register_graph()) return status;
    proto::ClientMessage step = StepMessage();
    step.mutable_step()->set_fingerprint_high(message->register_graph().fingerprint_high());
    step.mutable_step()->set_fingerprint_low(message->register_graph().fingerprint_low());
    return session_->Give(step.SerializeAsString());
  }

  // A new session with a graph whose step runs. A random one may be wrong in its data: positions
  // that a node computed.
  void Begin(std::mt19937_64& random) {
    absl::Status status;
    do {
      CheckInternalErrors();
      session_ = std::make_unique<LocalSession>(kDeviceMemory);
      next_id_ = kFirstId;
      captured_ = RandomGraph(random, {.nodes = int(RandomInt(random, 1, 6))});
      bindings_ = RandomBindings(captured_, random);
      registration_.Clear();
      proto::RegisterGraph* registration = registration_.mutable_register_graph();
      registration->set_fingerprint_high(captured_.fingerprint.high);
      registration->set_fingerprint_low(captured_.fingerprint.low);
      registration->set_graph(SerializeGraph(captured_.graph));
      slots_.assign(captured_.graph.slot_count, 0);
      values_.assign(captured_.graph.value_count, 0);
      valid_error_.Update(Give(registration_));
      status = Prepare();
    } while (absl::StrContains(TextOf(status), " is outside [0, "));
    valid_error_.Update(status);
    messages_ = 0;
  }

  // Gives the session what the next steps read, under new ids: what an earlier mutation spoiled or
  // released would make every later step fail.
  absl::Status Prepare() {
    absl::Status status = TryToPrepare();
    // Once in a million, a mutated message has made something of the very id that is next.
    while (absl::StrContains(TextOf(status), " exists")) status = TryToPrepare();
    return status;
  }

  absl::Status TryToPrepare() {
    for (uint64_t& id : slots_) id = NewIds(1);  // those that the step creates among them
    for (uint64_t& id : values_) id = NewIds(1);
    absl::Status status;
    for (size_t i = 0; i < captured_.graph.inputs.size(); ++i) {
      const Input& input = captured_.graph.inputs[i];
      if (input.kind != InputKind::kSlot && input.kind != InputKind::kValue) continue;
      const uint64_t id = (input.kind == InputKind::kSlot ? slots_ : values_)[input.index];
      status.Update(Give(UploadMessage(id, captured_.types[input.value], bindings_[i])));
    }
    status.Update(Give(StepMessage()));
    spoiled_ = false;
    return status;
  }

  absl::Status Give(const proto::ClientMessage& message) {
    return session_->Give(message.SerializeAsString());
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
    last_output_ = NewIds(captured_.graph.outputs.size());
    step->set_first_output(last_output_);
    return message;
  }

  // Apart from all others, so that a mutated id does not take the place of the next.
  uint64_t NewIds(uint64_t count) {
    const uint64_t first = next_id_;
    next_id_ += count + kIdsApart;
    return first;
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
        AddId(next_id_ - 1 - random() % kFirstId, message.mutable_release()->add_ids());
        return message;
      case 4:
      case 5:
        message.mutable_read()->set_request(random() % 1000);
        message.mutable_read()->set_id(slots_.empty() ? last_output_ : slots_[0]);
        return message;
      case 6:
      case 7: {
        const TensorType type{Dtype::kF32, Shape{int64_t(random() % 4), 3}};
        return UploadMessage(NewIds(1), type, std::vector<std::byte>(size_t(type.bytes())));
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

  // Well-formed, with numbers that nobody expects.
  void MutateData(proto::Step& step, std::mt19937_64& random) {
    for (uint64_t& bits : *step.mutable_scalar_bits()) {
      if (OneIn(random, 2)) bits = OneIn(random, 2) ? random() : ~uint64_t{0} >> (random() % 64);
    }
    for (proto::Feed& feed : *step.mutable_feeds()) {
      for (char& byte : *feed.mutable_inline_bytes()) {
        if (OneIn(random, 4)) byte = OneIn(random, 2) ? char(random()) : char(0xff);
      }
    }
  }

  std::unique_ptr<LocalSession> session_;
  int messages_ = 0;
  uint64_t next_id_ = kFirstId;
  uint64_t last_output_ = 0;
  CapturedGraph captured_;
  std::vector<std::vector<std::byte>> bindings_;  // of each graph input
  proto::ClientMessage registration_;
  std::vector<uint64_t> slots_, values_;  // bound by the next step
  bool spoiled_ = true;                   // the bindings may be gone
  std::map<std::string, Tally> tallies_;
  absl::Status valid_error_;
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
  const HostileReport report = RunHostile(target, HostileMessages(6000), HostileSeed());
  client.CheckInternalErrors();
  std::cout << "target=control messages=" << report.messages << " passed=" << report.passed
            << " unnamed=" << report.unnamed << "\n"
            << client.Table() << std::flush;
  EXPECT_EQ(report.unnamed, 0) << report.first_unnamed;
  EXPECT_TRUE(client.valid_error().ok()) << client.valid_error();
  EXPECT_TRUE(client.internal_error().ok()) << client.internal_error();
  EXPECT_GE(report.passed * 5, report.messages) << "too few mutations pass";
  EXPECT_LE(report.passed * 5, report.messages * 4) << "mutations are too harmless";
}

}  // namespace
}  // namespace moai
