// Hostile peers of real processes: mutated frames on the server's port, mutated headers and
// invented tickets on an executor's data port. Each is answered or cut off, and everybody else is
// served on.
#include <signal.h>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "graph/testing/hostile.h"
#include "graph/testing/mutate_graph.h"
#include "graph/testing/random_node.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"
#include "proto/transfer.pb.h"
#include "tests/end_to_end/cluster.h"
#include "tests/end_to_end/session_client.h"
#include "tests/security/mutate_message.h"
#include "tests/security/raw_peer.h"
#include "wire/control_client.h"
#include "wire/handshake.h"

namespace moai {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kAttach[] = "/moai.proto.SessionService/Attach";
constexpr char kUpload[] = "/moai.proto.TransferService/Upload";
constexpr char kDownload[] = "/moai.proto.TransferService/Download";
constexpr int kPatienceMs = 20000;

proto::Hello NewHello() {
  proto::Hello hello;
  hello.set_min_version(wire::kMinVersion);
  hello.set_max_version(wire::kMaxVersion);
  hello.set_process_name("hostile");
  return hello;
}

// A well-framed control stream that sends any ClientMessage and keeps the answers.
class RawSession {
 public:
  explicit RawSession(const std::string& address) : handler_(std::make_shared<Handler>()) {
    auto control = wire::ControlClient::Connect({.address = address, .method = kAttach}, handler_);
    EXPECT_TRUE(control.ok()) << control.status();
    if (control.ok()) control_ = *std::move(control);
  }

  void Send(const proto::ClientMessage& message) {
    control_->Send(message.SerializeAsString()).IgnoreError();
  }
  // The next answer; kind not set where the session has ended first.
  proto::ServerMessage Next() { return handler_->Next(); }
  absl::Status End() { return handler_->End(); }

 private:
  class Handler : public wire::ControlClientHandler {
   public:
    std::string Hello() override { return NewHello().SerializeAsString(); }
    absl::StatusOr<std::chrono::milliseconds> OnWelcome(absl::string_view) override {
      return std::chrono::milliseconds(1000);
    }
    absl::Status OnMessage(absl::string_view bytes) override {
      const std::lock_guard lock(mutex_);
      if (!answers_.emplace_back().ParseFromArray(bytes.data(), int(bytes.size()))) {
        return absl::InternalError("malformed answer");
      }
      changed_.notify_all();
      return absl::OkStatus();
    }
    void OnEnded(const absl::Status& why) override {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      why_ = why;
      changed_.notify_all();
    }
    proto::ServerMessage Next() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ended_ || taken_ < answers_.size(); });
      return taken_ < answers_.size() ? answers_[taken_++] : proto::ServerMessage();
    }
    absl::Status End() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ended_; });
      return why_;
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<proto::ServerMessage> answers_;
    size_t taken_ = 0;
    bool ended_ = false;
    absl::Status why_;
  };

  std::shared_ptr<Handler> handler_;
  std::unique_ptr<wire::ControlClient> control_;
};

class HostileSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cluster = Cluster::Start({.devices = 2,
                                   .tcp = true,
                                   .server_flags = {"--lease_seconds=1", "--log_level=error"},
                                   .worker_flags = {"--log_level=error"}});
    ASSERT_TRUE(cluster.ok()) << cluster.status();
    cluster_ = *std::move(cluster);
    bystander_ = std::make_unique<SessionClient>(cluster_->address());
    x_ = bystander_->Upload({1, 2});
  }

  void TearDown() override {
    // The neighbour has noticed nothing.
    EXPECT_THAT(bystander_->Read(bystander_->Add(x_, x_), 2), ElementsAre(2, 4));
    EXPECT_EQ(kill(cluster_->server(), 0), 0);
    EXPECT_EQ(kill(cluster_->workers().at(0), 0), 0);
    bystander_ = nullptr;
    EXPECT_EQ(cluster_->StopWorkers(), 0) << cluster_->Log();
    EXPECT_EQ(cluster_->StopServer(), 0) << cluster_->Log();
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<SessionClient> bystander_;
  ObjectId x_ = 0;
  std::mt19937_64 random_{21};
};

TEST_F(HostileSocketTest, MutatedFramesOnTheServersPort) {
  proto::ClientFrame opening;
  *opening.mutable_hello() = NewHello();
  proto::ClientFrame frame;
  frame.set_first_sequence(1);
  proto::Upload* upload = frame.add_messages()->mutable_upload();
  upload->set_id(1);
  upload->set_dtype(uint32_t(Dtype::kF32));
  upload->add_shape(2);
  upload->set_inline_bytes("12345678");
  proto::Step* step = frame.add_messages()->mutable_step();
  step->set_step(1);
  step->add_slots()->set_first(1);
  frame.add_messages()->mutable_read()->set_id(1);
  for (int64_t round = 0; round < HostileMessages(150); ++round) {
    proto::ClientFrame first = opening, second = frame;
    MutateMessage(OneIn(random_, 3) ? first : second, random_);
    MutateMessage(second, random_);
    std::string bytes = second.SerializeAsString();
    if (OneIn(random_, 3)) MutateBytes(bytes, random_);
    SendRaw(cluster_->address(), kAttach, {first.SerializeAsString(), bytes, bytes}, kPatienceMs);
  }
}

TEST_F(HostileSocketTest, ABrokenProtocolEndsTheSessionNamingTheField) {
  {
    RawSession session(cluster_->address());
    proto::ClientMessage message;
    message.mutable_step()->set_step(5);
    session.Send(message);
    EXPECT_THAT(std::string(session.End().message()), HasSubstr("step.step: 5 came, expected 1"));
  }
  {
    RawSession session(cluster_->address());
    proto::ClientMessage message;
    message.mutable_upload()->set_id(1);
    message.mutable_upload()->set_dtype(99);
    session.Send(message);
    EXPECT_THAT(std::string(session.End().message()), HasSubstr("upload.dtype: 99"));
  }
}

TEST_F(HostileSocketTest, HeadersAndTicketsOnTheExecutorsPort) {
  constexpr uint64_t kBytes = 200000;
  RawSession session(cluster_->address());
  proto::ClientMessage message;
  message.mutable_upload()->set_id(1);
  message.mutable_upload()->set_dtype(uint32_t(Dtype::kF32));
  message.mutable_upload()->add_shape(kBytes / 4);
  session.Send(message);
  const proto::ServerMessage granted = session.Next();
  ASSERT_TRUE(granted.has_upload_grant()) << granted.ShortDebugString();
  const proto::Ticket ticket = granted.upload_grant().ticket();
  ASSERT_FALSE(ticket.addresses().empty());
  const std::string address = ticket.addresses(0);

  proto::TransferHeader header;
  header.set_ticket_id(std::string(16, 'x'));
  header.set_bytes(kBytes);
  const auto refusal = [&](const char* method, const proto::TransferHeader& h) {
    const RawAnswer answer = SendRaw(address, method, {h.SerializeAsString()}, kPatienceMs);
    // Told in a reply, or with the end of the stream.
    std::string words = std::string(answer.status.message());
    for (const std::string& reply : answer.messages) {
      proto::TransferReply parsed;
      if (parsed.ParseFromString(reply)) absl::StrAppend(&words, " ", parsed.status().message());
    }
    EXPECT_NE(answer.status.code(), absl::StatusCode::kDeadlineExceeded) << words;
    return words;
  };
  // A ticket that nobody issued, one of the other direction, offsets and sizes beyond the tensor.
  EXPECT_THAT(refusal(kUpload, header), HasSubstr("icket"));
  EXPECT_THAT(refusal(kDownload, header), HasSubstr("icket"));
  header.set_ticket_id("short");
  EXPECT_THAT(refusal(kUpload, header), HasSubstr("icket"));
  header.set_ticket_id(ticket.id());
  EXPECT_THAT(refusal(kDownload, header), HasSubstr("icket"));
  for (const uint64_t offset : {kBytes, kBytes + 1, ~uint64_t{0}}) {
    header.set_offset(offset);
    header.set_bytes(100);
    EXPECT_NE(refusal(kUpload, header), "") << offset;
  }
  header.set_offset(0);
  for (const uint64_t bytes : {kBytes + 1, ~uint64_t{0}}) {
    header.set_bytes(bytes);
    EXPECT_NE(refusal(kUpload, header), "") << bytes;
  }

  header.set_bytes(kBytes);
  header.set_host_id("elsewhere");
  header.set_shared_memory("1/2");
  header.set_chunk_bytes(7);
  for (int64_t round = 0; round < HostileMessages(150); ++round) {
    proto::TransferHeader mutated = header;
    mutated.set_resume(OneIn(random_, 4));
    if (OneIn(random_, 4)) mutated.set_ticket_id(std::string(16, 'y'));
    MutateMessage(mutated, random_);
    std::string bytes = mutated.SerializeAsString();
    if (OneIn(random_, 4)) MutateBytes(bytes, random_);
    SendRaw(address, OneIn(random_, 2) ? kUpload : kDownload,
            {bytes, std::string(random_() % 300, 'p'), ""}, kPatienceMs);
  }
  // Every executor still runs, this session's too.
  EXPECT_EQ(cluster_->executors().size(), 2u);
  message.Clear();
  message.mutable_synchronize()->set_request(9);
  session.Send(message);
  proto::ServerMessage answer = session.Next();
  while (answer.kind_case() != proto::ServerMessage::KIND_NOT_SET &&
         !answer.has_synchronize_result()) {
    answer = session.Next();
  }
  EXPECT_TRUE(answer.has_synchronize_result());
}

}  // namespace
}  // namespace moai
