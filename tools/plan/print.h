// Reports as text for people, and as JSON.
#ifndef MOAI_TOOLS_PLAN_PRINT_H_
#define MOAI_TOOLS_PLAN_PRINT_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tools/plan/report.h"

namespace moai {

std::string ReportText(const PlanReport& report);
// One object. Seconds and bytes, without units in the values.
std::string ReportJson(const PlanReport& report);

std::string FlavorsText(absl::Span<const FlavorRow> rows);
// An array of objects.
std::string FlavorsJson(absl::Span<const FlavorRow> rows);

}  // namespace moai

#endif  // MOAI_TOOLS_PLAN_PRINT_H_
