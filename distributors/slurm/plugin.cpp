// SPDX-License-Identifier: MIT
#include <unistd.h>

#include "distributors/slurm/agent_client.h"
#include "distributors/slurm/slurm_distributor.h"
#include "distributors/slurm/slurm_queue.h"
#include "process/install_paths.h"
#include "protocol/plugin.h"
#include "worker_node/environment_node.h"

namespace allot::slurm {
namespace {

constexpr std::chrono::seconds kProbeTimeout{4};

class SlurmPlugin final : public Plugin {
 public:
  const char* name() const override { return "slurm"; }
  const char* description() const override { return "Job arrays of a Slurm cluster"; }
  std::vector<ParameterSpec> parameter_specs() const override { return slurm_parameter_specs(); }

  ProbeResult probe(const ClusterConfig& config) const override {
    auto settings = slurm_settings(config);
    if (!settings) return {false, settings.error().message};
    const std::string program = agent_program("slurm");
    if (::access(program.c_str(), X_OK) != 0) {
      return {false, program + " is missing: allot was built without libslurm, or is to be installed again"};
    }
    AgentClient agent(settings->configuration);
    if (auto started = agent.start(kProbeTimeout); !started) return {false, started.error().message};
    auto info = agent.info(kProbeTimeout);
    if (!info) return {false, "the Slurm controller does not answer: " + info.error().text};
    return {true, "Slurm " + info->version + ", cluster " + info->cluster};
  }

  Result<std::unique_ptr<ClusterDistributor>> create_distributor(const ClusterConfig& config) const override {
    auto settings = slurm_settings(config);
    if (!settings) return fail(settings.error());
    return std::unique_ptr<ClusterDistributor>(new SlurmDistributor(config, std::move(*settings)));
  }

  Result<std::vector<std::unique_ptr<ClusterQueue>>> create_queues(const ClusterConfig& config) const override {
    auto settings = slurm_settings(config);
    if (!settings) return fail(settings.error());
    AgentClient agent(settings->configuration);
    if (auto started = agent.start(settings->start_timeout); !started) return fail(started.error());
    auto site = read_site(agent, settings->start_timeout);
    if (!site) return fail(site.error());
    return slurm_queues(config, *settings, site->partitions, site->policies);
  }

  Result<std::unique_ptr<ClusterWorkerNode>> create_worker_node() const override {
    return std::unique_ptr<ClusterWorkerNode>(new EnvironmentNode);
  }
};

}  // namespace
}  // namespace allot::slurm

ALLOT_EXPORT_PLUGIN(allot::slurm::SlurmPlugin);
