// A session that encodes steps as they go over the wire, counts the bytes and forgets them.
#ifndef MOAI_BENCHMARKS_STEP_COUNTER_H_
#define MOAI_BENCHMARKS_STEP_COUNTER_H_

#include <cstring>
#include <string>
#include <utility>

#include "client/session.h"
#include "client/session/step_encoder.h"
#include "proto/session.pb.h"

namespace moai {

// Reads give zeros. Not synchronised.
class StepCounter : public Session {
 public:
  ObjectId NewIds(uint64_t count) override { return std::exchange(next_id_, next_id_ + count); }

  absl::Status Submit(StepRequest step) override {
    ++stats_.steps;
    stats_.graphs_registered += encoder_.FirstUse(step.fingerprint);
    message_.Clear();
    encoder_.Encode(step, stats_.steps, message_);
    stats_.control_bytes_sent += message_.ByteSizeLong();
    for (const SharedBytes& feed : step.feeds) stats_.feed_bytes_sent += feed.bytes.size();
    last_step_ = std::move(step);
    return absl::OkStatus();
  }

  absl::Status Upload(ObjectId, const TensorType&, SharedBytes bytes) override {
    stats_.feed_bytes_sent += bytes.bytes.size();
    return absl::OkStatus();
  }

  void Release(absl::Span<const ObjectId> ids) override {
    release_.Clear();
    AppendRanges(ids, release_.mutable_ids());
    stats_.control_bytes_sent += release_.ByteSizeLong();
  }

  absl::Status Read(ObjectId, absl::Span<std::byte> destination) override {
    ++stats_.blocking_round_trips;
    std::memset(destination.data(), 0, destination.size());
    return absl::OkStatus();
  }

  absl::Status Synchronize() override { return absl::OkStatus(); }
  SessionStats stats() const override { return stats_; }
  std::string accelerator_name() const override { return "none"; }
  uint64_t memory_bytes() const override { return 0; }

  const StepRequest& last_step() const { return last_step_; }

 private:
  ObjectId next_id_ = 1;
  StepEncoder encoder_;
  proto::Step message_;
  proto::Release release_;
  StepRequest last_step_;
  SessionStats stats_;
};

}  // namespace moai

#endif  // MOAI_BENCHMARKS_STEP_COUNTER_H_
