// The bytes of each message kind, as first released: a change here breaks peers in the field, and
// needs a new protocol version (wire/handshake.h).
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "proto/session.pb.h"
#include "proto/transfer.pb.h"
#include "wire/frame.h"

namespace moai::wire {
namespace {

constexpr char kFile[] = "wire/testdata/golden.txt";

proto::Ticket AnyTicket() {
  proto::Ticket ticket;
  ticket.set_id("0123456789abcdef");
  ticket.set_object(42);
  ticket.set_bytes(1 << 20);
  ticket.add_addresses("unix:/run/moai/executor");
  ticket.add_addresses("10.0.0.7:50051");
  ticket.set_expires_seconds(60);
  ticket.set_upload(true);
  return ticket;
}

void AddRange(uint64_t first, uint64_t count,
              google::protobuf::RepeatedPtrField<proto::IdRange>* ranges) {
  proto::IdRange* const range = ranges->Add();
  range->set_first(first);
  range->set_count(count);
}

void AddClientMessages(std::map<std::string, std::string>& golden) {
  proto::ClientMessage message;
  const auto keep = [&](const char* name) {
    golden[name] = message.SerializeAsString();
    message.Clear();
  };
  auto* const graph = message.mutable_register_graph();
  graph->set_fingerprint_high(0x0123456789abcdef);
  graph->set_fingerprint_low(0xfedcba9876543210);
  graph->set_graph("graph");
  keep("client.register_graph");
  auto* step = message.mutable_step();
  step->set_step(1);
  step->set_fingerprint_high(0x0123456789abcdef);
  step->set_fingerprint_low(0xfedcba9876543210);
  for (const int64_t size : {8, 256, -1}) step->add_sizes(size);
  AddRange(1, 100, step->mutable_slots());
  AddRange(200, 1, step->mutable_values());
  step->add_scalar_positions(0);
  step->add_scalar_bits(0x3ff0000000000000);
  step->add_feeds()->set_inline_bytes("feed");
  step->add_feeds()->set_uploaded(300);
  step->set_first_output(1000);
  keep("client.step_first");
  step = message.mutable_step();
  step->set_step(2);
  step->set_fingerprint_high(0x0123456789abcdef);
  step->set_fingerprint_low(0xfedcba9876543210);
  step->set_same_sizes(true);
  step->set_same_slots(true);
  step->set_first_output(1001);
  keep("client.step_steady");
  AddRange(5, 7, message.mutable_release()->mutable_ids());
  keep("client.release");
  message.mutable_read()->set_request(3);
  message.mutable_read()->set_id(1001);
  keep("client.read");
  auto* const upload = message.mutable_upload();
  upload->set_id(9);
  upload->set_dtype(1);
  upload->add_shape(2);
  upload->add_shape(3);
  upload->set_inline_bytes("abcd");
  keep("client.upload");
  message.mutable_synchronize()->set_request(4);
  keep("client.synchronize");
  message.mutable_close();
  keep("client.close");
  message.mutable_transfer_done()->set_ticket_id("0123456789abcdef");
  keep("client.transfer_done");
}

void AddServerMessages(std::map<std::string, std::string>& golden) {
  proto::ServerMessage message;
  const auto keep = [&](const char* name) {
    golden[name] = message.SerializeAsString();
    message.Clear();
  };
  auto* result = message.mutable_read_result();
  result->set_request(3);
  result->set_dtype(1);
  result->add_shape(1);
  result->set_inline_bytes("abcd");
  keep("server.read_result_inline");
  result = message.mutable_read_result();
  result->set_request(3);
  result->mutable_status()->set_code(11);
  result->mutable_status()->set_message("out of range");
  keep("server.read_result_error");
  *message.mutable_read_result()->mutable_ticket() = AnyTicket();
  keep("server.read_result_ticket");
  message.mutable_upload_grant()->set_id(9);
  *message.mutable_upload_grant()->mutable_ticket() = AnyTicket();
  keep("server.upload_grant");
  auto* const synchronized = message.mutable_synchronize_result();
  synchronized->set_request(4);
  synchronized->set_device_bytes_in_use(1 << 20);
  synchronized->set_device_bytes_peak(1 << 21);
  keep("server.synchronize_result");
  message.mutable_steps_done()->set_step(2);
  keep("server.steps_done");
  message.mutable_notice()->set_level(proto::Notice::WARNING);
  message.mutable_notice()->set_text("waiting");
  keep("server.notice");
}

void AddTheRest(std::map<std::string, std::string>& golden) {
  proto::Hello hello;
  hello.set_min_version(1);
  hello.set_max_version(1);
  hello.add_features("shared-memory");
  hello.set_session_id("0123456789abcdef");
  hello.set_token("token");
  hello.set_process_name("train");
  hello.set_process_id(4711);
  hello.set_host_name("host");
  golden["hello"] = hello.SerializeAsString();
  proto::Welcome welcome;
  welcome.set_version(1);
  welcome.add_features("shared-memory");
  welcome.set_session_id("0123456789abcdef");
  welcome.set_lease_seconds(60);
  welcome.set_resumed(true);
  welcome.set_accelerator("Small.64GB");
  welcome.set_memory_bytes(uint64_t{64} << 30);
  welcome.set_server_version("1.0");
  welcome.set_job_id(7);
  golden["welcome"] = welcome.SerializeAsString();
  proto::TransferHeader header;
  header.set_ticket_id("0123456789abcdef");
  header.set_offset(4096);
  header.set_bytes(8192);
  header.set_host_id("boot/4026531836");
  header.set_shared_memory("4711/12");
  header.set_resume(true);
  header.set_chunk_bytes(65536);
  golden["transfer.header"] = header.SerializeAsString();
  proto::TransferReply reply;
  reply.mutable_status()->set_code(5);
  reply.set_bytes_taken(4096);
  reply.set_use_shared_memory(true);
  golden["transfer.reply"] = reply.SerializeAsString();
  std::string frame;
  AppendOpening("hello", frame);
  AppendAcknowledged(5, frame);
  AppendFirstSequence(300, frame);
  AppendMessage("one", frame);
  AppendMessage("", frame);
  AppendClosed("status", frame);
  golden["frame"] = frame;
  std::string pieces;
  AppendFirstSequence(300, pieces);
  AppendMessage("one", pieces);
  AppendPiece("tw", pieces);
  AppendMessage("o", pieces);
  golden["frame.cut"] = pieces;
}

std::map<std::string, std::string> Golden() {
  std::map<std::string, std::string> golden;
  AddClientMessages(golden);
  AddServerMessages(golden);
  AddTheRest(golden);
  return golden;
}

TEST(Golden, MessagesKeepTheirBytes) {
  std::ifstream file(kFile);
  ASSERT_TRUE(file.good()) << kFile;
  std::map<std::string, std::string> released;
  std::string name;
  std::string hex;
  while (file >> name >> hex) released[name] = hex;
  std::map<std::string, std::string> now;
  for (const auto& [message, bytes] : Golden()) {
    now[message] = absl::BytesToHexString(bytes);
    EXPECT_EQ(released[message], now[message]) << message << " " << now[message];
  }
  EXPECT_EQ(released.size(), now.size());
}

// Every kind of message that the protocol has is in the fixtures.
TEST(Golden, CoversEveryKind) {
  std::map<std::string, std::string> golden = Golden();
  const auto covered = [&](const google::protobuf::Descriptor* type, const std::string& prefix) {
    for (int i = 0; i < type->field_count(); ++i) {
      const std::string name = absl::StrCat(prefix, type->field(i)->name());
      const auto at = golden.lower_bound(name);
      EXPECT_TRUE(at != golden.end() && at->first.compare(0, name.size(), name) == 0) << name;
    }
  };
  covered(proto::ClientMessage::descriptor(), "client.");
  covered(proto::ServerMessage::descriptor(), "server.");
}

}  // namespace
}  // namespace moai::wire
