// SPDX-License-Identifier: MIT
// A plugin as it should be, under the name that the build gives it.
#include "protocol/limits_queue.h"
#include "protocol/plugin.h"

namespace {

using namespace allot;

class GoodPlugin final : public Plugin {
 public:
  const char* name() const override { return TEST_PLUGIN_NAME; }
  const char* description() const override { return "does nothing, well"; }
  std::vector<ParameterSpec> parameter_specs() const override {
    return {{"slots", ParameterType::integer, "How many.", 1, std::nullopt, {}}};
  }
  ProbeResult probe(const ClusterConfig& config) const override { return {true, config.queues.at(0).name}; }
  Result<std::unique_ptr<ClusterDistributor>> create_distributor(const ClusterConfig&) const override {
    return fail(ErrorCode::unsupported, "it runs nothing");
  }
  Result<std::vector<std::unique_ptr<ClusterQueue>>> create_queues(const ClusterConfig& config) const override {
    std::vector<std::unique_ptr<ClusterQueue>> queues;
    queues.push_back(std::make_unique<LimitsQueue>(config.queues.at(0)));
    return queues;
  }
  Result<std::unique_ptr<ClusterWorkerNode>> create_worker_node() const override {
    return fail(ErrorCode::unsupported, "it runs nothing");
  }
};

}  // namespace

ALLOT_EXPORT_PLUGIN(GoodPlugin);
