#include "client/cli/flavor_menu.h"

#include <istream>
#include <ostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace moai {

std::vector<std::string> OfferedFlavors(const proto::ListFlavorsReply& reply) {
  std::vector<std::string> names;
  for (const proto::FlavorDescription& flavor : reply.flavors()) {
    if (flavor.offered()) names.push_back(flavor.name());
  }
  return names;
}

std::string MenuText(const std::vector<std::string>& flavors, const std::string& current) {
  std::string text;
  for (size_t i = 0; i < flavors.size(); ++i) {
    absl::StrAppend(&text, i + 1, ". ", flavors[i], flavors[i] == current ? "  *\n" : "\n");
  }
  return text;
}

std::optional<std::string> AskForFlavor(const std::vector<std::string>& flavors, std::istream& in,
                                        std::ostream& out) {
  while (true) {
    out << "Selection (1-" << flavors.size() << ", q, Q): " << std::flush;
    std::string line;
    if (!std::getline(in, line)) {
      out << "\n";
      return std::nullopt;
    }
    const absl::string_view answer = absl::StripAsciiWhitespace(line);
    if (answer == "q" || answer == "Q") return std::nullopt;
    size_t position = 0;
    if (absl::SimpleAtoi(answer, &position) && position >= 1 && position <= flavors.size()) {
      return flavors[position - 1];
    }
    out << "Enter a number from 1 to " << flavors.size() << ", or q to quit.\n";
  }
}

}  // namespace moai
