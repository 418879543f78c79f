#include "worker/executor/device_events.h"

#include "gtest/gtest.h"

namespace moai {
namespace {

class RecordingSink : public EventSink {
 public:
  void Send(const proto::ExecutorEvent& event) override { events.push_back(event); }
  void Flush() override { ++flushes; }
  std::vector<proto::ExecutorEvent> events;
  int flushes = 0;
};

proto::ExecutorEvent Done(uint64_t commands, uint64_t step) {
  proto::ExecutorEvent event;
  event.mutable_commands_done()->set_commands(commands);
  event.mutable_commands_done()->set_step(step);
  return event;
}

proto::ExecutorEvent Synchronized(uint64_t request, int code, uint64_t peak) {
  proto::ExecutorEvent event;
  event.mutable_synchronize_result()->set_request(request);
  if (code != 0) event.mutable_synchronize_result()->mutable_status()->set_code(code);
  event.mutable_synchronize_result()->set_device_bytes_peak(peak);
  return event;
}

TEST(DeviceEventsTest, ProgressIsThatOfTheSlowestDevice) {
  RecordingSink sink;
  DeviceEvents events(2, &sink);
  events.For(0)->Send(Done(9, 4));
  EXPECT_TRUE(sink.events.empty());
  events.For(1)->Send(Done(5, 2));
  events.For(1)->Send(Done(7, 3));
  events.For(0)->Send(Done(11, 5));  // changes nothing for the slowest
  ASSERT_EQ(sink.events.size(), 2u);
  EXPECT_EQ(sink.events[0].commands_done().commands(), 5u);
  EXPECT_EQ(sink.events[1].commands_done().commands(), 7u);
  EXPECT_EQ(sink.events[1].commands_done().step(), 3u);
}

TEST(DeviceEventsTest, AnswersASynchronizationWhenAllHave) {
  RecordingSink sink;
  DeviceEvents events(3, &sink);
  events.For(2)->Send(Synchronized(1, 3, 10));
  events.For(0)->Send(Synchronized(1, 0, 30));
  // The next one may be answered by fast devices already.
  events.For(0)->Send(Synchronized(2, 0, 31));
  EXPECT_TRUE(sink.events.empty());
  events.For(1)->Send(Synchronized(1, 5, 20));
  ASSERT_EQ(sink.events.size(), 1u);
  EXPECT_EQ(sink.events[0].synchronize_result().request(), 1u);
  EXPECT_EQ(sink.events[0].synchronize_result().status().code(), 5);  // the lowest rank's
  EXPECT_EQ(sink.events[0].synchronize_result().device_bytes_peak(), 30u);
}

TEST(DeviceEventsTest, PassesOnWhatOneDeviceAnswers) {
  RecordingSink sink;
  DeviceEvents events(2, &sink);
  proto::ExecutorEvent read;
  read.mutable_read_result()->set_request(4);
  events.For(1)->Send(read);
  events.For(1)->Flush();
  ASSERT_EQ(sink.events.size(), 1u);
  EXPECT_EQ(sink.events[0].read_result().request(), 4u);
  EXPECT_EQ(sink.flushes, 1);
}

}  // namespace
}  // namespace moai
