// SPDX-License-Identifier: MIT
// Submits commands through allot's C++ API and says what became of each. Exit status 0: all are done.
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/cluster_config_file.h"
#include "process/install_paths.h"
#include "protocol/plugin_loader.h"

namespace {

using allot::Result;

// A started distributor of the cluster that comes with allot for this machine.
Result<std::unique_ptr<allot::ClusterDistributor>> start_cluster(allot::PluginLoader& loader) {
  const std::string file = allot::cluster_config_directory() + "/multiprocess.toml";
  auto plugin_name = allot::read_plugin_name(file);
  if (!plugin_name) return allot::fail(plugin_name.error());

  const allot::LoadedPlugin loaded = loader.load(*plugin_name);
  if (!loaded.plugin) return allot::fail(allot::ErrorCode::unsupported, loaded.message);

  auto config = allot::read_cluster_config(file, loaded.plugin->parameter_specs());
  if (!config) return allot::fail(config.error());
  const allot::ProbeResult probe = loaded.plugin->probe(*config);
  if (!probe.usable) return allot::fail(allot::ErrorCode::unsupported, probe.text);

  auto distributor = loaded.plugin->create_distributor(*config);
  if (!distributor) return distributor;
  if (auto started = (*distributor)->start(); !started) return allot::fail(started.error());
  return distributor;
}

// Five single tasks and an array of ten: their ids, with a name for each.
Result<std::map<std::string, std::string>> submit(allot::ClusterDistributor& distributor) {
  allot::RequestedResources resources;
  resources.cores = 1;
  resources.runtime_milliseconds = 60'000;

  std::map<std::string, std::string> names;
  for (int i = 0; i < 5; ++i) {
    const std::string name = "single-" + std::to_string(i);
    auto id = distributor.submit_to_batch_distributor("echo \"$ALLOT_TASK_NAME says hello\"", name, resources);
    if (!id) return allot::fail(id.error());
    names[*id] = name;
  }

  auto ids =
      distributor.submit_array_to_batch_distributor("test \"$ALLOT_ARRAY_STEP_ID\" -lt 10", "array", resources, 10);
  if (!ids) return allot::fail(ids.error());
  for (const auto& [step, id] : *ids) names[id] = "array step " + std::to_string(step);
  return names;
}

// Waits until every id has finished; the exit infos by id.
Result<std::map<std::string, allot::ExitInfo>> wait_for_all(allot::ClusterDistributor& distributor, std::size_t count) {
  std::map<std::string, allot::ExitInfo> finished;
  std::uint64_t cursor = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (finished.size() < count) {
    if (std::chrono::steady_clock::now() > deadline) {
      return allot::fail(allot::ErrorCode::gave_up, "the tasks did not finish within two minutes");
    }
    auto events = distributor.wait_for_events(cursor, std::chrono::seconds(5));
    if (!events) return allot::fail(events.error());
    for (const allot::Event& event : *events) {
      cursor = event.sequence;
      if (event.exit_info) finished[event.distributor_id] = *event.exit_info;
    }
  }
  return finished;
}

Result<bool> run(allot::ClusterDistributor& distributor) {
  auto names = submit(distributor);
  if (!names) return allot::fail(names.error());
  auto finished = wait_for_all(distributor, names->size());
  if (!finished) return allot::fail(finished.error());

  std::vector<std::string> ids;
  for (const auto& [id, name] : *names) ids.push_back(id);
  auto usage = distributor.get_usage_stats(ids);
  if (!usage) return allot::fail(usage.error());

  bool all_done = true;
  for (const auto& [id, name] : *names) {
    const allot::ExitInfo& exit_info = finished->at(id);
    const allot::UsageStats& used = (*usage)[id];
    all_done = all_done && exit_info.is_done();
    std::cout << id << "  " << name << "  " << allot::describe(exit_info);
    if (used.wall_seconds) std::cout << "  " << *used.wall_seconds << " s";
    if (used.max_rss_bytes) std::cout << "  " << *used.max_rss_bytes << " bytes";
    std::cout << (exit_info.is_done() ? "" : "  " + exit_info.text) << '\n';
  }
  return all_done;
}

}  // namespace

int main() {
  allot::PluginLoader loader(allot::PluginLoader::search_path({allot::plugin_directory()}));
  auto distributor = start_cluster(loader);
  if (!distributor) {
    std::cerr << "submit_cpp: " << distributor.error().message << '\n';
    return 2;
  }
  auto all_done = run(**distributor);
  auto stopped = (*distributor)->stop();
  if (!all_done || !stopped) {
    std::cerr << "submit_cpp: " << (all_done ? stopped.error() : all_done.error()).message << '\n';
    return 2;
  }
  return *all_done ? 0 : 1;
}
