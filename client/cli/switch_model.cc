// moreh-switch-model: shows and changes the model (the size) of the MoAI Accelerator.
#include <getopt.h>

#include <cstdio>
#include <iostream>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/admin_client.h"
#include "client/cli/flavor_menu.h"
#include "client/cli/json_output.h"

namespace moai {
namespace {

constexpr char kUsage[] =
    R"(usage: moreh-switch-model [MODEL | -M N] [--list] [--all] [--json]

Shows the models of the MoAI Accelerator and switches to another; the next program runs on it.
Without arguments it asks.

  MODEL              switch to the model of this name
  -M, --model N      switch to the model at position N of the list
  -l, --list         show the list and nothing else
      --all          list the models too that the server lacks the devices for
      --json         print JSON; never asks
  -h, --help         show this

Environment: MOAI_SERVER (host:port or unix:/path), MOAI_TOKEN, MOREH_VISIBLE_DEVICE (a number).
Exit status: 0 done, 1 refused, 2 wrong arguments, 3 no server.
)";

struct Options {
  std::optional<std::string> model;
  std::optional<size_t> position;
  bool list = false;
  bool all = false;
  bool json = false;
  bool help = false;
};

// None where the arguments are wrong; the person has been told.
std::optional<Options> ParseArguments(int argc, char** argv) {
  const option kLong[] = {
      {"model", required_argument, nullptr, 'M'}, {"list", no_argument, nullptr, 'l'},
      {"all", no_argument, nullptr, 'a'},         {"json", no_argument, nullptr, 'j'},
      {"help", no_argument, nullptr, 'h'},        {}};
  Options options;
  for (int c; (c = getopt_long(argc, argv, "M:lh", kLong, nullptr)) != -1;) {
    size_t position = 0;
    switch (c) {
      case 'M':
        if (!absl::SimpleAtoi(optarg, &position) || position == 0) {
          std::cerr << "moreh-switch-model: -M takes a position in the list, such as 1\n";
          return std::nullopt;
        }
        options.position = position;
        break;
      case 'l':
        options.list = true;
        break;
      case 'a':
        options.all = true;
        break;
      case 'j':
        options.json = true;
        break;
      case 'h':
        options.help = true;
        break;
      default:
        return std::nullopt;
    }
  }
  if (optind < argc) options.model = argv[optind++];
  if (optind < argc || (options.model.has_value() && options.position.has_value()) ||
      (options.list && (options.model.has_value() || options.position.has_value()))) {
    std::cerr << "moreh-switch-model: one model, one position, or --list\n";
    return std::nullopt;
  }
  return options;
}

int Fail(const Options& options, const absl::Status& status) {
  if (options.json) {
    std::cout << ErrorJson(status);
  } else {
    std::cerr << status.message() << "\n";
  }
  return ExitCode(status);
}

std::string Switched(const std::string& model) {
  return absl::StrCat("The MoAI Accelerator model is successfully switched to  \"", model, "\".\n");
}

void PrintList(const Options& options, const proto::ListFlavorsReply& flavors) {
  if (options.json) {
    std::cout << FlavorsJson(flavors, options.all);
    return;
  }
  std::cout << "Current MoAI Accelerator: " << flavors.current() << "\n\n"
            << MenuText(OfferedFlavors(flavors), flavors.current());
  if (!options.all) return;
  for (const proto::FlavorDescription& flavor : flavors.flavors()) {
    if (!flavor.offered()) {
      std::cout << "-  " << flavor.name() << "  (the server lacks some of its " << flavor.devices()
                << " devices)\n";
    }
  }
}

int SwitchTo(AdminClient& server, const Options& options, const std::string& model) {
  if (absl::Status status = server.SwitchFlavor(model); !status.ok()) {
    return Fail(options, status);
  }
  std::cout << (options.json ? SwitchedJson(model) : Switched(model));
  return kExitOk;
}

// Exits as the last selection went.
int Ask(AdminClient& server, proto::ListFlavorsReply flavors) {
  int code = kExitOk;
  std::cout << "Current MoAI Accelerator: " << flavors.current() << "\n";
  while (true) {
    const std::vector<std::string> offered = OfferedFlavors(flavors);
    if (offered.empty()) {
      std::cout << "\nNo worker has registered with the server yet: there is no model to choose.\n";
      return kExitRefused;
    }
    std::cout << "\n" << MenuText(offered, flavors.current()) << "\n";
    const std::optional<std::string> model = AskForFlavor(offered, std::cin, std::cout);
    if (!model.has_value()) return code;
    const absl::Status status = server.SwitchFlavor(*model);
    std::cout << (status.ok() ? Switched(*model) : absl::StrCat(status.message(), "\n"));
    code = ExitCode(status);
    auto again = server.ListFlavors();
    if (!again.ok()) return Fail({}, again.status());
    flavors = *std::move(again);
  }
}

int Main(int argc, char** argv) {
  const std::optional<Options> options = ParseArguments(argc, argv);
  if (!options.has_value()) {
    std::cerr << "`moreh-switch-model --help` says more.\n";
    return kExitUsage;
  }
  if (options->help) {
    std::cout << kUsage;
    return kExitOk;
  }
  auto server = AdminClient::FromEnvironment();
  if (!server.ok()) return Fail(*options, server.status());
  if (options->model.has_value()) return SwitchTo(*server, *options, *options->model);
  auto flavors = server->ListFlavors();
  if (!flavors.ok()) return Fail(*options, flavors.status());
  if (options->position.has_value()) {
    const std::vector<std::string> offered = OfferedFlavors(*flavors);
    if (*options->position > offered.size()) {
      return Fail(*options, absl::NotFoundError(absl::StrCat(
                                "there is no model ", *options->position, "; there are ",
                                offered.size(), ", `moreh-switch-model --list` shows them")));
    }
    return SwitchTo(*server, *options, offered[*options->position - 1]);
  }
  if (options->list || options->all || options->json) {
    PrintList(*options, *flavors);
    return kExitOk;
  }
  return Ask(*server, *std::move(flavors));
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
