// What a hostile peer sends over real connections: mutated frames, headers and chunks. The servers
// must answer each with an error, or take it, and go on serving others.
#include <grpcpp/completion_queue.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"
#include "proto/transfer.pb.h"
#include "wire/channel.h"
#include "wire/control_server.h"
#include "wire/frame.h"
#include "wire/poller.h"
#include "wire/random_id.h"
#include "wire/raw_stream.h"
#include "wire/stream_server.h"
#include "wire/transfer_client.h"
#include "wire/transfer_server.h"

namespace moai::wire {
namespace {

constexpr char kAttach[] = "/moai.proto.SessionService/Attach";
constexpr int kRounds = 400;

// Takes anything; every session is a new one.
class AnyHandler : public ControlHandler {
 public:
  absl::Status OnMessage(absl::string_view message) override {
    proto::ClientMessage parsed;
    if (!parsed.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      return absl::InvalidArgumentError("message: malformed");
    }
    return session->Queue("answer");
  }
  void OnFrameEnd() override { session->Flush(); }
  void OnEnded(const absl::Status&) override { session = nullptr; }
  std::shared_ptr<ControlSession> session;
};

class AnyAcceptor : public ControlAcceptor {
 public:
  absl::StatusOr<Admission> OnHello(absl::string_view, const PeerInfo&) override {
    auto handler = std::make_shared<AnyHandler>();
    handler->session = std::make_shared<ControlSession>(
        handler, ControlSessionOptions{.lease = std::chrono::milliseconds(1)});
    return Admission{handler->session, false, "welcome"};
  }
};

class Buffer : public TransferTarget {
 public:
  absl::StatusOr<absl::Span<std::byte>> BeginUpload(const Ticket& ticket) override {
    if (ticket.bytes != bytes_.size()) return absl::InternalError("size");
    return absl::MakeSpan(bytes_);
  }
  void EndUpload(const Ticket&, const absl::Status&) override {}
  absl::StatusOr<ByteSource> BeginDownload(const Ticket&) override {
    return ByteSource{absl::MakeConstSpan(bytes_), nullptr};
  }

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(3000);
};

// Sends given messages one by one, without reading what they are, until the stream ends.
class Sender : public StreamOwner {
 public:
  explicit Sender(std::vector<std::string> messages) : messages_(std::move(messages)) {}
  void OnMessage(RawStream& stream, const grpc::ByteBuffer&) override {
    // The peer has answered; a well-formed stream would stay open.
    if (next_ == messages_.size()) stream.Cancel();
  }
  void OnWritten(RawStream& stream) override {
    if (next_ < messages_.size()) {
      stream.Write(CopyToBuffer(messages_[next_++]));
    } else {
      // Whatever the peer still waits for will not come.
      stream.poller()->RunAfter(std::chrono::milliseconds(2),
                                [self = stream.weak_from_this()](bool) {
                                  if (const auto live = self.lock()) live->Cancel();
                                });
    }
  }
  void OnClosed(RawStream&, const absl::Status&) override {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(mutex_);
    while (!closed_) changed_.Wait(mutex_);
  }

 private:
  const std::vector<std::string> messages_;
  size_t next_ = 0;
  Mutex mutex_;
  CondVar changed_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

class HostileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    StreamServerOptions options;
    options.addresses = {"127.0.0.1:0"};
    StreamServer::Methods methods = transfers_.Methods();
    methods.emplace_back(kAttach, ServeControl(&acceptor_));
    auto server = StreamServer::Start(options, std::move(methods));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = OpenChannel(server_->addresses()[0]);
  }
  void TearDown() override {
    poller_->Shutdown();
    server_ = nullptr;
  }

  void Send(const char* method, const std::string& first, std::vector<std::string> rest) {
    auto sender = std::make_shared<Sender>(std::move(rest));
    RawStream::Open(channel_, method, poller_, sender, CopyToBuffer(first));
    sender->Wait();
  }

  std::string Mutated(std::string bytes) {
    for (int n = static_cast<int>(random_() % 3); n >= 0 && !bytes.empty(); --n) {
      const size_t at = random_() % bytes.size();
      switch (random_() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random_());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random_() % 8)));
          break;
        case 2:
          bytes.resize(at);
          break;
        default:
          bytes.insert(at, 1 + random_() % 9, static_cast<char>(0xff));
      }
    }
    return bytes;
  }

  Ticket NewTicket(bool upload) {
    Ticket ticket;
    ticket.id = NewRandomId();
    ticket.bytes = 3000;
    ticket.upload = upload;
    ticket.addresses = {server_->addresses()[0]};
    EXPECT_TRUE(transfers_.AddTicket(ticket).ok());
    return ticket;
  }

  Buffer buffer_;
  TransferServer transfers_{&buffer_};
  AnyAcceptor acceptor_;
  std::unique_ptr<StreamServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  const std::shared_ptr<Poller> poller_ =
      std::make_shared<Poller>(std::make_unique<grpc::CompletionQueue>());
  std::mt19937 random_{11};
};

TEST_F(HostileTest, ControlServersSurviveMutatedFrames) {
  proto::ClientMessage message;
  message.mutable_step()->set_step(1);
  message.mutable_step()->add_sizes(-5);
  for (int round = 0; round < kRounds; ++round) {
    std::string hello;
    AppendOpening("hello", hello);
    std::vector<std::string> frames;
    for (uint64_t sequence = 1; sequence < 6; sequence += 2) {
      std::string& frame = frames.emplace_back();
      AppendFirstSequence(sequence, frame);
      AppendMessage(message.SerializeAsString(), frame);
      AppendMessage(message.SerializeAsString(), frame);
      AppendAcknowledged(sequence / 2, frame);
      if (round % 2 == 0 || sequence == 5) frame = Mutated(frame);
    }
    Send(kAttach, round % 4 == 0 ? Mutated(hello) : hello, frames);
  }
}

TEST_F(HostileTest, TransfersSurviveMutatedHeadersAndStillServe) {
  for (int round = 0; round < kRounds; ++round) {
    const bool upload = round % 2 == 0;
    const Ticket ticket = NewTicket(upload);
    proto::TransferHeader header;
    header.set_ticket_id(ticket.id);
    header.set_bytes(3000);
    if (round % 3 == 0) {
      header.set_host_id("elsewhere");
      header.set_shared_memory(absl::StrCat(getpid(), "/", round % 30));
    }
    if (round % 5 == 0) header.set_resume(true);
    Send(upload ? "/moai.proto.TransferService/Upload" : "/moai.proto.TransferService/Download",
         Mutated(header.SerializeAsString()),
         {std::string(random_() % 2000, 'x'), "", std::string(random_() % 4000, 'y')});
    transfers_.RemoveTicket(ticket.id);
  }
  TransferClient client;
  std::vector<std::byte> bytes(3000, std::byte{7});
  for (const bool upload : {true, false}) {
    Mutex mutex;
    CondVar changed;
    bool done = false;
    const auto finished = [&](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
      MutexLock lock(mutex);
      done = true;
      changed.NotifyAll();
    };
    if (upload) {
      client.Upload(NewTicket(true), {absl::MakeConstSpan(bytes), nullptr}, finished);
    } else {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
      client.Download(NewTicket(false), absl::MakeSpan(bytes), finished);
    }
    MutexLock lock(mutex);
    while (!done) changed.Wait(mutex);
  }
  EXPECT_EQ(bytes, std::vector<std::byte>(3000, std::byte{7}));
}

}  // namespace
}  // namespace moai::wire
