// Reports as text for people, and as JSON.
#ifndef MOAI_SCHEDULER_REPORT_PRINT_H_
#define MOAI_SCHEDULER_REPORT_PRINT_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "scheduler/report/report.h"

namespace moai {

std::string ReportText(const PlanReport& report);
// One object. Seconds and bytes, without units in the values.
std::string ReportJson(const PlanReport& report);

std::string FlavorsText(absl::Span<const FlavorRow> rows);
// An array of objects.
std::string FlavorsJson(absl::Span<const FlavorRow> rows);

}  // namespace moai

#endif  // MOAI_SCHEDULER_REPORT_PRINT_H_
