#include "worker/daemon/supervisor.h"

#include <signal.h>

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace moai {
namespace {

using ::testing::HasSubstr;

// Collects what the supervisor tells.
class Log {
 public:
  Supervisor::Started started() {
    return [this](uint64_t executor, pid_t process) {
      MutexLock lock(mutex_);
      started_[executor] = process;
      order_.push_back(int64_t(executor));
      changed_.NotifyAll();
    };
  }
  Supervisor::Exited exited() {
    return [this](uint64_t executor, const absl::Status& how) {
      MutexLock lock(mutex_);
      exited_[executor] = how;
      order_.push_back(-int64_t(executor));
      changed_.NotifyAll();
    };
  }
  pid_t WaitStarted(uint64_t executor) {
    MutexLock lock(mutex_);
    while (!started_.contains(executor)) changed_.Wait(mutex_);
    return started_[executor];
  }
  absl::Status WaitExited(uint64_t executor) {
    MutexLock lock(mutex_);
    while (!exited_.contains(executor)) changed_.Wait(mutex_);
    return exited_[executor];
  }
  std::vector<int64_t> order() {
    MutexLock lock(mutex_);
    return order_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<uint64_t, pid_t> started_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, absl::Status> exited_ ABSL_GUARDED_BY(mutex_);
  std::vector<int64_t> order_ ABSL_GUARDED_BY(mutex_);
};

ExecutorProcess Shell(uint64_t executor, uint32_t device, std::string script,
                      std::string input = "") {
  return {executor, {device}, "/bin/sh", {"-c", std::move(script)}, std::move(input)};
}

TEST(SupervisorTest, TellsHowAProcessEnded) {
  Log log;
  Supervisor supervisor(log.started(), log.exited());
  supervisor.Start(Shell(1, 0, "exit 3"));
  EXPECT_THAT(log.WaitExited(1).message(), HasSubstr("ended with status 3"));
  supervisor.Start(Shell(2, 0, "sleep 1000"));
  kill(log.WaitStarted(2), SIGSEGV);
  EXPECT_THAT(log.WaitExited(2).message(), HasSubstr("killed by signal 11"));
}

TEST(SupervisorTest, GivesTheInputToTheProcess) {
  Log log;
  Supervisor supervisor(log.started(), log.exited());
  supervisor.Start(Shell(1, 0, "read word; test \"$word\" = secret && exit 7", "secret\n"));
  EXPECT_THAT(log.WaitExited(1).message(), HasSubstr("status 7"));
}

TEST(SupervisorTest, TellsWhatCannotStart) {
  Log log;
  Supervisor supervisor(log.started(), log.exited());
  supervisor.Start({1, {0}, "/nonexistent/program", {}, ""});
  EXPECT_THAT(log.WaitExited(1).message(), HasSubstr("/nonexistent/program"));
}

TEST(SupervisorTest, StopsAProcessAndThenStartsTheNextOnTheDevice) {
  Log log;
  Supervisor supervisor(log.started(), log.exited());
  supervisor.Start(Shell(1, 0, "sleep 1000"));
  log.WaitStarted(1);
  supervisor.Start(Shell(2, 0, "exit 0"));  // must wait for the device
  supervisor.Start(Shell(3, 1, "exit 0"));  // another device
  EXPECT_FALSE(log.WaitExited(3).ok());
  supervisor.Stop(1);
  EXPECT_TRUE(log.WaitExited(1).ok());
  EXPECT_FALSE(log.WaitExited(2).ok());
  const std::vector<int64_t> order = log.order();
  const auto position = [&](int64_t event) {
    return std::find(order.begin(), order.end(), event) - order.begin();
  };
  EXPECT_LT(position(-1), position(2));
}

TEST(SupervisorTest, ForgetsAProcessThatHasNotStarted) {
  Log log;
  Supervisor supervisor(log.started(), log.exited());
  supervisor.Start(Shell(1, 0, "sleep 1000"));
  log.WaitStarted(1);
  supervisor.Start(Shell(2, 0, "exit 5"));
  supervisor.Stop(2);
  EXPECT_TRUE(log.WaitExited(2).ok());
}

TEST(SupervisorTest, LeavesNoProcessBehind) {
  Log log;
  pid_t process = -1;
  {
    Supervisor supervisor(log.started(), log.exited());
    supervisor.Start(Shell(1, 0, "sleep 1000"));
    process = log.WaitStarted(1);
  }
  EXPECT_EQ(kill(process, 0), -1);
}

}  // namespace
}  // namespace moai
