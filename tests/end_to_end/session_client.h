// A session without capture, for tests: small graphs over f32 vectors, by hand.
#ifndef MOAI_TESTS_END_TO_END_SESSION_CLIENT_H_
#define MOAI_TESTS_END_TO_END_SESSION_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/session/grpc_session.h"
#include "graph/graph.h"

namespace moai {

// Failures of the session itself end the test program: nothing later could mean anything.
class SessionClient {
 public:
  explicit SessionClient(const std::string& address, bool shared_memory = true);

  GrpcSession& session() { return *session_; }

  ObjectId Upload(std::vector<float> numbers);
  ObjectId Upload(std::vector<float> numbers, const Shape& shape);
  // a + b, of one shape.
  ObjectId Add(ObjectId a, ObjectId b);
  // Rows of the matrix in slot `table` at `indices`; then adds 1 to the whole table.
  ObjectId LookUpAndAdd(ObjectId table, std::vector<int64_t> indices);

  std::vector<float> Read(ObjectId id, size_t elements);
  absl::Status ReadError(ObjectId id, size_t elements);

 private:
  Shape ShapeOf(ObjectId id) const;

  std::shared_ptr<GrpcSession> session_;
  std::vector<std::pair<ObjectId, Shape>> shapes_;
};

}  // namespace moai

#endif  // MOAI_TESTS_END_TO_END_SESSION_CLIENT_H_
