// Hostile variations of any protocol message, by reflection.
#ifndef MOAI_TESTS_SECURITY_MUTATE_MESSAGE_H_
#define MOAI_TESTS_SECURITY_MUTATE_MESSAGE_H_

#include <random>

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace moai {

// Changes one field that is set, of the message or of one inside it: a number to a near, an extreme
// or any other, bytes in a few places, a list in its length or order; or clears it.
void MutateMessage(google::protobuf::Message& message, std::mt19937_64& random);

}  // namespace moai

#endif  // MOAI_TESTS_SECURITY_MUTATE_MESSAGE_H_
