// The version of this project, as people are told it.
#ifndef MOAI_BASE_VERSION_H_
#define MOAI_BASE_VERSION_H_

namespace moai {

inline constexpr char kVersion[] = "0.1";

}  // namespace moai

#endif  // MOAI_BASE_VERSION_H_
