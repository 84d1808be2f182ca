// SPDX-License-Identifier: MIT
// Any file as a cluster: it becomes a configuration whose queues are sound, or an error that names the file.
#include <set>

#include "engine/cluster_config_file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<allot::ParameterSpec> specs = {
      {"slots", allot::ParameterType::integer, "", 1, 4096, {}},
      {"memory", allot::ParameterType::size, "", {}, {}, {}},
      {"kill_grace", allot::ParameterType::duration, "", 0, 3'600'000, {}},
      {"pin", allot::ParameterType::text, "", {}, {}, {"auto", "always", "never"}},
      {"verbose", allot::ParameterType::boolean, "", {}, {}, {}},
  };
  const allot::fuzz::MemoryFile file(allot::fuzz::as_text(data, size));
  auto name = allot::read_plugin_name(file.path());
  allot::fuzz::require(name || !name.error().message.empty(), "an error says what is wrong");
  allot::RetryPolicy retry;
  auto config = allot::read_cluster_config(file.path(), specs, &retry);
  if (config) {
    const auto again = allot::parse_retry_rules(allot::to_text(retry.rules));
    allot::fuzz::require(again && *again == retry.rules, "rules of a file can be written as text");
    std::set<std::string> names;
    for (const allot::QueueConfig& queue : config->queues) names.insert(queue.name);
    allot::fuzz::require(names.size() == config->queues.size(), "no two queues share a name");
    // Without queues of its own the file leaves both to the plugin.
    allot::fuzz::require(names.empty() || names.contains(config->default_queue),
                         "the default queue is one of the queues");
  } else {
    allot::fuzz::require(config.error().message.find(file.path()) != std::string::npos, "an error names the file");
  }
  return 0;
}
