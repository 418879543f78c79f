// What a SessionCore of one executor sends, kept in order: for tests.
#ifndef MOAI_SERVER_TESTING_RECORDING_SINKS_H_
#define MOAI_SERVER_TESTING_RECORDING_SINKS_H_

#include <vector>

#include "gtest/gtest.h"
#include "server/session_core.h"

namespace moai {

class RecordingDevice : public DeviceSink {
 public:
  size_t Send(const proto::ExecutorCommand& command) override {
    commands.push_back(command);
    return command.ByteSizeLong();
  }
  size_t SendTo(size_t executor, const proto::ExecutorCommand& command) override {
    EXPECT_EQ(executor, 0u);
    return Send(command);
  }
  void Flush() override {}
  std::vector<proto::ExecutorCommand> commands;
};

class RecordingClient : public ClientSink {
 public:
  void Send(const proto::ServerMessage& message) override { messages.push_back(message); }
  void Flush() override {}
  std::vector<proto::ServerMessage> messages;
};

}  // namespace moai

#endif  // MOAI_SERVER_TESTING_RECORDING_SINKS_H_
