// The numbered list of flavors that people choose from. Numbers are positions in the list of the
// moment; what is chosen is a name.
#ifndef MOAI_CLIENT_CLI_FLAVOR_MENU_H_
#define MOAI_CLIENT_CLI_FLAVOR_MENU_H_

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "proto/admin.pb.h"

namespace moai {

// The names of those that are offered, in their order.
std::vector<std::string> OfferedFlavors(const proto::ListFlavorsReply& reply);

// One line each: "4. xLarge.512GB  *" where it is `current`.
std::string MenuText(const std::vector<std::string>& flavors, const std::string& current);

// Asks "Selection (1-5, q, Q): " until the answer is one. None where it was q, Q, or the input
// ended.
std::optional<std::string> AskForFlavor(const std::vector<std::string>& flavors, std::istream& in,
                                        std::ostream& out);

}  // namespace moai

#endif  // MOAI_CLIENT_CLI_FLAVOR_MENU_H_
