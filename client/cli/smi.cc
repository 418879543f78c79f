// moreh-smi: what the MoAI Accelerators of a user do, and their management.
#include <getopt.h>

#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/version.h"
#include "client/cli/admin_client.h"
#include "client/cli/flavor_menu.h"
#include "client/cli/json_output.h"
#include "client/cli/status_tables.h"

namespace moai {
namespace {

constexpr char kUsage[] =
    R"(usage: moreh-smi [-h] [-r] [-s] [-v] [-t] [-i N] [-p] [--json]
       moreh-smi device [--list | --add [MODEL] | --rm [ID] | --switch [ID]] [--json]

Without arguments: the virtual devices, and the programs that run on them.

  -h, --help            show this
  -r, --reset           stop the program that runs on the device
  -s, --server-version  print the server's version
  -v, --version         print the version of this installation
  -t, --token           print the token in use
  -i, --idx N           mean the virtual device N, not the current one
  -p, --physical        one row per physical device
      --json            print JSON; never asks

  device --list         the virtual devices
  device --add MODEL    a new virtual device, five at most; asks where MODEL is left out
  device --rm ID        remove a virtual device; asks where ID is left out
  device --switch ID    make a virtual device the current one; asks where ID is left out

Environment: MOAI_SERVER (host:port or unix:/path), MOAI_TOKEN, MOREH_VISIBLE_DEVICE (a number).
Exit status: 0 done, 1 refused, 2 wrong arguments, 3 no server.
)";

enum class Action {
  kShow,
  kShowPhysical,
  kReset,
  kServerVersion,
  kVersion,
  kToken,
  kHelp,
  kListDevices,
  kAddDevice,
  kRemoveDevice,
  kSwitchDevice
};

struct Options {
  Action action = Action::kShow;
  std::optional<uint32_t> device;
  std::optional<std::string> argument;
  bool json = false;
};

enum LongOption { kJson = 1000, kList, kAdd, kRemove, kSwitch };

std::optional<uint32_t> ParseDevice(const std::string& text) {
  uint32_t device = 0;
  if (absl::SimpleAtoi(text, &device)) return device;
  std::cerr << "moreh-smi: \"" << text << "\" is no number of a virtual device\n";
  return std::nullopt;
}

// The action of an option; none where it is no action.
std::optional<Action> ActionOf(int option) {
  switch (option) {
    case 'h':
      return Action::kHelp;
    case 'r':
      return Action::kReset;
    case 's':
      return Action::kServerVersion;
    case 'v':
      return Action::kVersion;
    case 't':
      return Action::kToken;
    case 'p':
      return Action::kShowPhysical;
    case kList:
      return Action::kListDevices;
    case kAdd:
      return Action::kAddDevice;
    case kRemove:
      return Action::kRemoveDevice;
    case kSwitch:
      return Action::kSwitchDevice;
    default:
      return std::nullopt;
  }
}

bool IsOfDeviceCommand(Action action) {
  return action == Action::kListDevices || action == Action::kAddDevice ||
         action == Action::kRemoveDevice || action == Action::kSwitchDevice;
}

// None where the arguments are wrong; the person has been told.
std::optional<Options> ParseArguments(int argc, char** argv) {
  const option kLong[] = {{"help", no_argument, nullptr, 'h'},
                          {"reset", no_argument, nullptr, 'r'},
                          {"server-version", no_argument, nullptr, 's'},
                          {"version", no_argument, nullptr, 'v'},
                          {"token", no_argument, nullptr, 't'},
                          {"idx", required_argument, nullptr, 'i'},
                          {"physical", no_argument, nullptr, 'p'},
                          {"json", no_argument, nullptr, kJson},
                          {"list", no_argument, nullptr, kList},
                          {"add", no_argument, nullptr, kAdd},
                          {"rm", no_argument, nullptr, kRemove},
                          {"switch", no_argument, nullptr, kSwitch},
                          {}};
  Options options;
  int actions = 0;
  for (int c; (c = getopt_long(argc, argv, "hrsvti:p", kLong, nullptr)) != -1;) {
    if (c == '?') return std::nullopt;
    if (c == kJson) options.json = true;
    if (c == 'i') {
      options.device = ParseDevice(optarg);
      if (!options.device.has_value()) return std::nullopt;
    }
    if (const std::optional<Action> action = ActionOf(c)) {
      options.action = *action;
      ++actions;
    }
  }
  const bool device_command = optind < argc && std::string(argv[optind]) == "device";
  if (device_command) {
    ++optind;
    if (actions == 0) options.action = Action::kListDevices;
  }
  if (optind < argc) options.argument = argv[optind++];
  if (actions > 1 || optind < argc) {
    std::cerr << "moreh-smi: one thing at a time\n";
    return std::nullopt;
  }
  if (options.action != Action::kHelp && device_command != IsOfDeviceCommand(options.action)) {
    std::cerr << "moreh-smi: --list, --add, --rm and --switch belong to `moreh-smi device`\n";
    return std::nullopt;
  }
  const bool takes_argument = options.action == Action::kAddDevice ||
                              options.action == Action::kRemoveDevice ||
                              options.action == Action::kSwitchDevice;
  if (options.argument.has_value() && !takes_argument) {
    std::cerr << "moreh-smi: nothing is known of \"" << *options.argument << "\"\n";
    return std::nullopt;
  }
  return options;
}

class Command {
 public:
  Command(AdminClient server, const Options& options)
      : server_(std::move(server)), options_(options) {
    if (options.device.has_value()) server_.SetDevice(*options.device);
  }

  int Run() {
    switch (options_.action) {
      case Action::kShow:
      case Action::kShowPhysical:
      case Action::kListDevices:
      case Action::kServerVersion:
        return Show();
      case Action::kReset:
        return Reset();
      case Action::kAddDevice:
        return AddDevice();
      case Action::kRemoveDevice:
        return ForDevice("remove", &AdminClient::RemoveDevice, "Remove device success.", "removed");
      case Action::kSwitchDevice:
        return ForDevice("switch to", &AdminClient::SwitchDevice, "Switch Current Device success.",
                         "current");
      case Action::kToken:
      case Action::kVersion:
      case Action::kHelp:
        break;  // need no server
    }
    return kExitUsage;
  }

  static int Fail(const Options& options, const absl::Status& status) {
    if (options.json) {
      std::cout << ErrorJson(status);
    } else {
      std::cerr << status.message() << "\n";
    }
    return ExitCode(status);
  }

 private:
  int Fail(const absl::Status& status) const { return Fail(options_, status); }

  // Says what was done.
  int Done(const char* text, const std::string& json) const {
    std::cout << (options_.json ? json : absl::StrCat(text, "\n"));
    return kExitOk;
  }

  int Show() {
    auto status = server_.GetStatus();
    if (!status.ok()) return Fail(status.status());
    if (options_.device.has_value() && !KeepOnly(*options_.device, *status)) {
      return Fail(absl::NotFoundError(absl::StrCat("there is no virtual device ", *options_.device,
                                                   "; `moreh-smi device --list` shows them")));
    }
    if (options_.json) {
      std::cout << StatusJson(*status, kVersion);
    } else if (options_.action == Action::kServerVersion) {
      std::cout << status->server_version() << "\n";
    } else if (options_.action == Action::kShowPhysical) {
      std::cout << PhysicalTable(*status);
    } else {
      std::cout << DeviceTable(*status, kVersion);
      if (options_.action == Action::kShow) std::cout << "\n" << ProcessTable(*status);
    }
    return kExitOk;
  }

  // False where there is no such virtual device.
  static bool KeepOnly(uint32_t id, proto::GetStatusReply& status) {
    for (int i = status.devices_size() - 1; i >= 0; --i) {
      if (status.devices(i).device() != id) status.mutable_devices()->DeleteSubrange(i, 1);
    }
    for (int i = status.jobs_size() - 1; i >= 0; --i) {
      if (status.jobs(i).device() != id) status.mutable_jobs()->DeleteSubrange(i, 1);
    }
    return status.devices_size() > 0;
  }

  int Reset() {
    const auto reply = server_.ResetJobs();
    if (!reply.ok()) return Fail(reply.status());
    if (options_.json) {
      std::cout << ResetJson(*reply);
    } else if (reply->jobs_size() > 0) {
      std::cout << "Device release success.\n";
    } else {
      std::cout << "Device release failed. (Not running job.)\n";
    }
    return reply->jobs_size() > 0 ? kExitOk : kExitRefused;
  }

  int AddDevice() {
    if (!options_.argument.has_value()) {
      if (options_.json) return MustNotAsk("--add needs a model");
      const auto flavors = server_.ListFlavors();
      if (!flavors.ok()) return Fail(flavors.status());
      const std::vector<std::string> offered = OfferedFlavors(*flavors);
      if (offered.empty()) {
        return Fail(absl::FailedPreconditionError(
            "No worker has registered with the server yet: there is no model to choose."));
      }
      std::cout << MenuText(offered, "") << "\n";
      options_.argument = AskForFlavor(offered, std::cin, std::cout);
      if (!options_.argument.has_value()) return kExitOk;
    }
    const auto reply = server_.AddDevice(*options_.argument);
    if (!reply.ok()) return Fail(reply.status());
    return Done("Create device success.", DeviceJson("created", reply->device()));
  }

  // What is done to one virtual device, which the person names.
  int ForDevice(const char* what, absl::Status (AdminClient::*method)(uint32_t), const char* done,
                const char* key) {
    if (!options_.argument.has_value()) {
      if (options_.json) return MustNotAsk("the number of the virtual device is missing");
      const auto status = server_.GetStatus();
      if (!status.ok()) return Fail(status.status());
      std::cout << DeviceTable(*status, kVersion) << "\nDevice to " << what
                << " (number, q, Q): " << std::flush;
      std::string line;
      const bool answered = static_cast<bool>(std::getline(std::cin, line));
      if (!answered) std::cout << "\n";
      if (!answered || line == "q" || line == "Q") return kExitOk;
      options_.argument = line;
    }
    const std::optional<uint32_t> device = ParseDevice(*options_.argument);
    if (!device.has_value()) return kExitUsage;
    const absl::Status status = (server_.*method)(*device);
    if (!status.ok()) return Fail(status);
    return Done(done, DeviceJson(key, *device));
  }

  int MustNotAsk(const char* why) const {
    std::cerr << "moreh-smi: " << why << "\n";
    return kExitUsage;
  }

  AdminClient server_;
  Options options_;
};

int Main(int argc, char** argv) {
  const std::optional<Options> options = ParseArguments(argc, argv);
  if (!options.has_value()) {
    std::cerr << "`moreh-smi --help` says more.\n";
    return kExitUsage;
  }
  if (options->action == Action::kHelp) {
    std::cout << kUsage;
    return kExitOk;
  }
  if (options->action == Action::kVersion) {
    std::cout << kVersion << "\n";
    return kExitOk;
  }
  auto server = AdminClient::FromEnvironment();
  if (!server.ok()) return Command::Fail(*options, server.status());
  if (options->action == Action::kToken) {
    std::cout << (server->token().empty() ? "MOAI_TOKEN is not set." : server->token()) << "\n";
    return kExitOk;
  }
  return Command(*std::move(server), *options).Run();
}

}  // namespace
}  // namespace moai

int main(int argc, char** argv) { return moai::Main(argc, argv); }
