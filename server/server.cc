#include "server/server.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "scheduler/planner.h"
#include "scheduler/planning/auto_planner.h"
#include "scheduler/pool.h"
#include "server/admin_service.h"
#include "server/forced_plan.h"
#include "server/front_door.h"
#include "server/jobs.h"
#include "server/store.h"
#include "server/thread_pool.h"
#include "server/virtual_devices.h"
#include "server/worker_registry.h"
#include "spdlog/spdlog.h"
#include "wire/stream_server.h"

namespace moai {
namespace {

// Says in the log what was chosen.
class LoggingPlanner : public Planner {
 public:
  explicit LoggingPlanner(std::unique_ptr<Planner> planner) : planner_(std::move(planner)) {}

  absl::StatusOr<std::shared_ptr<const Plan>> MakePlan(const PlanRequest& request) override {
    auto plan = planner_->MakePlan(request);
    if (plan.ok()) {
      spdlog::info("planned nodes={} devices={} plan=\"{}\"", request.graph->nodes.size(),
                   request.devices.size(), (*plan)->explanation);
    }
    return plan;
  }

 private:
  const std::unique_ptr<Planner> planner_;
};

absl::StatusOr<SearchConstraints> ConstraintsOf(const ServerOptions& options) {
  auto forced = ParseForcedPlan(options.force_plan);
  if (forced.ok()) return forced;
  return absl::InvalidArgumentError(absl::StrCat("--force_plan: ", forced.status().message()));
}

std::unique_ptr<Planner> MakePlanner(const ServerOptions& options,
                                     const SearchConstraints& constraints) {
  return std::make_unique<LoggingPlanner>(
      options.replicate ? MakeReplicatingPlanner() : MakeAutoPlanner({.constraints = constraints}));
}

}  // namespace

class Server::Impl {
 public:
  Impl(const ServerOptions& options, std::unique_ptr<Store> store,
       const SearchConstraints& constraints)
      : options_(options),
        store_(std::move(store)),
        devices_(&pool_, store_.get(), options.flavors, options.devices_per_session),
        admin_(&pool_, &devices_, &jobs_, options.client_token, constraints),
        planner_(MakePlanner(options, constraints)),
        planning_(options.planning_threads),
        workers_(&pool_, options.worker_token, std::chrono::seconds(options.worker_lease_seconds)),
        front_door_(&pool_, &devices_, planner_.get(), &planning_, &workers_, &jobs_,
                    options.client_token, std::chrono::seconds(options.lease_seconds)) {}

  absl::Status ListenForWorkers() {
    MOAI_ASSIGN_OR_RETURN(
        for_workers_,
        wire::StreamServer::Start(
            Listener(options_.worker_addresses),
            {{"/moai.proto.WorkerService/Attach", wire::ServeControl(workers_.worker_acceptor())},
             {"/moai.proto.ExecutorService/Attach",
              wire::ServeControl(workers_.executor_acceptor())}}));
    return absl::OkStatus();
  }

  absl::Status ListenForClients() {
    wire::StreamServer::Methods methods = admin_.Methods();
    methods.emplace_back("/moai.proto.SessionService/Attach", wire::ServeControl(&front_door_));
    MOAI_ASSIGN_OR_RETURN(for_clients_,
                          wire::StreamServer::Start(Listener(options_.client_addresses), methods));
    return absl::OkStatus();
  }

  WorkerRegistry& workers() { return workers_; }
  const wire::StreamServer& for_clients() const { return *for_clients_; }
  const wire::StreamServer& for_workers() const { return *for_workers_; }

 private:
  wire::StreamServerOptions Listener(const std::vector<std::string>& addresses) const {
    return {.addresses = addresses,
            .threads = options_.stream_threads,
            .allow_insecure_remote = options_.allow_insecure_remote};
  }

  const ServerOptions options_;
  Pool pool_;
  Jobs jobs_;
  const std::unique_ptr<Store> store_;
  VirtualDevices devices_;
  AdminService admin_;
  std::unique_ptr<Planner> planner_;
  ThreadPool planning_;
  WorkerRegistry workers_;
  FrontDoor front_door_;
  // Clients first at the end: their sessions stop executors through the workers' streams.
  std::unique_ptr<wire::StreamServer> for_workers_;
  std::unique_ptr<wire::StreamServer> for_clients_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  MOAI_ASSIGN_OR_RETURN(std::unique_ptr<Store> store, Store::Open(options.state_file));
  MOAI_ASSIGN_OR_RETURN(const SearchConstraints constraints, ConstraintsOf(options));
  auto impl = std::make_unique<Impl>(options, std::move(store), constraints);
  MOAI_RETURN_IF_ERROR(impl->ListenForWorkers());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

bool Server::WaitForWorkers(int count, std::chrono::milliseconds patience) {
  return impl_->workers().WaitForWorkers(size_t(count), patience);
}

absl::Status Server::ListenForClients() { return impl_->ListenForClients(); }

const std::vector<std::string>& Server::client_addresses() const {
  return impl_->for_clients().addresses();
}

const std::vector<std::string>& Server::worker_addresses() const {
  return impl_->for_workers().addresses();
}

}  // namespace moai
