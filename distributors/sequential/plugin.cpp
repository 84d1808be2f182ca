// SPDX-License-Identifier: MIT
#include <unistd.h>

#include "distributors/sequential/sequential_distributor.h"
#include "process/install_paths.h"
#include "process/machine.h"
#include "protocol/plugin.h"
#include "protocol/units.h"
#include "worker_node/environment_node.h"

namespace allot {
namespace {

class SequentialPlugin final : public Plugin {
 public:
  const char* name() const override { return "sequential"; }
  const char* description() const override {
    return "One task after the other in the caller's own time, to debug with";
  }
  std::vector<ParameterSpec> parameter_specs() const override { return local_parameter_specs(); }

  ProbeResult probe(const ClusterConfig& config) const override {
    auto settings = local_settings(config);
    if (!settings) return {false, settings.error().message};
    for (const std::string& program : {worker_node_program(), guard_program()}) {
      if (::access(program.c_str(), X_OK) != 0) return {false, program + " is missing; install allot again"};
    }
    if (runtime_directory().empty()) {
      return {false, "no private directory for sockets and locks: set XDG_RUNTIME_DIR, or mend the one under /tmp"};
    }
    return {true, format_size_rounded(settings->memory_bytes) + " of memory"};
  }

  Result<std::unique_ptr<ClusterDistributor>> create_distributor(const ClusterConfig& config) const override {
    auto settings = local_settings(config);
    if (!settings) return fail(settings.error());
    return std::unique_ptr<ClusterDistributor>(new SequentialDistributor(config, std::move(*settings)));
  }

  Result<std::vector<std::unique_ptr<ClusterQueue>>> create_queues(const ClusterConfig& config) const override {
    auto settings = local_settings(config);
    if (!settings) return fail(settings.error());
    return local_queues(config, *settings);
  }

  Result<std::unique_ptr<ClusterWorkerNode>> create_worker_node() const override {
    return std::unique_ptr<ClusterWorkerNode>(new EnvironmentNode);
  }
};

}  // namespace
}  // namespace allot

ALLOT_EXPORT_PLUGIN(allot::SequentialPlugin);
