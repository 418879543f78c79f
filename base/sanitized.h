// Whether AddressSanitizer or ThreadSanitizer watches this program: it then takes memory and
// address space of its own, and runs several times slower.
#ifndef MOAI_BASE_SANITIZED_H_
#define MOAI_BASE_SANITIZED_H_

namespace moai {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)  // how g++ says so
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)  // how clang says so
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace moai

#endif  // MOAI_BASE_SANITIZED_H_
