#include "worker/collectives/host_mail.h"

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using testing::HasSubstr;
using Clock = HostMail::Clock;

Clock::time_point Soon() { return Clock::now() + std::chrono::milliseconds(20); }
Clock::time_point Late() { return Clock::now() + std::chrono::minutes(10); }

// What each of two processes has of the other: two devices in the first, one in the second.
class HostMailTest : public testing::Test {
 protected:
  HostMailTest() {
    const std::vector<uint32_t> process_of_rank = {0, 0, 1};
    std::vector<std::string> offers;
    for (uint32_t process = 0; process < 2; ++process) {
      inboxes_.push_back(*HostInboxes::Open(process, process_of_rank));
      offers.push_back(inboxes_.back()->offer());
    }
    for (uint32_t process = 0; process < 2; ++process) {
      inboxes_[process]->Accept(offers);
      states_[process].OnBreak([this, process] { inboxes_[process]->RingOwnBells(); });
      states_[process].OnEndOfProcess([this, process] { inboxes_[process]->RingOwnBells(); });
    }
    for (uint32_t rank = 0; rank < 3; ++rank) {
      const uint32_t process = process_of_rank[rank];
      mail_.push_back(
          std::make_unique<HostMail>(rank, 3, inboxes_[process].get(), &states_[process]));
    }
  }

  std::vector<std::unique_ptr<HostInboxes>> inboxes_;
  GroupState states_[2];
  std::vector<std::unique_ptr<HostMail>> mail_;  // by rank
};

std::vector<std::byte> Numbered(size_t bytes, int seed) {
  std::vector<std::byte> numbers(bytes);
  for (size_t i = 0; i < bytes; ++i) numbers[i] = std::byte(i * 7 + i / 251 + size_t(seed));
  return numbers;
}

TEST_F(HostMailTest, AllAccepted) {
  EXPECT_TRUE(inboxes_[0]->AllAccepted());
  EXPECT_TRUE(inboxes_[1]->AllAccepted());
}

// Messages larger than the ring in both directions at once, and others to a third device: whoever
// waits moves them all.
TEST_F(HostMailTest, MovesMessagesOfAnyLengthBothWays) {
  const std::vector<int64_t> sizes = {0, 1, 8, 100'003, 131'072, 3'000'001, 0, 5};
  const auto exchange = [&](uint32_t me, std::vector<uint32_t> peers) {
    std::vector<std::vector<std::byte>> sent, received;
    for (uint32_t peer : peers) {
      for (int64_t size : sizes) {
        sent.push_back(Numbered(size_t(size), int(me * 10 + peer)));
        received.emplace_back(size_t(size));
      }
    }
    size_t i = 0;
    for (uint32_t peer : peers) {
      for (int64_t size : sizes) {
        mail_[me]->PostRecv(peer, received[i].data(), size);
        mail_[me]->PostSend(peer, sent[i++].data(), size);
      }
    }
    i = 0;
    for (uint32_t peer : peers) {
      for (int64_t size : sizes) {
        ASSERT_TRUE(mail_[me]->FinishRecv(peer, Late()).ok());
        ASSERT_EQ(received[i++], Numbered(size_t(size), int(peer * 10 + me)));
      }
    }
    for (uint32_t peer : peers) {
      while (mail_[me]->sends_on_their_way(peer) > 0) {
        ASSERT_TRUE(mail_[me]->FinishSend(peer, Late()).ok());
      }
    }
  };
  std::thread first([&] { exchange(0, {2}); });
  std::thread second([&] { exchange(1, {2}); });
  exchange(2, {1, 0});
  first.join();
  second.join();
}

TEST_F(HostMailTest, SaysWhereSizesDiffer) {
  std::byte bytes[16] = {};
  mail_[0]->PostSend(2, bytes, 16);
  ASSERT_TRUE(mail_[0]->FinishSend(2, Late()).ok());
  mail_[2]->PostRecv(0, bytes, 12);
  const absl::Status status = mail_[2]->FinishRecv(0, Late());
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("device 0 sent 16 bytes where device 2"));
}

TEST_F(HostMailTest, EndsAWaitAtItsDeadline) {
  std::vector<std::byte> bytes(1 << 20);
  mail_[2]->PostRecv(1, bytes.data(), 5);
  const absl::Status received = mail_[2]->FinishRecv(1, Soon());
  EXPECT_TRUE(absl::IsDeadlineExceeded(received)) << received;
  mail_[0]->PostSend(2, bytes.data(), 1 << 20);
  const absl::Status sent = mail_[0]->FinishSend(2, Soon());
  EXPECT_TRUE(absl::IsDeadlineExceeded(sent)) << sent;
  EXPECT_THAT(std::string(sent.message()), HasSubstr("device 2, which read nothing"));
}

// Who sends goes on at once, who receives waits.
TEST_F(HostMailTest, DeliversNoEarlierThanTheArrival) {
  std::byte sent[2][8] = {}, received[2][8] = {};
  const Clock::time_point arrivals[] = {Soon(), Clock::now() + std::chrono::minutes(5)};
  for (int i = 0; i < 2; ++i) {
    mail_[0]->PostSend(2, sent[i], 8, arrivals[i]);
    ASSERT_TRUE(mail_[0]->FinishSend(2, Soon()).ok());
    mail_[2]->PostRecv(0, received[i], 8);
  }
  ASSERT_TRUE(mail_[2]->FinishRecv(0, Late()).ok());
  EXPECT_GE(Clock::now(), arrivals[0]);
  const absl::Status late = mail_[2]->FinishRecv(0, Soon());
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_THAT(std::string(late.message()), HasSubstr("sent nothing that arrives in time"));
}

TEST_F(HostMailTest, WakesWhoWaitsWhenTheStateBreaks) {
  std::byte byte{};
  mail_[2]->PostRecv(0, &byte, 1);
  std::thread breaking([&] { states_[1].Break(absl::CancelledError("enough")).IgnoreError(); });
  EXPECT_EQ(mail_[2]->FinishRecv(0, Late()), absl::CancelledError("enough"));
  breaking.join();
}

// What it sent before is there.
TEST_F(HostMailTest, WakesWhoWaitsForAProcessThatEnds) {
  std::byte bytes[2] = {std::byte{7}};
  mail_[0]->PostSend(2, bytes, 1);
  ASSERT_TRUE(mail_[0]->FinishSend(2, Late()).ok());
  std::thread ending(
      [&] { states_[1].EndProcess(0, absl::UnavailableError("executor 0 has ended")); });
  std::byte received[2] = {};
  mail_[2]->PostRecv(0, received, 1);
  mail_[2]->PostRecv(0, received + 1, 1);
  EXPECT_TRUE(mail_[2]->FinishRecv(0, Late()).ok());
  EXPECT_EQ(received[0], std::byte{7});
  const absl::Status second = mail_[2]->FinishRecv(0, Late());
  EXPECT_TRUE(absl::IsUnavailable(second)) << second;
  EXPECT_THAT(std::string(second.message()), HasSubstr("executor 0 has ended"));
  ending.join();
}

TEST_F(HostMailTest, RefusesCountersThatCannotBe) {
  std::byte byte{};
  inboxes_[0]->RingOf(1, 2).counters->written.store(~uint64_t{0});
  mail_[2]->PostRecv(1, &byte, 1);
  const absl::Status received = mail_[2]->FinishRecv(1, Late());
  EXPECT_EQ(received.code(), absl::StatusCode::kInternal) << received;
  inboxes_[1]->RingOf(0, 2).counters->read.store(5);
  mail_[0]->PostSend(2, &byte, 1);
  const absl::Status sent = mail_[0]->FinishSend(2, Late());
  EXPECT_EQ(sent.code(), absl::StatusCode::kInternal) << sent;
}

TEST(HostInboxes, OfManyDevicesStayWithinBounds) {
  // Nobody touches the pages: this is address space.
  std::vector<uint32_t> process_of_rank;
  for (uint32_t rank = 0; rank < 4096; ++rank) process_of_rank.push_back(rank / 8);
  const auto inboxes = HostInboxes::Open(3, process_of_rank);
  ASSERT_TRUE(inboxes.ok()) << inboxes.status();
  const ByteRing ring = (*inboxes)->RingOf(4095, 31);
  EXPECT_GE(ring.size, 4096u);
  std::memset(ring.data, 1, ring.size);  // within the segment
}

}  // namespace
}  // namespace moai
