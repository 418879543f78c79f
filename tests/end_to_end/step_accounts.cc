#include "tests/end_to_end/step_accounts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace moai {
namespace {

// By session and rank.
using Accounts = std::map<std::pair<std::string, int>, std::vector<std::string>>;

// "session=1 rank=0 program=3 objects=..."
void Read(absl::string_view text, Accounts& accounts) {
  std::vector<absl::string_view> words = absl::StrSplit(text, absl::MaxSplits(' ', 2));
  int rank = 0;
  if (words.size() != 3 || !absl::StartsWith(words[0], "session=") ||
      !absl::ConsumePrefix(&words[1], "rank=") || !absl::SimpleAtoi(words[1], &rank)) {
    return;
  }
  accounts[{std::string(words[0]), rank}].emplace_back(words[2]);
}

void Count(absl::string_view account, int rank, CountedSteps& counted) {
  ++counted.executions;
  int64_t memory = 0;
  for (absl::string_view word : absl::StrSplit(account, ' ')) {
    int64_t bytes = 0;
    if (absl::ConsumePrefix(&word, "objects=") || absl::ConsumePrefix(&word, "arena=")) {
      if (absl::SimpleAtoi(word, &bytes)) memory += bytes;
    }
    if (!absl::ConsumePrefix(&word, "sent=") || word == "-") continue;
    for (const absl::string_view kind : absl::StrSplit(word, ',')) {
      const std::vector<std::string> parts = absl::StrSplit(kind, ':');
      int64_t calls = 0;
      if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &calls) ||
          !absl::SimpleAtoi(parts[2], &bytes)) {
        continue;
      }
      counted.calls[parts[0]] += calls;
      counted.bytes[parts[0]] += bytes;
    }
  }
  counted.peak[rank] = std::max(counted.peak[rank], memory);
}

}  // namespace

absl::StatusOr<CountedSteps> CompareWithPlan(absl::string_view log) {
  constexpr absl::string_view kPlanned = "step planned ", kRan = "step ran ";
  Accounts planned, ran;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    if (const size_t at = line.find(kPlanned); at != line.npos) {
      Read(line.substr(at + kPlanned.size()), planned);
    } else if (const size_t there = line.find(kRan); there != line.npos) {
      Read(line.substr(there + kRan.size()), ran);
    }
  }
  if (ran.empty()) return absl::FailedPreconditionError("no execution of a program was logged");
  CountedSteps counted;
  for (const auto& [device, accounts] : ran) {
    const std::vector<std::string>& expected = planned[device];
    for (size_t i = 0; i < accounts.size(); ++i) {
      const std::string wanted = i < expected.size() ? expected[i] : "nothing";
      if (accounts[i] != wanted) {
        return absl::InternalError(absl::StrCat(device.first, " rank=", device.second,
                                                " execution ", i, ": planned \"", wanted,
                                                "\", ran \"", accounts[i], "\""));
      }
      Count(accounts[i], device.second, counted);
    }
  }
  return counted;
}

}  // namespace moai
