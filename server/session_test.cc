// Who waits for whom in a Session: planning may take seconds.
#include "server/session.h"

#include <memory>
#include <string>

#include "graph/builder.h"
#include "graph/serialize.h"
#include "gtest/gtest.h"
#include "scheduler/planner.h"

namespace moai {
namespace {

// Plans when it is told to.
class WaitingPlanner : public Planner {
 public:
  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    {
      MutexLock lock(mutex_);
      asked_ = true;
      changed_.NotifyAll();
      while (!may_plan_) changed_.Wait(mutex_);
    }
    return planner_->MakePlan(request);
  }
  void WaitUntilAsked() {
    MutexLock lock(mutex_);
    while (!asked_) changed_.Wait(mutex_);
  }
  void MayPlan() {
    MutexLock lock(mutex_);
    may_plan_ = true;
    changed_.NotifyAll();
  }

 private:
  const std::unique_ptr<Planner> planner_ = MakeOneDevicePlanner();
  Mutex mutex_;
  CondVar changed_;
  bool asked_ ABSL_GUARDED_BY(mutex_) = false;
  bool may_plan_ ABSL_GUARDED_BY(mutex_) = false;
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : planning_(std::make_unique<ThreadPool>(1)),
        session_(std::make_shared<Session>("1", SessionSettings{.devices = {{"cpu", 1 << 20, 1}}},
                                           &planner_, planning_.get(), [this] { ++ended_; })) {
    stream_ = std::make_shared<wire::ControlSession>(session_, wire::ControlSessionOptions{});
    session_->SetClient(stream_);
  }
  ~SessionTest() override {
    planner_.MayPlan();
    planning_ = nullptr;
    stream_->Close(absl::OkStatus());
  }

  // A step of a graph that has not been planned yet.
  void BeginStep() {
    GraphBuilder builder;
    const ValueId feed = builder.AddInput(InputKind::kFeed, 0, {Dtype::kF32, Shape{1}});
    builder.AddOutput(OutputKind::kValue, *builder.AddNode(Op::kNeg, {feed}));
    const CapturedGraph captured = builder.Finish();
    proto::ClientMessage message;
    message.mutable_register_graph()->set_fingerprint_high(captured.fingerprint.high);
    message.mutable_register_graph()->set_fingerprint_low(captured.fingerprint.low);
    message.mutable_register_graph()->set_graph(SerializeGraph(captured.graph));
    ASSERT_TRUE(session_->OnMessage(message.SerializeAsString()).ok());
    proto::Step* step = message.mutable_step();
    step->set_step(1);
    step->set_fingerprint_high(captured.fingerprint.high);
    step->set_fingerprint_low(captured.fingerprint.low);
    step->mutable_sizes()->Add(captured.sizes.begin(), captured.sizes.end());
    step->add_feeds()->set_inline_bytes("1234");
    step->set_first_output(1);
    ASSERT_TRUE(session_->OnMessage(message.SerializeAsString()).ok());
    planner_.WaitUntilAsked();
  }

  int ended_ = 0;
  WaitingPlanner planner_;
  std::unique_ptr<ThreadPool> planning_;
  std::shared_ptr<Session> session_;
  std::shared_ptr<wire::ControlSession> stream_;
};

TEST_F(SessionTest, NobodyWaitsForAPlanButItsStep) {
  BeginStep();
  // These would hang.
  proto::ExecutorEvent event;
  event.mutable_commands_done();
  EXPECT_TRUE(session_->OnExecutorMessage(0, event.SerializeAsString()).ok());
  session_->OnExecutorFrameEnd();
  proto::ClientMessage read;
  read.mutable_read()->set_request(1);
  read.mutable_read()->set_id(1);
  EXPECT_TRUE(session_->OnMessage(read.SerializeAsString()).ok());
  session_->OnFrameEnd();
  EXPECT_EQ(ended_, 0);
}

TEST_F(SessionTest, AClosedSessionIsOverAtOnce) {
  BeginStep();
  proto::ClientMessage close;
  close.mutable_close();
  EXPECT_TRUE(session_->OnMessage(close.SerializeAsString()).ok());
  EXPECT_EQ(ended_, 1);
  // What its stream's end tells later changes nothing.
  session_->OnEnded(absl::OkStatus());
  EXPECT_EQ(ended_, 1);
}

// Whoever hears that a session has ended, and why, finds its devices free.
TEST_F(SessionTest, ABrokenProtocolEndsTheSessionBeforeItsStream) {
  proto::ClientMessage step;
  step.mutable_step()->set_step(5);
  EXPECT_FALSE(session_->OnMessage(step.SerializeAsString()).ok());
  EXPECT_EQ(ended_, 1);
  session_->OnEnded(absl::InternalError("the stream ends with it"));
  EXPECT_EQ(ended_, 1);
}

TEST_F(SessionTest, WhatIsNoMessageEndsTheSessionBeforeItsStream) {
  EXPECT_FALSE(session_->OnMessage("no message").ok());
  EXPECT_EQ(ended_, 1);
}

}  // namespace
}  // namespace moai
