#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "wire/unary_client.h"
#include "wire/unary_server.h"

namespace moai::wire {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience(30);
constexpr char kMethod[] = "/test.Service/Method";

std::unique_ptr<StreamServer> Serve(UnaryHandler handler) {
  StreamServerOptions options;
  options.addresses = {"127.0.0.1:0"};
  auto server = StreamServer::Start(options, {{kMethod, ServeUnary(std::move(handler))}});
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

TEST(UnaryTest, AnswersEachRequest) {
  const auto server = Serve([](std::string request, const PeerInfo& peer, const UnaryReply& reply) {
    reply(absl::StrCat(request, " from ", peer.address.substr(0, 5)));
  });
  for (const std::string request : {"a", "b"}) {
    const auto answer = CallUnary(server->addresses()[0], kMethod, request, kPatience);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(*answer, request + " from ipv4:");
  }
  // Empty both ways.
  const auto echo = Serve([](std::string request, const PeerInfo& /*peer*/,
                             const UnaryReply& reply) { reply(std::move(request)); });
  const auto answer = CallUnary(echo->addresses()[0], kMethod, "", kPatience);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "");
}

TEST(UnaryTest, TellsWhatTheServerRefuses) {
  const auto server =
      Serve([](const std::string& /*request*/, const PeerInfo& /*peer*/, const UnaryReply& reply) {
        reply(absl::FailedPreconditionError("in use, \"now\"\nand later"));
      });
  const auto answer = CallUnary(server->addresses()[0], kMethod, "x", kPatience);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(answer.status().message(), "in use, \"now\"\nand later");
  EXPECT_EQ(CallUnary(server->addresses()[0], "/test.Service/Other", "", kPatience).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(CallUnary(server->addresses()[0], kMethod,
                                    std::string(kMaxUnaryRequestBytes + 1, 'x'), kPatience)
                              .status()
                              .message()),
              HasSubstr("at most 65536"));
}

TEST(UnaryTest, AnswersFromAnotherThread) {
  std::vector<std::thread> threads;
  const auto server =
      Serve([&](const std::string& request, const PeerInfo& /*peer*/, const UnaryReply& reply) {
        threads.emplace_back([=] { reply(request); });
      });
  const auto answer = CallUnary(server->addresses()[0], kMethod, "later", kPatience);
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "later");
}

TEST(UnaryTest, EndsAtItsDeadlineAndWithTheServer) {
  std::vector<UnaryReply> kept;
  auto server = Serve([&](const std::string& /*request*/, const PeerInfo& /*peer*/,
                          const UnaryReply& reply) { kept.push_back(reply); });
  const std::string address = server->addresses()[0];
  EXPECT_EQ(CallUnary(address, kMethod, "", std::chrono::milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  server.reset();
  for (const UnaryReply& reply : kept) reply(std::string("nobody hears this"));
  EXPECT_EQ(CallUnary(address, kMethod, "", kPatience).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(CallUnary("nowhere", kMethod, "", kPatience).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace moai::wire
