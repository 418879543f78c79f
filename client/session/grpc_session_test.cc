// The client's session against a server that remembers what it is sent: uploads can be read back,
// and a step's output is its feeds, one after the other.
#include "client/session/grpc_session.h"

#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status.h"
#include "client/session/connect.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"
#include "tests/support/flaky_proxy.h"
#include "wire/control_server.h"
#include "wire/random_id.h"
#include "wire/status_proto.h"
#include "wire/stream_server.h"
#include "wire/ticket_proto.h"
#include "wire/transfer_server.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMaxInline = 64 << 10;

std::string Filled(size_t size, int seed) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + static_cast<size_t>(seed));
  return text;
}

SharedBytes Share(std::string text) {
  auto owner = std::make_shared<const std::string>(std::move(text));
  return {{reinterpret_cast<const std::byte*>(owner->data()), owner->size()}, owner};
}

// One session of the fake server. Its executor is a TransferServer of the same process.
class FakeSession : public wire::ControlHandler, public wire::TransferTarget {
 public:
  absl::Status OnMessage(absl::string_view bytes) override {
    proto::ClientMessage message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InvalidArgumentError("message: malformed");
    }
    MutexLock lock(mutex_);
    bytes_ += bytes.size();
    last_message_bytes_ = bytes.size();
    switch (message.kind_case()) {
      case proto::ClientMessage::kRegisterGraph:
        ++graphs_;
        break;
      case proto::ClientMessage::kStep: {
        if (message.step().step() != ++steps_) return absl::InvalidArgumentError("step: order");
        waiting_.push_back(message);
        break;
      }
      case proto::ClientMessage::kUpload: {
        const proto::Upload& upload = message.upload();
        size_t size = upload.dtype() == static_cast<uint32_t>(Dtype::kU8) ? 1 : 4;
        for (int64_t extent : upload.shape()) size *= static_cast<size_t>(extent);
        if (size == upload.inline_bytes().size()) {
          objects_[upload.id()] = upload.inline_bytes();
          break;
        }
        proto::ServerMessage answer;
        answer.mutable_upload_grant()->set_id(upload.id());
        *answer.mutable_upload_grant()->mutable_ticket() = NewTicket(upload.id(), size, true);
        pending_uploads_.insert(upload.id());
        return session_->Queue(answer.SerializeAsString());
      }
      case proto::ClientMessage::kRelease:
        for (const proto::IdRange& range : message.release().ids()) {
          for (uint64_t i = 0; i < range.count(); ++i) objects_.erase(range.first() + i);
        }
        break;
      default:
        waiting_.push_back(message);
    }
    return Advance();
  }
  void OnFrameEnd() override { session()->Flush(); }
  void OnEnded(const absl::Status& why) override {
    MutexLock lock(mutex_);
    ended_ = true;
    end_ = why;
    changed_.NotifyAll();
    session_ = nullptr;
  }

  absl::StatusOr<absl::Span<std::byte>> BeginUpload(const wire::Ticket& ticket) override {
    MutexLock lock(mutex_);
    std::string& bytes = arriving_[ticket.object];
    bytes.resize(ticket.bytes);
    return absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size());
  }
  void EndUpload(const wire::Ticket& ticket, const absl::Status& status) override {
    MutexLock lock(mutex_);
    if (status.ok()) objects_[ticket.object] = std::move(arriving_[ticket.object]);
    pending_uploads_.erase(ticket.object);
    Advance().IgnoreError();
    if (session_ != nullptr) session_->Flush();
  }
  absl::StatusOr<wire::ByteSource> BeginDownload(const wire::Ticket& ticket) override {
    MutexLock lock(mutex_);
    const std::string& bytes = objects_[ticket.object];
    return wire::ByteSource{{reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, {}};
  }

  void SetTransferAddress(const std::string& address) {
    MutexLock lock(mutex_);
    transfer_address_ = address;
  }
  uint64_t graphs() {
    MutexLock lock(mutex_);
    return graphs_;
  }
  size_t objects() {
    MutexLock lock(mutex_);
    return objects_.size();
  }
  uint64_t bytes() {
    MutexLock lock(mutex_);
    return bytes_;
  }
  absl::Status WaitForEnd() {
    MutexLock lock(mutex_);
    while (!ended_) changed_.Wait(mutex_);
    return end_;
  }
  // While held, steps do not run.
  void Hold(bool hold) {
    MutexLock lock(mutex_);
    hold_ = hold;
    Advance().IgnoreError();
    session_->Flush();
  }
  std::shared_ptr<wire::ControlSession> session() {
    MutexLock lock(mutex_);
    return session_;
  }
  void SetSession(std::shared_ptr<wire::ControlSession> session) {
    MutexLock lock(mutex_);
    session_ = std::move(session);
  }

  wire::TransferServer transfers{this};

 private:
  proto::Ticket NewTicket(uint64_t object, size_t size, bool upload)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    wire::Ticket ticket;
    ticket.id = wire::NewRandomId();
    ticket.object = object;
    ticket.bytes = size;
    ticket.upload = upload;
    ticket.addresses = {transfer_address_};
    EXPECT_TRUE(transfers.AddTicket(ticket).ok());
    return wire::ToProto(ticket);
  }

  // Runs what waits, in order, up to the first thing whose bytes are still on their way.
  absl::Status Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!waiting_.empty() && pending_uploads_.empty() && !hold_) {
      MOAI_RETURN_IF_ERROR(Run(waiting_.front()));
      waiting_.erase(waiting_.begin());
    }
    return absl::OkStatus();
  }

  absl::Status Run(const proto::ClientMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    proto::ServerMessage answer;
    switch (message.kind_case()) {
      case proto::ClientMessage::kStep: {
        std::string& output = objects_[message.step().first_output()];
        for (const proto::Feed& feed : message.step().feeds()) {
          output += feed.has_inline_bytes() ? feed.inline_bytes() : objects_[feed.uploaded()];
          if (!feed.has_inline_bytes()) objects_.erase(feed.uploaded());
        }
        answer.mutable_steps_done()->set_step(message.step().step());
        break;
      }
      case proto::ClientMessage::kRead: {
        proto::ReadResult& result = *answer.mutable_read_result();
        result.set_request(message.read().request());
        const auto found = objects_.find(message.read().id());
        if (found == objects_.end()) {
          *result.mutable_status() = wire::ToProto(absl::NotFoundError("no such id"));
        } else if (found->second.size() <= kMaxInline) {
          result.set_inline_bytes(found->second);
        } else {
          *result.mutable_ticket() = NewTicket(found->first, found->second.size(), false);
        }
        break;
      }
      case proto::ClientMessage::kSynchronize:
        answer.mutable_synchronize_result()->set_request(message.synchronize().request());
        break;
      case proto::ClientMessage::kTransferDone:
        transfers.RemoveTicket(message.transfer_done().ticket_id());
        return absl::OkStatus();
      case proto::ClientMessage::kClose:
        session_->Close(absl::OkStatus());
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError("message: kind");
    }
    return session_ == nullptr ? absl::OkStatus() : session_->Queue(answer.SerializeAsString());
  }

  Mutex mutex_;
  CondVar changed_;
  std::string transfer_address_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<wire::ControlSession> session_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::string> objects_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::string> arriving_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> pending_uploads_ ABSL_GUARDED_BY(mutex_);
  std::vector<proto::ClientMessage> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t graphs_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t steps_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t last_message_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

// A server of one session.
class FakeServer : public wire::ControlAcceptor {
 public:
  FakeServer() {
    handler = std::make_shared<FakeSession>();
    wire::StreamServerOptions options;
    options.addresses = {"127.0.0.1:0"};
    wire::StreamServer::Methods methods = handler->transfers.Methods();
    methods.emplace_back("/moai.proto.SessionService/Attach", wire::ServeControl(this));
    auto started = wire::StreamServer::Start(options, std::move(methods));
    EXPECT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    address = server->addresses()[0];
    handler->SetTransferAddress(address);
  }

  ~FakeServer() override { server = nullptr; }  // before what it calls

  absl::StatusOr<wire::Admission> OnHello(absl::string_view bytes, const wire::PeerInfo&) override {
    proto::Hello hello;
    if (!hello.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::InvalidArgumentError("hello: malformed");
    }
    if (hello.token() == "wrong") return absl::UnauthenticatedError("token: unknown");
    proto::Welcome welcome;
    welcome.set_version(1);
    welcome.set_session_id("0123456789abcdef");
    welcome.set_lease_seconds(30);
    welcome.set_accelerator("Small.64GB");
    welcome.set_memory_bytes(uint64_t{64} << 30);
    welcome.set_resumed(!hello.session_id().empty());
    if (!welcome.resumed()) {
      session_ = std::make_shared<wire::ControlSession>(handler, wire::ControlSessionOptions());
      handler->SetSession(session_);
    }
    return wire::Admission{session_, welcome.resumed(), welcome.SerializeAsString()};
  }

  std::string address;
  std::shared_ptr<FakeSession> handler;
  std::unique_ptr<wire::StreamServer> server;

 private:
  std::shared_ptr<wire::ControlSession> session_;
};

std::shared_ptr<GrpcSession> Connected(const std::string& address,
                                       GrpcSessionOptions options = {}) {
  options.address = address;
  auto session = GrpcSession::Connect(options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *session : nullptr;
}

std::shared_ptr<const Graph> AnyGraph() {
  GraphBuilder builder;
  builder.AddOutput(OutputKind::kValue, builder.AddInput(InputKind::kFeed, 0, {Dtype::kU8, {1}}));
  return std::make_shared<const Graph>(builder.Finish().graph);
}

TensorType BytesType(size_t size) { return {Dtype::kU8, {static_cast<int64_t>(size)}}; }

std::string ReadText(Session& session, ObjectId id, size_t size) {
  std::string text(size, '\0');
  const absl::Status status =
      session.Read(id, {reinterpret_cast<std::byte*>(text.data()), text.size()});
  EXPECT_TRUE(status.ok()) << status;
  return text;
}

TEST(GrpcSession, ReadsBackWhatItUploads) {
  FakeServer server;
  const auto session = Connected(server.address);
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->accelerator_name(), "Small.64GB");
  EXPECT_EQ(session->memory_bytes(), uint64_t{64} << 30);
  for (const size_t size : {0u, 5u, 65536u, 65537u, 3000000u}) {
    const ObjectId id = session->NewIds(1);
    const std::string text = Filled(size, 7);
    ASSERT_TRUE(session->Upload(id, BytesType(size), Share(text)).ok());
    EXPECT_TRUE(ReadText(*session, id, size) == text) << size;
  }
  const SessionStats stats = session->stats();
  EXPECT_EQ(stats.blocking_round_trips, 5u);
  EXPECT_EQ(stats.bytes_read, 65541u + 65537u + 3000000u);
  EXPECT_EQ(stats.feed_bytes_sent, stats.bytes_read);
  EXPECT_LT(stats.control_bytes_sent, 500u);
}

TEST(GrpcSession, RunsStepsInOrderAndRegistersAGraphOnce) {
  FakeServer server;
  const auto session = Connected(server.address);
  ASSERT_NE(session, nullptr);
  const auto graph = AnyGraph();
  std::vector<ObjectId> outputs;
  uint64_t steady = 0;
  constexpr int kSteps = 300;
  for (int i = 0; i < kSteps; ++i) {
    StepRequest step;
    step.fingerprint = {1, 2};
    step.graph = graph;
    step.sizes = {1};
    // Every tenth feed is too large for the control stream.
    step.feeds = {Share(absl::StrCat("feed ", i)), Share(Filled(i % 10 == 0 ? 70000 : 10, i))};
    step.first_output = session->NewIds(1);
    outputs.push_back(step.first_output);
    ASSERT_TRUE(session->Submit(std::move(step)).ok());
    if (i == 1) steady = session->stats().control_bytes_sent;
  }
  ASSERT_TRUE(session->Synchronize().ok());
  for (int i : {0, 1, 150, 299}) {
    const std::string expected = absl::StrCat("feed ", i) + Filled(i % 10 == 0 ? 70000 : 10, i);
    EXPECT_TRUE(ReadText(*session, outputs[i], expected.size()) == expected) << i;
  }
  EXPECT_EQ(server.handler->graphs(), 1u);
  const SessionStats stats = session->stats();
  EXPECT_EQ(stats.steps, static_cast<uint64_t>(kSteps));
  EXPECT_LT((stats.control_bytes_sent - steady) / (kSteps - 2), 128u);
}

TEST(GrpcSession, BoundsHowFarItRunsAhead) {
  FakeServer server;
  GrpcSessionOptions options;
  options.max_steps_ahead = 10;
  const auto session = Connected(server.address, options);
  ASSERT_NE(session, nullptr);
  server.handler->Hold(true);
  std::atomic<int> submitted = 0;
  std::thread program([&] {
    for (int i = 0; i < 20; ++i) {
      StepRequest step;
      step.fingerprint = {1, 2};
      step.graph = AnyGraph();
      step.first_output = session->NewIds(1);
      EXPECT_TRUE(session->Submit(std::move(step)).ok());
      ++submitted;
    }
  });
  while (submitted < 10) std::this_thread::yield();
  EXPECT_EQ(submitted, 10);
  server.handler->Hold(false);
  program.join();
  EXPECT_TRUE(session->Synchronize().ok());
}

TEST(GrpcSession, BatchesReleases) {
  FakeServer server;
  const auto session = Connected(server.address);
  ASSERT_NE(session, nullptr);
  const ObjectId first = session->NewIds(100);
  for (ObjectId i = 0; i < 100; ++i) {
    ASSERT_TRUE(session->Upload(first + i, BytesType(1), Share("x")).ok());
  }
  const uint64_t before = session->stats().control_bytes_sent;
  for (ObjectId i = 0; i < 100; ++i) session->Release({first + (i * 37) % 100});
  ASSERT_TRUE(session->Synchronize().ok());
  EXPECT_LT(session->stats().control_bytes_sent - before, 40u);
  EXPECT_EQ(server.handler->objects(), 0u);
}

TEST(GrpcSession, TellsErrorsOfReads) {
  FakeServer server;
  const auto session = Connected(server.address);
  ASSERT_NE(session, nullptr);
  std::byte room[8];
  EXPECT_EQ(session->Read(12345, room).code(), absl::StatusCode::kNotFound);
  const ObjectId id = session->NewIds(1);
  ASSERT_TRUE(session->Upload(id, BytesType(5), Share("12345")).ok());
  const absl::Status status = session->Read(id, room);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 bytes into a buffer of 8 bytes"));
  EXPECT_EQ(session->Upload(id, BytesType(5), Share("1")).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(GrpcSession, GoesOnOverALinkThatBreaks) {
  FakeServer server;
  auto proxy = testing::FlakyProxy::Start(server.address);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  const auto session = Connected((*proxy)->address());
  ASSERT_NE(session, nullptr);
  server.handler->SetTransferAddress((*proxy)->address());
  (*proxy)->CutRandomly(/*seed=*/3, /*cuts=*/30, 500, 60000);
  int i = 0;
  std::vector<ObjectId> outputs;
  while ((*proxy)->cuts() < 30) {
    StepRequest step;
    step.fingerprint = {1, 2};
    step.graph = AnyGraph();
    step.feeds = {Share(Filled(200 + i % 7, i)), Share(Filled(i % 16 == 0 ? 70000 : 3, i))};
    step.first_output = session->NewIds(1);
    outputs.push_back(step.first_output);
    ASSERT_TRUE(session->Submit(std::move(step)).ok());
    if (++i % 10 == 0) {
      ASSERT_TRUE(session->Synchronize().ok());
    }
  }
  for (int k = 0; k < i; ++k) {
    const std::string expected = Filled(200 + k % 7, k) + Filled(k % 16 == 0 ? 70000 : 3, k);
    ASSERT_TRUE(ReadText(*session, outputs[k], expected.size()) == expected) << k;
  }
  EXPECT_GT(session->stats().reconnects, 0u);
}

TEST(GrpcSession, FailsEverythingWhenTheServerGoes) {
  auto server = std::make_unique<FakeServer>();
  const auto session = Connected(server->address);
  ASSERT_NE(session, nullptr);
  server->handler->session()->Close(absl::AbortedError("the operator ended it"));
  server->handler->WaitForEnd().IgnoreError();
  std::byte room[1];
  const absl::Status status = session->Read(1, room);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the operator ended it"));
  EXPECT_EQ(session->Synchronize().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(session->Upload(1, BytesType(1), Share("x")).code(), absl::StatusCode::kUnavailable);
}

TEST(GrpcSession, ClosesInOrder) {
  FakeServer server;
  auto session = Connected(server.address);
  ASSERT_NE(session, nullptr);
  const ObjectId id = session->NewIds(1);
  ASSERT_TRUE(session->Upload(id, BytesType(1000000), Share(Filled(1000000, 1))).ok());
  session = nullptr;
  EXPECT_TRUE(server.handler->WaitForEnd().ok());
  EXPECT_EQ(server.handler->objects(), 1u);
}

TEST(Connect, SaysWhatToDo) {
  FakeServer server;
  ConnectOptions options;
  options.log = false;
  options.server = server.address;
  options.token = "wrong";
  const auto refused = Connect(options);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("token: unknown"));
  options.server = "nonsense";
  const auto nonsense = Connect(options);
  EXPECT_THAT(std::string(nonsense.status().message()), HasSubstr("MOAI_SERVER"));
}

TEST(Connect, TellsThePersonAtTheTerminal) {
  FakeServer server;
  setenv("MOAI_SERVER", server.address.c_str(), 1);
  ::testing::internal::CaptureStderr();
  {
    const auto session = Connect();
    ASSERT_TRUE(session.ok()) << session.status();
  }
  const std::string lines = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(lines, ::testing::StartsWith(absl::StrCat(
                         "[info] Requesting resources for MoAI Accelerator from the server...\n"
                         "[info] Initializing the worker daemon for MoAI Accelerator\n"
                         "[info] [1/4] Connecting to resources on the server (",
                         server.address,
                         ")...\n"
                         "[info] Establishing links to the resources...\n"
                         "[info] MoAI Accelerator is ready to use.\n")));
  unsetenv("MOAI_SERVER");
}

}  // namespace
}  // namespace moai
