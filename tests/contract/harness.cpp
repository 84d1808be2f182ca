// SPDX-License-Identifier: MIT
#include "tests/contract/harness.h"

#include <algorithm>
#include <cstdlib>

#include "process/identity.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

// A plugin joins the suite by a line here and one in CMakeLists.txt.
const PluginTraits kTraits[] = {
    {"sequential", /*synchronous=*/true, /*configurable_slots=*/false},
    {"multiprocess", /*synchronous=*/false, /*configurable_slots=*/true},
    {"slurm", /*synchronous=*/false, /*configurable_slots=*/true, /*has_scheduler=*/true, "slots1", "slots4"},
};

Harness the_harness;

}  // namespace

const PluginTraits* find_traits(const std::string& plugin_name) {
  const auto found = std::find_if(std::begin(kTraits), std::end(kTraits),
                                  [&](const auto& traits) { return traits.name == plugin_name; });
  return found == std::end(kTraits) ? nullptr : &*found;
}

const Harness& harness() {
  return the_harness;
}
void set_harness(Harness made) {
  the_harness = std::move(made);
}

ClusterConfig make_config(const ClusterOptions& options) {
  std::map<std::string, ParameterValue> wanted = {
      {"slots", options.slots},
      {"kill_grace", options.kill_grace_milliseconds},
      {"sample_interval", std::int64_t{20}},
  };
  if (options.memory_bytes) wanted["memory"] = *options.memory_bytes;
  for (const auto& [key, value] : options.more) wanted[key] = value;

  ClusterConfig config;
  if (harness().traits.has_scheduler) {
    const char* conf = std::getenv("ALLOT_TEST_SLURM_CONF");
    if (conf == nullptr) FAIL("ALLOT_TEST_SLURM_CONF does not say where the test cluster's slurm.conf is");
    wanted["slurm_conf"] = std::string(conf);
    config.default_queue = "slots" + std::to_string(options.slots);
    if (options.memory_bytes) config.default_queue += "_memory" + std::to_string(*options.memory_bytes >> 20);
    // Quick to look, so that a test need not wait; how often it looks is not what this suite is about.
    wanted["record_interval"] = std::int64_t{20};
    wanted["shortest_poll"] = std::int64_t{200};
    wanted["longest_poll"] = std::int64_t{1000};
    wanted["requests_per_minute"] = std::int64_t{6000};
    wanted["record_patience"] = std::int64_t{1000};
    wanted["priority_base"] = std::int64_t{1000};
  }
  config.name = "contract";
  config.plugin = harness().traits.name;
  for (const auto& spec : harness().plugin->parameter_specs()) {
    if (const auto value = wanted.find(spec.name); value != wanted.end()) config.parameters.insert(*value);
  }
  return config;
}

std::uint64_t slots_of(const ClusterOptions& options) {
  return harness().traits.configurable_slots ? static_cast<std::uint64_t>(options.slots) : 1;
}

std::string node_name(const ClusterOptions& options) {
  return harness().traits.has_scheduler ? "s" + std::to_string(options.slots) : host_name();
}

std::unique_ptr<ClusterDistributor> make_distributor(const ClusterOptions& options) {
  auto distributor = harness().plugin->create_distributor(make_config(options));
  if (!distributor) FAIL("create_distributor: " << distributor.error().message);
  REQUIRE(*distributor != nullptr);
  return std::move(*distributor);
}

}  // namespace allot::contract
