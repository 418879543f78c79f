// Early return on errors.
#ifndef MOAI_BASE_STATUS_H_
#define MOAI_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define MOAI_STATUS_CONCAT_INNER(a, b) a##b
#define MOAI_STATUS_CONCAT(a, b) MOAI_STATUS_CONCAT_INNER(a, b)

// Returns from the calling function with the error of a Status expression, if it is one.
#define MOAI_RETURN_IF_ERROR(expression)       \
  do {                                         \
    absl::Status moai_status = (expression);   \
    if (!moai_status.ok()) return moai_status; \
  } while (false)

// MOAI_ASSIGN_OR_RETURN(auto value, StatusOrExpression());
#define MOAI_ASSIGN_OR_RETURN(declaration, expression)                                    \
  MOAI_ASSIGN_OR_RETURN_INNER(MOAI_STATUS_CONCAT(moai_status_or_, __LINE__), declaration, \
                              expression)

#define MOAI_ASSIGN_OR_RETURN_INNER(temporary, declaration, expression) \
  auto temporary = (expression);                                        \
  if (!temporary.ok()) return std::move(temporary).status();            \
  declaration = *std::move(temporary)

#endif  // MOAI_BASE_STATUS_H_
