// A place in the user's program, for error messages. (std::source_location needs a newer clang than
// the one that checks thread safety here.)
#ifndef MOAI_CLIENT_CAPTURE_LOCATION_H_
#define MOAI_CLIENT_CAPTURE_LOCATION_H_

namespace moai {

// As a default argument, Location::current() is where the function is called. The default Location
// is nowhere.
class Location {
 public:
  constexpr Location() = default;
  static constexpr Location current(const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
    Location location;
    location.file_ = file;
    location.line_ = line;
    return location;
  }

  constexpr const char* file_name() const { return file_; }
  constexpr int line() const { return line_; }  // 0: nowhere

 private:
  const char* file_ = "";
  int line_ = 0;
};

}  // namespace moai

#endif  // MOAI_CLIENT_CAPTURE_LOCATION_H_
