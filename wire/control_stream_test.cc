// Control streams through real connections of one process: order, exactly once, cuts, limits,
// leases and hostile frames.
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/flaky_proxy.h"
#include "wire/control_client.h"
#include "wire/control_server.h"
#include "wire/stream_server.h"

namespace moai::wire {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr char kMethod[] = "/moai.test.Echo/Attach";
const auto kPatience = seconds(60);

// Something that happens on another thread, for a test to wait for.
class Event {
 public:
  void Set(absl::Status status = absl::OkStatus()) {
    MutexLock lock(mutex_);
    status_ = status;
    set_ = true;
    changed_.NotifyAll();
  }
  bool Wait() {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(mutex_);
    while (!set_) {
      if (!changed_.WaitUntil(mutex_, deadline)) return false;
    }
    return true;
  }
  bool is_set() {
    MutexLock lock(mutex_);
    return set_;
  }
  absl::Status status() {
    MutexLock lock(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool set_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// Answers each message with itself; "close" closes, "fail" fails.
class EchoHandler : public ControlHandler {
 public:
  absl::Status OnMessage(absl::string_view message) override {
    ++taken;
    if (message == "fail") return absl::InvalidArgumentError("field word: fail is no word");
    if (message == "close") {
      session->Close(absl::AbortedError("closed by request"));
      return absl::OkStatus();
    }
    return session->Queue(std::string(message));
  }
  void OnFrameEnd() override { session->Flush(); }
  void OnDisconnected(const absl::Status&) override { disconnected.Set(); }
  void OnEnded(const absl::Status& why) override {
    ended.Set(why);
    session = nullptr;
  }

  std::shared_ptr<ControlSession> session;
  std::atomic<int> taken = 0;
  Event disconnected;
  Event ended;
};

// Hello is a session's name, "" for a new one; the welcome is the name.
class EchoAcceptor : public ControlAcceptor {
 public:
  absl::StatusOr<Admission> OnHello(absl::string_view hello, const PeerInfo&) override {
    MutexLock lock(mutex_);
    if (hello == "intruder") return absl::PermissionDeniedError("Unknown token");
    std::string name(hello);
    const bool resumed = !name.empty();
    if (!resumed) {
      name = absl::StrCat("session", handlers_.size());
      auto handler = std::make_shared<EchoHandler>();
      handler->session = std::make_shared<ControlSession>(handler, options);
      sessions_[name] = handler->session;
      handlers_[name] = handler;
    }
    const auto session = sessions_.find(name);
    if (session == sessions_.end()) return absl::NotFoundError("No such session");
    const std::shared_ptr<ControlSession> found = session->second.lock();
    if (found == nullptr) return absl::NotFoundError("The session has ended");
    return Admission{found, resumed, name};
  }

  std::shared_ptr<EchoHandler> handler(const std::string& name) {
    MutexLock lock(mutex_);
    return handlers_[name];
  }

  ControlSessionOptions options;

 private:
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<EchoHandler>> handlers_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::weak_ptr<ControlSession>> sessions_ ABSL_GUARDED_BY(mutex_);
};

class ClientHandler : public ControlClientHandler {
 public:
  explicit ClientHandler(size_t expected = 0) : expected_(expected) {}

  std::string Hello() override { return name; }
  absl::StatusOr<milliseconds> OnWelcome(absl::string_view welcome) override {
    name = std::string(welcome);
    return lease;
  }
  absl::Status OnMessage(absl::string_view message) override {
    received.emplace_back(message);
    if (received.size() == expected_) complete.Set();
    return absl::OkStatus();
  }
  void OnDisconnected(const absl::Status&) override { disconnected.Set(); }
  void OnEnded(const absl::Status& why) override { ended.Set(why); }

  std::string name;
  milliseconds lease = seconds(30);
  std::vector<std::string> received;  // to be read after `complete` or after the client's end
  Event complete;
  Event disconnected;
  Event ended;

 private:
  const size_t expected_;
};

class ControlStreamTest : public ::testing::Test {
 protected:
  void StartServer(const std::string& address = "127.0.0.1:0") {
    StreamServerOptions options;
    options.addresses = {address};
    StreamServer::Methods methods;
    methods.emplace_back(kMethod, ServeControl(&acceptor_));
    auto server = StreamServer::Start(options, std::move(methods));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  absl::StatusOr<std::unique_ptr<ControlClient>> Connect(
      const std::shared_ptr<ClientHandler>& handler, const std::string& address = {},
      const ReliableLimits& limits = {}) {
    ControlClientOptions options;
    options.address = address.empty() ? server_->addresses()[0] : address;
    options.method = kMethod;
    options.limits = limits;
    return ControlClient::Connect(options, handler);
  }

  EchoAcceptor acceptor_;
  std::unique_ptr<StreamServer> server_;
};

std::vector<std::string> Numbers(int count) {
  std::vector<std::string> messages;
  for (int i = 0; i < count; ++i) messages.push_back(absl::StrCat("message ", i));
  return messages;
}

TEST_F(ControlStreamTest, EchoesInOrderAndPacksUnderLoad) {
  StartServer();
  constexpr int kCount = 20000;
  auto handler = std::make_shared<ClientHandler>(kCount);
  auto client = Connect(handler);
  ASSERT_TRUE(client.ok()) << client.status();
  for (const std::string& message : Numbers(kCount)) ASSERT_TRUE((*client)->Send(message).ok());
  ASSERT_TRUE(handler->complete.Wait());
  EXPECT_LT((*client)->stats().frames_sent, kCount / 2u);
  (*client)->Close(kPatience);
  EXPECT_EQ(handler->received, Numbers(kCount));
  const std::shared_ptr<EchoHandler> session = acceptor_.handler("session0");
  ASSERT_TRUE(session->ended.Wait());
  EXPECT_TRUE(session->ended.status().ok()) << session->ended.status();
  EXPECT_TRUE(handler->ended.status().ok());
  EXPECT_EQ((*client)->Send("late").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ControlStreamTest, WorksOverUnixSockets) {
  // A socket's path has at most 107 characters, which the test's own directory may exceed.
  char directory[] = "/tmp/moai-control-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const absl::Cleanup removal = [&] { std::filesystem::remove_all(directory); };
  StartServer(absl::StrCat("unix:", directory, "/control.sock"));
  auto handler = std::make_shared<ClientHandler>(1);
  auto client = Connect(handler);
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*client)->Send("hello").ok());
  ASSERT_TRUE(handler->complete.Wait());
}

TEST_F(ControlStreamTest, SurvivesAHundredCuts) {
  StartServer();
  auto proxy = testing::FlakyProxy::Start(server_->addresses()[0]);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  (*proxy)->CutRandomly(/*seed=*/7, /*cuts=*/100, 200, 20000);
  // Send until the cuts are used up, a thousand at a time.
  auto handler = std::make_shared<ClientHandler>();
  auto client = Connect(handler, (*proxy)->address());
  int attempts = 0;
  while (!client.ok() && ++attempts < 20) client = Connect(handler, (*proxy)->address());
  ASSERT_TRUE(client.ok()) << client.status();
  int sent = 0;
  while ((*proxy)->cuts() < 100) {
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE((*client)->Send(absl::StrCat("message ", sent++)).ok());
    }
    std::this_thread::yield();
  }
  ASSERT_TRUE((*client)->Send("close").ok());
  ASSERT_TRUE(handler->ended.Wait());
  EXPECT_EQ(handler->ended.status().code(), absl::StatusCode::kAborted) << handler->ended.status();
  EXPECT_GT((*client)->stats().reconnects, 10u);
  EXPECT_EQ(handler->received, Numbers(sent));
}

TEST_F(ControlStreamTest, TellsThePeerWhyASessionEnds) {
  StartServer();
  auto handler = std::make_shared<ClientHandler>(1);
  auto client = Connect(handler);
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*client)->Send("hello").ok());
  ASSERT_TRUE((*client)->Send("fail").ok());
  ASSERT_TRUE(handler->ended.Wait());
  EXPECT_THAT(std::string(handler->ended.status().message()), HasSubstr("field word"));
  EXPECT_THAT(std::string((*client)->Send("more").message()), HasSubstr("field word"));
  ASSERT_TRUE(acceptor_.handler("session0")->ended.Wait());
}

TEST_F(ControlStreamTest, RefusesWithTheAcceptorsWords) {
  StartServer();
  auto handler = std::make_shared<ClientHandler>();
  handler->name = "intruder";
  auto client = Connect(handler);
  EXPECT_EQ(client.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("Unknown token"));
}

TEST_F(ControlStreamTest, FailsAtOnceWhereNobodyListens) {
  StartServer();
  const std::string address = server_->addresses()[0];
  server_ = nullptr;
  auto client = Connect(std::make_shared<ClientHandler>(), address);
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(client.status().message()), HasSubstr(address));
}

TEST_F(ControlStreamTest, AnswersUnknownMethods) {
  StartServer();
  ControlClientOptions options;
  options.address = server_->addresses()[0];
  options.method = "/moai.test.Echo/Nothing";
  auto client = ControlClient::Connect(options, std::make_shared<ClientHandler>());
  EXPECT_EQ(client.status().code(), absl::StatusCode::kUnimplemented) << client.status();
}

TEST_F(ControlStreamTest, EndsSessionsWhoseLeaseIsOver) {
  acceptor_.options.lease = milliseconds(1);
  StartServer();
  auto proxy = testing::FlakyProxy::Start(server_->addresses()[0]);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  auto handler = std::make_shared<ClientHandler>();
  auto client = Connect(handler, (*proxy)->address());
  ASSERT_TRUE(client.ok()) << client.status();
  (*proxy)->SetAccepting(false);
  (*proxy)->CutAll();
  const std::shared_ptr<EchoHandler> session = acceptor_.handler("session0");
  ASSERT_TRUE(session->ended.Wait());
  EXPECT_THAT(std::string(session->ended.status().message()), HasSubstr("lease"));
  (*proxy)->SetAccepting(true);
  ASSERT_TRUE(handler->ended.Wait());
  EXPECT_EQ(handler->ended.status().code(), absl::StatusCode::kNotFound) << handler->ended.status();
}

TEST_F(ControlStreamTest, GivesUpWhenTheServerStaysAway) {
  StartServer();
  auto handler = std::make_shared<ClientHandler>();
  handler->lease = milliseconds(50);
  auto client = Connect(handler);
  ASSERT_TRUE(client.ok()) << client.status();
  server_ = nullptr;
  ASSERT_TRUE(handler->ended.Wait());
  EXPECT_EQ(handler->ended.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE((*client)->Send("x").ok());
}

TEST_F(ControlStreamTest, HoldsBackASenderWhosePeerIsAway) {
  StartServer();
  auto proxy = testing::FlakyProxy::Start(server_->addresses()[0]);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  constexpr int kCount = 1000;
  auto handler = std::make_shared<ClientHandler>(kCount);
  auto client = Connect(handler, (*proxy)->address(), {.max_queued_messages = 100});
  ASSERT_TRUE(client.ok()) << client.status();
  (*proxy)->SetAccepting(false);
  (*proxy)->CutAll();
  ASSERT_TRUE(handler->disconnected.Wait());
  std::atomic<int> sent = 0;
  std::thread sender([&] {
    for (const std::string& message : Numbers(kCount)) {
      if ((*client)->Send(message).ok()) ++sent;
    }
  });
  while (sent < 100) std::this_thread::yield();
  EXPECT_EQ(sent, 100);
  (*proxy)->SetAccepting(true);
  sender.join();
  ASSERT_TRUE(handler->complete.Wait());
  (*client)->Close(kPatience);
  EXPECT_EQ(handler->received, Numbers(kCount));
}

TEST_F(ControlStreamTest, EndsSessionsWithTheServer) {
  StartServer();
  auto handler = std::make_shared<ClientHandler>();
  auto client = Connect(handler);
  ASSERT_TRUE(client.ok()) << client.status();
  server_ = nullptr;
  const std::shared_ptr<EchoHandler> session = acceptor_.handler("session0");
  EXPECT_TRUE(session->ended.is_set());
  EXPECT_EQ(session->ended.status().code(), absl::StatusCode::kUnavailable);
}

TEST(StreamServer, RefusesOpenListenersWithoutEncryption) {
  StreamServerOptions options;
  options.addresses = {"0.0.0.0:0"};
  auto server = StreamServer::Start(options, {});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("0.0.0.0:0 without TLS"));
  options.addresses = {"nonsense"};
  EXPECT_THAT(std::string(StreamServer::Start(options, {}).status().message()),
              HasSubstr("\"nonsense\" is no address"));
}

}  // namespace
}  // namespace moai::wire
