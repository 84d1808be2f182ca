// SPDX-License-Identifier: MIT
#include "cli/cluster_access.h"

#include <algorithm>
#include <boost/filesystem.hpp>

#include <fmt/format.h>

#include "engine/cluster_config_file.h"
#include "process/install_paths.h"
#include "protocol/path_safety.h"

namespace allot::cli {
namespace {

Result<void> set_slots(ClusterConfig& config, const std::vector<ParameterSpec>& specs, std::int64_t slots) {
  const auto spec = std::find_if(specs.begin(), specs.end(), [](const auto& item) { return item.name == "slots"; });
  if (spec == specs.end()) {
    return fail(ErrorCode::fix_request,
                fmt::format("cluster {} has no slots that -j could set: plugin {} decides itself "
                            "how many tasks run at once",
                            config.name, config.plugin));
  }
  const std::int64_t least = spec->minimum.value_or(1);
  const std::int64_t most = spec->maximum.value_or(INT64_MAX);
  if (slots < least || slots > most) {
    return fail(ErrorCode::fix_request, fmt::format("-j {}: must be {} to {}", slots, least, most));
  }
  config.parameters["slots"] = slots;
  return {};
}

}  // namespace

Result<void> check_cluster_file(const std::string& path) {
  boost::system::error_code error;
  const auto real = [&error](const std::string& given) { return boost::filesystem::canonical(given, error).string(); };
  const std::string own = real(worker_node_program());
  const std::string file = real(path);
  if (error) return {};
  auto danger = find_danger_on_path(file, own);
  // Where the file is a link, the directory that it lies in matters as well.
  const auto given = boost::filesystem::absolute(path);
  const std::string directory = real(given.parent_path().string());
  if (!danger && !error) danger = find_danger_on_path(directory + "/" + given.filename().string(), own);
  if (!danger) return {};
  return fail(ErrorCode::fix_request,
              fmt::format("{}: not read: {}; expected that only root and you can write it and the directories above. "
                          "Correct this with chown and chmod go-w, or copy the file elsewhere",
                          path, *danger));
}

Result<Cluster> open_cluster(Services& services, const std::string& name_or_path, std::optional<std::int64_t> slots) {
  auto file = find_cluster_config(services.cluster_directories, name_or_path);
  if (!file) return fail(std::move(file.error()));
  if (auto safe = check_cluster_file(file->path); !safe) return fail(std::move(safe.error()));
  auto plugin_name = read_plugin_name(file->path);
  if (!plugin_name) return fail(std::move(plugin_name.error()));
  const LoadedPlugin loaded = services.plugins.load(*plugin_name);
  if (loaded.state != PluginState::loaded) {
    return fail(ErrorCode::not_available, fmt::format("{}: plugin: {} is {}: {}", file->path, *plugin_name,
                                                      to_string(loaded.state), loaded.message));
  }
  Cluster cluster;
  cluster.plugin = loaded.plugin;
  const auto specs = cluster.plugin->parameter_specs();
  auto config = read_cluster_config(file->path, specs, &cluster.retry);
  if (!config) return fail(std::move(config.error()));
  cluster.config = std::move(*config);
  if (slots) {
    if (auto set = set_slots(cluster.config, specs, *slots); !set) return fail(std::move(set.error()));
  }
  return cluster;
}

Result<ClusterParts> make_parts(const Cluster& cluster) {
  const ProbeResult probe = cluster.plugin->probe(cluster.config);
  if (!probe.usable) {
    return fail(ErrorCode::not_available,
                fmt::format("cluster {} cannot be used here: {}", cluster.config.name, probe.text));
  }
  ClusterParts parts;
  parts.retry = cluster.retry;
  auto queues = cluster.plugin->create_queues(cluster.config);
  if (!queues) return fail(std::move(queues.error()));
  parts.queues = std::move(*queues);
  auto distributor = cluster.plugin->create_distributor(cluster.config);
  if (!distributor) return fail(std::move(distributor.error()));
  parts.distributor = std::move(*distributor);
  return parts;
}

std::string stored_name(const std::string& name_or_path) {
  if (name_or_path.find('/') == std::string::npos) return name_or_path;
  return boost::filesystem::absolute(name_or_path).lexically_normal().string();
}

}  // namespace allot::cli
