#include "tests/security/mutate_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <limits>
#include <string>
#include <vector>

#include "graph/testing/mutate_graph.h"
#include "graph/testing/random_node.h"

namespace moai {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A field that holds something: of a list, one of its elements.
struct Place {
  Message* message;
  const FieldDescriptor* field;
  int index;  // -1: not of a list
};

void FindPlaces(Message& message, std::mt19937_64& random, std::vector<Place>& places) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool nested = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!field->is_repeated()) {
      // A message inside is mostly changed, not dropped: that would leave little of small ones.
      if (!nested || OneIn(random, 16)) places.push_back({&message, field, -1});
      if (nested) FindPlaces(*reflection.MutableMessage(&message, field), random, places);
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      places.push_back({&message, field, i});
      if (nested)
        FindPlaces(*reflection.MutableRepeatedMessage(&message, field, i), random, places);
    }
  }
}

template <typename T>
T MutateNumber(T number, std::mt19937_64& random) {
  using Limits = std::numeric_limits<T>;
  using Unsigned = std::make_unsigned_t<T>;
  switch (random() % 8) {
    case 0:
      return Limits::max();
    case 1:
      return Limits::min();
    case 2:
      return T(random());
    case 3:
      return T(Unsigned(number) ^ (Unsigned{1} << (random() % (8 * sizeof(T)))));
    case 4:
      return T(random() % 16);
    default:
      return T(Unsigned(number) + Unsigned(RandomInt(random, -2, 2)));
  }
}

void MutateBytesField(std::string& bytes, std::mt19937_64& random) {
  if (OneIn(random, 4)) {
    bytes.resize(random() % (2 * bytes.size() + 2));
  } else {
    MutateBytes(bytes, random);
  }
}

void MutateList(Message& message, const FieldDescriptor* field, int index,
                std::mt19937_64& random) {
  const Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, field);
  const int other = int(random() % uint64_t(size));
  reflection.SwapElements(&message, field, index, other);
  if (OneIn(random, 2)) reflection.RemoveLast(&message, field);
}

void MutateSingle(Message& message, const FieldDescriptor* field, std::mt19937_64& random) {
  const Reflection& reflection = *message.GetReflection();
  if (OneIn(random, 10)) return reflection.ClearField(&message, field);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, field,
                                  MutateNumber(reflection.GetUInt64(message, field), random));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, field,
                                 MutateNumber(reflection.GetInt64(message, field), random));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(&message, field,
                                  MutateNumber(reflection.GetUInt32(message, field), random));
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, field,
                                 MutateNumber(reflection.GetInt32(message, field), random));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, field, !reflection.GetBool(message, field));
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string bytes = reflection.GetString(message, field);
      MutateBytesField(bytes, random);
      return reflection.SetString(&message, field, std::move(bytes));
    }
    default:
      return reflection.ClearField(&message, field);
  }
}

void MutateElement(Message& message, const FieldDescriptor* field, int index,
                   std::mt19937_64& random) {
  const Reflection& reflection = *message.GetReflection();
  if (OneIn(random, 4)) return MutateList(message, field, index, random);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT64: {
      const uint64_t number = reflection.GetRepeatedUInt64(message, field, index);
      if (OneIn(random, 4)) return reflection.AddUInt64(&message, field, number);
      return reflection.SetRepeatedUInt64(&message, field, index, MutateNumber(number, random));
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      const int64_t number = reflection.GetRepeatedInt64(message, field, index);
      if (OneIn(random, 4)) return reflection.AddInt64(&message, field, number);
      return reflection.SetRepeatedInt64(&message, field, index, MutateNumber(number, random));
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      const uint32_t number = reflection.GetRepeatedUInt32(message, field, index);
      if (OneIn(random, 4)) return reflection.AddUInt32(&message, field, number);
      return reflection.SetRepeatedUInt32(&message, field, index, MutateNumber(number, random));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      reflection.AddMessage(&message, field)
          ->CopyFrom(reflection.GetRepeatedMessage(message, field, index));
      return;
    default:
      return MutateList(message, field, index, random);
  }
}

}  // namespace

void MutateMessage(Message& message, std::mt19937_64& random) {
  std::vector<Place> places;
  FindPlaces(message, random, places);
  if (places.empty()) return;
  const Place& place = places[random() % places.size()];
  if (place.index < 0) {
    MutateSingle(*place.message, place.field, random);
  } else {
    MutateElement(*place.message, place.field, place.index, random);
  }
}

}  // namespace moai
