#include "worker/collectives/process_group.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "program/collective_bytes.h"
#include "program/device_graph.h"
#include "worker/collectives/testing/test_session.h"

namespace moai {
namespace {

using testing::HasSubstr;

std::byte* AsBytes(std::vector<float>& numbers) {
  return reinterpret_cast<std::byte*>(numbers.data());
}

struct alignas(kCollectiveAlignment) Scratch {
  std::byte bytes[kCollectiveWindow + 65536];
};

DeviceGroup Everybody(const Communicator& communicator) {
  DeviceGroup group;
  for (uint32_t i = 0; i < communicator.size(); ++i) group.push_back(i);
  return group;
}

// Whether processes use the host's memory or the network.
class Communicators : public testing::TestWithParam<bool> {
 protected:
  ProcessGroupOptions Places(std::vector<uint32_t> process_of_rank) const {
    return {.process_of_rank = std::move(process_of_rank), .host_memory = GetParam()};
  }
};
class ProcessGroups : public Communicators {};
INSTANTIATE_TEST_SUITE_P(HostMemory, Communicators, testing::Bool());
INSTANTIATE_TEST_SUITE_P(HostMemory, ProcessGroups, testing::Bool());

absl::Status SumInPlace(Communicator& communicator, std::vector<float>& numbers) {
  auto scratch = std::make_unique<Scratch>();
  return communicator.AllReduce(Everybody(communicator), AsBytes(numbers), AsBytes(numbers),
                                static_cast<int64_t>(numbers.size()), Dtype::kF32, ReduceKind::kSum,
                                absl::MakeSpan(scratch->bytes));
}

TEST_P(Communicators, ReducesInPlace) {
  for (const int64_t count : {1, 5, 1024, 1025, 300000}) {
    TestSession session(Places({0, 0, 1}));
    session.Run([&](Communicator& communicator) {
      std::vector<float> numbers(count);
      for (int64_t i = 0; i < count; ++i) {
        numbers[i] = static_cast<float>(i % 100 * (communicator.rank() + 1));
      }
      ASSERT_TRUE(SumInPlace(communicator, numbers).ok()) << communicator.status();
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(numbers[i], static_cast<float>(i % 100 * 6)) << i << " of " << count;
      }
    });
  }
}

TEST_P(Communicators, GivesEverybodyEverybodysFlag) {
  TestSession session(Places({0, 1, 0, 2}));
  session.Run([&](Communicator& communicator) {
    std::vector<StepFlag> all;
    for (uint32_t step = 0; step < 20; ++step) {
      const uint32_t raising = step % 4;
      const StepFlag mine{.raised = communicator.rank() == raising,
                          .instruction = communicator.rank(),
                          .value = -7,
                          .limit = step};
      ASSERT_TRUE(communicator.ExchangeFlags(mine, &all).ok()) << communicator.status();
      ASSERT_EQ(all.size(), 4u);
      for (uint32_t rank = 0; rank < 4; ++rank) {
        EXPECT_EQ(all[rank], (StepFlag{rank == raising, rank, -7, step}));
      }
    }
  });
}

// Some devices have told how they fared before a collective, others tell it after.
TEST_P(Communicators, AgreementsAndCollectivesDoNotWaitForEachOther) {
  const std::vector<uint32_t> places = {0, 1, 0, 2};
  TestSession session(Places(places));
  session.Run([&](Communicator& communicator) {
    const uint32_t rank = communicator.rank();
    ProcessGroup& group = session.group(places[rank]);
    const auto agreements = group.ForAgreements(
        std::find(group.ranks().begin(), group.ranks().end(), rank) - group.ranks().begin());
    std::vector<float> numbers(100000);
    std::vector<StepFlag> all;
    for (uint32_t step = 0; step < 20; ++step) {
      const StepFlag mine{.raised = rank == step % 4, .value = rank};
      if (rank % 2 == 0) {
        EXPECT_EQ(agreements->BeginFlags(mine), absl::OkStatus());
      }
      numbers.assign(numbers.size(), float(rank));
      ASSERT_TRUE(SumInPlace(communicator, numbers).ok()) << communicator.status();
      EXPECT_EQ(numbers[step], 6);
      if (rank % 2 == 1) {
        EXPECT_EQ(agreements->BeginFlags(mine), absl::OkStatus());
      }
      ASSERT_TRUE(agreements->FinishFlags(&all).ok()) << communicator.status();
      for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(all[i], (StepFlag{i == step % 4, 0, i, 0}));
    }
    EXPECT_EQ(agreements->counters().bytes(), 20 * 3 * int64_t{sizeof(StepFlag)});
  });
}

TEST_P(Communicators, CountsWhatGoesWhere) {
  TestSession session(Places({0, 0, 1}));
  session.Run([&](Communicator& communicator) {
    std::vector<float> part(10), whole(30);
    ASSERT_TRUE(communicator
                    .AllGather(Everybody(communicator), AsBytes(part), AsBytes(whole),
                               {.units = 30}, Dtype::kF32, {})
                    .ok());
    const TransferCounters& counters = communicator.counters();
    const int64_t neighbours = communicator.rank() == 2 ? 0 : 1;
    EXPECT_EQ(counters.in_process_bytes, 40 * neighbours);
    EXPECT_EQ(counters.in_process_messages, neighbours);
    EXPECT_EQ(counters.other_process_bytes, 40 * (2 - neighbours));
    EXPECT_EQ(counters.other_process_messages, 2 - neighbours);
  });
}

TEST(Communicator, RefusesGroupsThatCannotBe) {
  for (const DeviceGroup& group : {DeviceGroup{1}, DeviceGroup{0, 0}, DeviceGroup{0, 2}}) {
    TestSession session(std::vector<uint32_t>{0, 0});
    std::vector<float> numbers(4);
    EXPECT_TRUE(absl::IsInvalidArgument(
        session.communicator(0).BroadcastFromFirst(group, AsBytes(numbers), AsBytes(numbers), 16)));
    // The other device does not wait for one whose program is wrong.
    EXPECT_TRUE(absl::IsInvalidArgument(session.communicator(1).Recv(0, AsBytes(numbers), 16)));
  }
}

TEST(Communicator, SaysWhereSizesDiffer) {
  for (const std::vector<uint32_t>& places :
       {std::vector<uint32_t>{0, 0}, std::vector<uint32_t>{0, 1}}) {
    TestSession session(places);
    session.Run([&](Communicator& communicator) {
      std::vector<float> numbers(4);
      const absl::Status status = communicator.rank() == 0
                                      ? communicator.Send(1, AsBytes(numbers), 16)
                                      : communicator.Recv(0, AsBytes(numbers), 12);
      // Through the host's memory, who sends is done before who receives has looked.
      if (communicator.rank() == 0 && status.ok()) return;
      EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
      EXPECT_THAT(std::string(status.message()), HasSubstr("device 0 sent 16 bytes"));
    });
    EXPECT_FALSE(session.group(places[1]).status().ok());
  }
}

// Each sends first, by its order, and more than any buffer on the way holds: none waits for that.
TEST_P(Communicators, ExchangesMessagesOfAnyLengthAtOnce) {
  for (const std::vector<uint32_t>& places :
       {std::vector<uint32_t>{0, 0, 0}, std::vector<uint32_t>{0, 1, 2},
        std::vector<uint32_t>{0, 0, 1}}) {
    TestSession session(ProcessGroupOptions{.process_of_rank = places, .host_memory = GetParam()});
    session.Run([&](Communicator& communicator) {
      constexpr size_t kCount = 1 << 20;
      const uint32_t me = communicator.rank();
      std::vector<std::vector<float>> sent(3, std::vector<float>(kCount, float(me)));
      std::vector<std::vector<float>> received(3, std::vector<float>(kCount, -1));
      std::vector<float> short_sent = {10 + float(me)};
      std::vector<std::vector<float>> short_received(3, std::vector<float>(1));
      std::vector<PeerMessage> messages;
      const auto add = [&](uint32_t from, uint32_t to) {
        if (from != me && to != me) return;
        const bool incoming = to == me;
        std::vector<float>& data = incoming ? received[from] : sent[to];
        messages.push_back({.peer = incoming ? from : to,
                            .incoming = incoming,
                            .data = AsBytes(data),
                            .bytes = int64_t(kCount * sizeof(float))});
      };
      // In one order on all devices.
      for (uint32_t from = 0; from < 3; ++from) {
        for (uint32_t to = 0; to < 3; ++to) {
          if (from == to) continue;
          add(from, to);
          // And a short one after it.
          if (from == me || to == me) {
            PeerMessage message = messages.back();
            message.data = AsBytes(from == me ? short_sent : short_received[from]);
            message.bytes = 4;
            messages.push_back(message);
          }
        }
      }
      ASSERT_TRUE(communicator.Exchange(messages).ok()) << communicator.status();
      for (uint32_t peer = 0; peer < 3; ++peer) {
        if (peer == me) continue;
        EXPECT_EQ(received[peer], std::vector<float>(kCount, float(peer)));
        EXPECT_EQ(short_received[peer][0], 10 + float(peer));
      }
    });
  }
}

TEST(Communicator, RefusesAMessageToItself) {
  TestSession session(std::vector<uint32_t>{0, 0});
  std::vector<float> numbers(4);
  const absl::Status status = session.communicator(1).Send(1, AsBytes(numbers), 16);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("exchanges a message with device 1 of 2"));
}

TEST_P(Communicators, DoesNotMindATransferThatIsSlowedDown) {
  for (const std::vector<uint32_t>& places :
       {std::vector<uint32_t>{0, 0}, std::vector<uint32_t>{0, 1}}) {
    TestSession session(ProcessGroupOptions{
        .process_of_rank = places,
        .host_memory = GetParam(),
        .throttle = {.bytes_per_second = 1e9, .latency_us = 50, .in_process = true}});
    session.Run([&](Communicator& communicator) {
      std::vector<float> numbers(5000, 1);
      ASSERT_TRUE(SumInPlace(communicator, numbers).ok()) << communicator.status();
      EXPECT_EQ(numbers, std::vector<float>(5000, 2));
    });
  }
}

TEST(LinkPacer, SendsOneAfterAnother) {
  LinkPacer pacer({.bytes_per_second = 1000, .latency_us = 5e5});
  const LinkPacer::Clock::time_point start(std::chrono::seconds(100));
  using std::chrono::milliseconds;
  EXPECT_EQ(pacer.Arrival(2000, start), start + milliseconds(2500));
  EXPECT_EQ(pacer.Arrival(1000, start), start + milliseconds(3500));  // behind the first
  EXPECT_EQ(pacer.Arrival(0, start + milliseconds(10000)), start + milliseconds(10500));
}

// ---- Failures -----------------------------------------------------------------------------------

TEST_P(ProcessGroups, WakesThoseWhoWaitWhenItIsAborted) {
  TestSession session(Places({0, 0, 1}));
  std::vector<absl::Status> results(3);
  session.Run([&](Communicator& communicator) {
    std::vector<float> numbers(100000);
    if (communicator.rank() == 0) {
      // Instead of taking part.
      communicator.Abort(absl::CancelledError("no more of this"));
    } else {
      results[communicator.rank()] = SumInPlace(communicator, numbers);
    }
  });
  EXPECT_EQ(results[1], absl::CancelledError("no more of this"));
  // The other executor is told why.
  EXPECT_EQ(results[2].code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(results[2].message()), HasSubstr("executor 0 (devices 0, 1) stopped"));
  EXPECT_THAT(std::string(results[2].message()), HasSubstr("no more of this"));
}

TEST(ProcessGroup, StaysBroken) {
  TestSession session(std::vector<uint32_t>{0, 0});
  session.group(0).Abort(absl::CancelledError("first"));
  session.group(0).Abort(absl::InternalError("second"));
  EXPECT_EQ(session.group(0).status(), absl::CancelledError("first"));
  session.Run([&](Communicator& communicator) {
    std::vector<float> numbers(10);
    EXPECT_EQ(SumInPlace(communicator, numbers), absl::CancelledError("first"));
    EXPECT_EQ(SumInPlace(communicator, numbers), absl::CancelledError("first"));
  });
}

TEST_P(ProcessGroups, SaysWhichExecutorHasEnded) {
  TestSession session(Places({0, 1, 2}));
  session.EndProcess(1);
  session.Run([&](Communicator& communicator) {
    std::vector<float> numbers(100000);
    const absl::Status status = SumInPlace(communicator, numbers);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("executor 1 (devices 1)"));
  });
}

// An executor that has ended well is no error to those who do not need it.
TEST_P(ProcessGroups, GoesOnWithoutAnExecutorThatIsNotNeeded) {
  TestSession session(Places({0, 1, 2}));
  session.EndProcess(1);
  session.Run([&](Communicator& communicator) {
    std::vector<float> part(1000, static_cast<float>(communicator.rank())), whole(2000);
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(communicator
                      .AllGather(DeviceGroup{0, 2}, AsBytes(part), AsBytes(whole), {.units = 2000},
                                 Dtype::kF32, {})
                      .ok())
          << communicator.status();
    }
    EXPECT_EQ(whole.front(), 0);
    EXPECT_EQ(whole.back(), 2);
  });
}

TEST_P(ProcessGroups, EndsAWaitForADeviceThatDoesNotCome) {
  for (const std::vector<uint32_t>& places :
       {std::vector<uint32_t>{0, 0}, std::vector<uint32_t>{0, 1}}) {
    TestSession session(ProcessGroupOptions{
        .process_of_rank = places, .host_memory = GetParam(), .deadline = absl::Milliseconds(50)});
    std::vector<float> numbers(100);
    const absl::Status received = session.communicator(0).Recv(1, AsBytes(numbers), 400);
    EXPECT_TRUE(absl::IsDeadlineExceeded(received)) << received;
    EXPECT_THAT(std::string(received.message()), HasSubstr("1"));
    EXPECT_EQ(session.communicator(0).Send(1, AsBytes(numbers), 400), received);
  }
  TestSession session(
      ProcessGroupOptions{.process_of_rank = {0, 0}, .deadline = absl::Milliseconds(50)});
  std::vector<float> numbers(100);
  EXPECT_TRUE(absl::IsDeadlineExceeded(session.communicator(0).Send(1, AsBytes(numbers), 400)));
}

// ---- Set-up -------------------------------------------------------------------------------------

ProcessGroupOptions OptionsOf(uint32_t process, bool host_memory = false) {
  return {.process = process, .process_of_rank = {0, 1}, .host_memory = host_memory};
}

// The first is executor 0. Each gets the other's blob, changed.
void ConnectBoth(ProcessGroup& one, ProcessGroup& two,
                 const std::function<std::string(std::string)>& change) {
  absl::Status other;
  std::thread connecting([&] {
    other = two.Connect(std::vector<std::string>{change(one.blobs()[1]), ""}, absl::Minutes(10));
  });
  const absl::Status status =
      one.Connect(std::vector<std::string>{"", change(two.blobs()[0])}, absl::Minutes(10));
  connecting.join();
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(other.ok()) << other;
}

void ExpectTheySend(ProcessGroup& one, ProcessGroup& two, bool host_memory) {
  EXPECT_EQ(one.uses_host_memory(), host_memory);
  EXPECT_EQ(two.uses_host_memory(), host_memory);
  std::vector<float> sent = {1, 2, 3}, received(3);
  std::thread sending([&] { EXPECT_TRUE(one.For(0)->Send(1, AsBytes(sent), 12).ok()); });
  EXPECT_TRUE(two.For(0)->Recv(0, AsBytes(received), 12).ok());
  sending.join();
  EXPECT_EQ(received, sent);
}

TEST(ProcessGroupSetUp, UsesTheNetworkUnlessAllUseTheHostsMemory) {
  for (const bool first : {false, true}) {
    for (const bool second : {false, true}) {
      auto one = ProcessGroup::Open(OptionsOf(0, first));
      auto two = ProcessGroup::Open(OptionsOf(1, second));
      ASSERT_TRUE(one.ok() && two.ok());
      ConnectBoth(**one, **two, [](std::string blob) { return blob; });
      ExpectTheySend(**one, **two, first && second);
    }
  }
}

// A wrong secret, another host, a segment that is none: it cannot be opened, or may not.
TEST(ProcessGroupSetUp, UsesTheNetworkWhereMemoryCannotBeShared) {
  // Bytes in front of the memory's secret, its length, and then "process/descriptor@host".
  constexpr size_t kFront = 13, kSecret = 16;
  for (const absl::string_view wrong : {"secret", "process", "host"}) {
    const auto change = [&](std::string blob) {
      const size_t place = wrong == "secret"    ? kFront
                           : wrong == "process" ? kFront + kSecret
                                                : blob.find('@') + 1;
      blob.at(place) ^= 8;
      return blob;
    };
    auto one = ProcessGroup::Open(OptionsOf(0, true)), two = ProcessGroup::Open(OptionsOf(1, true));
    ASSERT_TRUE(one.ok() && two.ok());
    // One of the two cannot open the other's.
    int blobs = 0;
    std::mutex mutex;
    ConnectBoth(**one, **two, [&](std::string blob) {
      std::lock_guard lock(mutex);
      return ++blobs == 1 ? change(blob) : blob;
    });
    ExpectTheySend(**one, **two, false);
  }
}

TEST(ProcessGroupSetUp, SaysWhoDidNotConnect) {
  auto one = ProcessGroup::Open(OptionsOf(0)), two = ProcessGroup::Open(OptionsOf(1));
  ASSERT_TRUE(one.ok() && two.ok());
  const std::vector<std::string> blobs = {"", (*two)->blobs()[0]};
  const absl::Status status = (*one)->Connect(blobs, absl::Milliseconds(50));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("executor 1 (devices 1)"));
}

TEST(ProcessGroupSetUp, SaysWhoIsGone) {
  auto one = ProcessGroup::Open(OptionsOf(0)), two = ProcessGroup::Open(OptionsOf(1));
  ASSERT_TRUE(one.ok() && two.ok());
  const std::vector<std::string> blobs = {"", (*two)->blobs()[0]};
  two->reset();
  // Which side connects depends on the ports: the other waits.
  const absl::Status status = (*one)->Connect(blobs, absl::Milliseconds(200));
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("executor 1 (devices 1)"));
}

TEST(ProcessGroupSetUp, CanBeAborted) {
  auto one = ProcessGroup::Open(OptionsOf(0)), two = ProcessGroup::Open(OptionsOf(1));
  ASSERT_TRUE(one.ok() && two.ok());
  const std::vector<std::string> blobs = {"", (*two)->blobs()[0]};
  absl::Status status;
  std::thread connecting([&] { status = (*one)->Connect(blobs, absl::Minutes(10)); });
  (*one)->Abort(absl::CancelledError("the session ends"));
  connecting.join();
  EXPECT_EQ(status, absl::CancelledError("the session ends"));
}

TEST(ProcessGroupSetUp, RefusesAStranger) {
  auto one = ProcessGroup::Open(OptionsOf(0)), two = ProcessGroup::Open(OptionsOf(1));
  ASSERT_TRUE(one.ok() && two.ok());
  // It found the port, but was not given the secret.
  std::string blob = (*one)->blobs()[1];
  for (size_t i = 26; i < 42; ++i) blob[i] = 'x';
  absl::Status stranger;
  std::thread connecting([&] {
    stranger = (*two)->Connect(std::vector<std::string>{blob, ""}, absl::Minutes(10));
  });
  const absl::Status status =
      (*one)->Connect(std::vector<std::string>{"", (*two)->blobs()[0]}, absl::Minutes(10));
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  one->reset();
  connecting.join();
  // It may believe for a moment that it is welcome.
  if (stranger.ok()) {
    std::vector<float> numbers(1);
    stranger = (*two)->For(0)->Recv(0, AsBytes(numbers), 4);
  }
  EXPECT_FALSE(stranger.ok());
  EXPECT_FALSE(absl::IsDeadlineExceeded(stranger)) << stranger;
}

TEST(ProcessGroupSetUp, RefusesBlobsThatItDoesNotUnderstand) {
  auto one = ProcessGroup::Open(OptionsOf(0)), two = ProcessGroup::Open(OptionsOf(1));
  ASSERT_TRUE(one.ok() && two.ok());
  const std::string good = (*two)->blobs()[0];
  const auto connect = [&](std::vector<std::string> blobs) {
    auto group = ProcessGroup::Open(OptionsOf(0));
    return group.ok() ? (*group)->Connect(blobs, absl::Seconds(10)) : group.status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(connect({"", ""})));
  EXPECT_TRUE(absl::IsInvalidArgument(connect({""})));
  EXPECT_TRUE(absl::IsInvalidArgument(connect({"", std::string(300, 'a')})));
  EXPECT_FALSE(connect({"", good.substr(0, 42)}).ok());
  std::string other_family = good;
  for (size_t i = 42; i < other_family.size(); ++i) other_family[i] = '\xff';
  EXPECT_FALSE(connect({"", other_family}).ok());
}

TEST(ProcessGroupSetUp, RefusesOptionsThatCannotBe) {
  const auto open = [](uint32_t process, std::vector<uint32_t> places,
                       const std::string& address = "127.0.0.1") {
    return ProcessGroup::Open({.process = process,
                               .process_of_rank = std::move(places),
                               .listen_address = address})
        .status();
  };
  EXPECT_TRUE(open(0, {0}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(open(0, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(open(1, {0})));
  EXPECT_TRUE(absl::IsInvalidArgument(open(0, {0, 2})));
  EXPECT_TRUE(absl::IsInvalidArgument(open(0, {0, 4000000000})));
  EXPECT_TRUE(absl::IsInvalidArgument(open(0, {0, 1}, "no.such.host.invalid")));
  EXPECT_TRUE(absl::IsUnavailable(open(0, {0, 1}, "192.0.2.1")));  // not of this machine
}

}  // namespace
}  // namespace moai
