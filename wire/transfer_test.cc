// Bulk bytes through real connections of one process: both directions, both lanes, broken links,
// tickets, hostile headers.
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/flaky_proxy.h"
#include "wire/random_id.h"
#include "wire/shared_memory.h"
#include "wire/stream_server.h"
#include "wire/transfer_client.h"
#include "wire/transfer_server.h"

namespace moai::wire {
namespace {

using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;

Bytes Pattern(size_t size, uint32_t seed) {
  std::minstd_rand random(seed);
  Bytes bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() >> 8);
  return bytes;
}

class MemoryTarget : public TransferTarget {
 public:
  absl::StatusOr<absl::Span<std::byte>> BeginUpload(const Ticket& ticket) override {
    MutexLock lock(mutex_);
    Bytes& bytes = objects_[ticket.object];
    bytes.resize(ticket.bytes);
    return absl::MakeSpan(bytes);
  }
  void EndUpload(const Ticket& ticket, const absl::Status& status) override {
    MutexLock lock(mutex_);
    ++ends_;
    end_[ticket.object] = status;
  }
  absl::StatusOr<ByteSource> BeginDownload(const Ticket& ticket) override {
    MutexLock lock(mutex_);
    const auto found = objects_.find(ticket.object);
    if (found == objects_.end()) return absl::NotFoundError("No such object");
    return ByteSource{absl::MakeConstSpan(found->second), nullptr};
  }

  void Put(uint64_t object, Bytes bytes) {
    MutexLock lock(mutex_);
    objects_[object] = std::move(bytes);
  }
  Bytes Get(uint64_t object) {
    MutexLock lock(mutex_);
    return objects_[object];
  }
  int ends() {
    MutexLock lock(mutex_);
    return ends_;
  }
  absl::Status end(uint64_t object) {
    MutexLock lock(mutex_);
    return end_[object];
  }

 private:
  Mutex mutex_;
  std::map<uint64_t, Bytes> objects_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  int ends_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Waits for the `done` of one transfer.
class Waiter {
 public:
  TransferClient::Done done() {
    return [this](const absl::Status& status) {
      MutexLock lock(mutex_);
      status_ = status;
      done_ = true;
      changed_.NotifyAll();
    };
  }
  absl::Status Wait() {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

class TransferTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    transfers_ = std::make_unique<TransferServer>(&target_);
    StreamServerOptions options;
    options.addresses = {"127.0.0.1:0"};
    auto server = StreamServer::Start(options, transfers_->Methods());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    address_ = server_->addresses()[0];
    client_ = std::make_unique<TransferClient>(
        TransferClientOptions{.shared_memory = GetParam(), .min_shared_memory_bytes = 256 << 10});
  }

  Ticket NewTicket(uint64_t object, uint64_t bytes, bool upload) {
    Ticket ticket;
    ticket.id = NewRandomId();
    ticket.object = object;
    ticket.bytes = bytes;
    ticket.upload = upload;
    ticket.addresses = {address_};
    EXPECT_TRUE(transfers_->AddTicket(ticket).ok());
    return ticket;
  }

  absl::Status Upload(const Ticket& ticket, const Bytes& bytes) {
    Waiter waiter;
    client_->Upload(ticket, {absl::MakeConstSpan(bytes), nullptr}, waiter.done());
    return waiter.Wait();
  }
  absl::Status Download(const Ticket& ticket, Bytes& bytes) {
    Waiter waiter;
    client_->Download(ticket, absl::MakeSpan(bytes), waiter.done());
    return waiter.Wait();
  }

  MemoryTarget target_;
  std::unique_ptr<TransferServer> transfers_;
  std::unique_ptr<StreamServer> server_;
  std::string address_;
  std::unique_ptr<TransferClient> client_;
};

INSTANTIATE_TEST_SUITE_P(Lanes, TransferTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "SharedMemory" : "Stream"; });

TEST_P(TransferTest, CarriesEverySizeBothWays) {
  uint64_t object = 0;
  for (const size_t size : {0u, 1u, 1000u, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 5000001u}) {
    const Bytes sent = Pattern(size, static_cast<uint32_t>(size));
    const absl::Status up = Upload(NewTicket(++object, size, true), sent);
    ASSERT_TRUE(up.ok()) << size << ": " << up;
    EXPECT_TRUE(target_.Get(object) == sent) << size;
    EXPECT_TRUE(target_.end(object).ok());
    Bytes received(size);
    const absl::Status down = Download(NewTicket(object, size, false), received);
    ASSERT_TRUE(down.ok()) << size << ": " << down;
    EXPECT_TRUE(received == sent) << size;
  }
  EXPECT_EQ(target_.ends(), static_cast<int>(object));
  EXPECT_EQ(client_->stats().shared_memory_transfers, GetParam() ? 8u : 0u);
}

TEST_P(TransferTest, CarriesManyAtOnce) {
  constexpr int kCount = 12;
  std::vector<Bytes> sent;
  for (int i = 0; i < kCount; ++i) sent.push_back(Pattern(700000 + 1000 * i, i));
  std::vector<Bytes> received(kCount);
  std::vector<Waiter> up(kCount);
  std::vector<Waiter> down(kCount);
  for (int i = 0; i < kCount; ++i) {
    client_->Upload(NewTicket(i, sent[i].size(), true), {absl::MakeConstSpan(sent[i]), nullptr},
                    up[i].done());
  }
  for (int i = 0; i < kCount; ++i) {
    EXPECT_TRUE(up[i].Wait().ok());
    received[i].resize(sent[i].size());
    client_->Download(NewTicket(i, sent[i].size(), false), absl::MakeSpan(received[i]),
                      down[i].done());
  }
  for (int i = 0; i < kCount; ++i) {
    EXPECT_TRUE(down[i].Wait().ok());
    EXPECT_TRUE(received[i] == sent[i]) << i;
  }
}

TEST_P(TransferTest, GoesOnWhereTheLinkBroke) {
  auto proxy = testing::FlakyProxy::Start(address_);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  address_ = (*proxy)->address();
  constexpr size_t kSize = 24 << 20;
  const Bytes sent = Pattern(kSize, 3);
  int object = 0;
  const auto carry = [&] {
    (*proxy)->CutRandomly(/*seed=*/object, /*cuts=*/12, 100 << 10, 2 << 20);
    const absl::Status up = Upload(NewTicket(++object, kSize, true), sent);
    ASSERT_TRUE(up.ok()) << up;
    EXPECT_TRUE(target_.Get(object) == sent);
    (*proxy)->CutRandomly(/*seed=*/object, /*cuts=*/12, 100 << 10, 2 << 20);
    Bytes received(kSize);
    const absl::Status down = Download(NewTicket(object, kSize, false), received);
    ASSERT_TRUE(down.ok()) << down;
    EXPECT_TRUE(received == sent);
  };
  carry();
  carry();
  if (!GetParam()) {
    EXPECT_GE((*proxy)->cuts(), 40);
    EXPECT_GE(client_->stats().resumed, 40u);
  }
  EXPECT_EQ(target_.ends(), 2);
}

TEST_P(TransferTest, RefusesTicketsThatAreNotItsOwn) {
  Bytes bytes(10);
  Ticket stranger = NewTicket(1, 10, true);
  stranger.id[15] ^= 1;
  EXPECT_EQ(Upload(stranger, bytes).code(), absl::StatusCode::kNotFound);
  // The right id in the wrong direction.
  Ticket wrong_way = NewTicket(1, 10, true);
  wrong_way.upload = false;
  EXPECT_EQ(Download(wrong_way, bytes).code(), absl::StatusCode::kNotFound);
  // More than the ticket allows.
  Ticket larger = NewTicket(1, 10, true);
  larger.bytes = 11;
  const absl::Status status = Upload(larger, Bytes(11));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("field bytes: expected 10, got 11"));
  // An object that the target does not have.
  EXPECT_EQ(Download(NewTicket(77, 10, false), bytes).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(target_.ends(), 0);
}

TEST_P(TransferTest, ForgetsTicketsThatAreRemoved) {
  const Ticket ticket = NewTicket(1, 10, true);
  transfers_->RemoveTicket(ticket.id);
  EXPECT_EQ(Upload(ticket, Bytes(10)).code(), absl::StatusCode::kNotFound);
}

TEST_P(TransferTest, CancelsWhatIsUnfinishedWhenTheClientGoes) {
  auto proxy = testing::FlakyProxy::Start(address_);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  (*proxy)->SetAccepting(false);
  address_ = (*proxy)->address();
  const Bytes bytes(1000);
  Waiter waiter;
  client_->Upload(NewTicket(1, 1000, true), {absl::MakeConstSpan(bytes), nullptr}, waiter.done());
  client_ = nullptr;
  EXPECT_FALSE(waiter.Wait().ok());
}

TEST(SharedSegment, RefusesWhatIsNoSegment) {
  const std::string secret = NewRandomId();
  auto segment = SharedSegment::Create();
  ASSERT_TRUE(segment.ok()) << segment.status();
  (*segment)->Prepare(secret);
  EXPECT_TRUE(SharedSegment::Open((*segment)->name(), secret).ok());
  EXPECT_EQ(SharedSegment::Open((*segment)->name(), NewRandomId()).status().code(),
            absl::StatusCode::kPermissionDenied);
  for (const char* name : {"", "1", "x/1", "1/2/3", "-1/3", "99999999/3", "../../etc/passwd"}) {
    EXPECT_FALSE(SharedSegment::Open(name, secret).ok()) << name;
  }
  EXPECT_FALSE(SharedSegment::Open(absl::StrCat(getpid(), "/0"), secret).ok());
}

TEST(TicketRegistry, FindsOnlyWhatWasAdded) {
  TicketRegistry registry;
  Ticket ticket;
  ticket.id = NewRandomId();
  EXPECT_TRUE(registry.Add(ticket).ok());
  EXPECT_EQ(registry.Add(ticket).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(registry.Present(ticket.id, false).ok());
  EXPECT_FALSE(registry.Present(ticket.id, true).ok());
  EXPECT_FALSE(registry.Present(ticket.id.substr(0, 8), false).ok());
  EXPECT_FALSE(registry.Present(NewRandomId(), false).ok());
  Ticket expired;
  expired.id = NewRandomId();
  expired.expires = std::chrono::seconds(-1);
  EXPECT_TRUE(registry.Add(expired).ok());
  EXPECT_FALSE(registry.Present(expired.id, false).ok());
  EXPECT_EQ(registry.TakeExpired().size(), 1u);
  EXPECT_EQ(registry.size(), 1u);
  ticket.id = "short";
  EXPECT_EQ(registry.Add(ticket).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace moai::wire
