// SPDX-License-Identifier: MIT
#include <memory>
#include <nlohmann/json.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/cluster_access.h"
#include "cli/console.h"
#include "cli/task_report.h"
#include "engine/cluster_config_file.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

struct ClusterRow {
  ClusterFile file;
  std::string plugin;  // empty: the file does not say
  std::string state;   // "usable", "not usable", "bad file", or the plugin's state
  std::string text;    // what was found, or what is wrong
  std::string description;
  std::vector<std::string> queues;
};

// As far as it goes; what goes wrong is the row's text.
ClusterRow look_at(Services& services, const ClusterFile& file) {
  ClusterRow row{file, {}, {}, {}, {}, {}};
  const auto safe = check_cluster_file(file.path);
  auto plugin_name = safe ? read_plugin_name(file.path) : fail(safe.error());
  if (!plugin_name) {
    row.state = "bad file";
    row.text = plugin_name.error().message;
    return row;
  }
  row.plugin = *plugin_name;
  const LoadedPlugin loaded = services.plugins.load(*plugin_name);
  if (loaded.state != PluginState::loaded) {
    row.state = "plugin " + std::string(to_string(loaded.state));
    row.text = loaded.message;
    return row;
  }
  auto config = read_cluster_config(file.path, loaded.plugin->parameter_specs());
  if (!config) {
    row.state = "bad file";
    row.text = config.error().message;
    return row;
  }
  row.description = config->description;
  const ProbeResult probe = loaded.plugin->probe(*config);
  row.state = probe.usable ? "usable" : "not usable";
  row.text = probe.text;
  if (const auto queues = loaded.plugin->create_queues(*config)) {
    for (const auto& queue : *queues) row.queues.push_back(queue->queue_name());
  }
  return row;
}

class ClustersVerb final : public Verb {
 public:
  std::string name() const override { return "clusters"; }
  std::string summary() const override { return "List clusters and plugins, and whether they can be used here"; }
  VerbText text() const override {
    return {{"clusters [OPTIONS]"},
            "Lists every configured cluster with the plugin it uses and whether that works on this machine, and every "
            "plugin "
            "that was found. The cluster of allot run without -c is " +
                std::string(kDefaultCluster) + ".\n\nExit status: 0.",
            {{"allot clusters", "what is there"}, {"allot clusters --json", "for programs"}}};
  }

  void describe(CLI::App& app) override { app.add_flag("--json", json_, "One JSON object (docs/json.md)"); }

  int run(Services& services) override {
    std::vector<ClusterRow> clusters;
    for (const auto& file : find_cluster_configs(services.cluster_directories)) {
      clusters.push_back(look_at(services, file));
    }
    auto plugins = services.plugins.load_all();
    for (const auto& row : clusters) {  // those that a cluster wants and nobody has
      const bool is_known = row.plugin.empty() || std::any_of(plugins.begin(), plugins.end(), [&](const auto& plugin) {
                              return plugin.name == row.plugin;
                            });
      if (!is_known) plugins.push_back(services.plugins.load(row.plugin));
    }
    return print_or_fail(json_ ? json(services, clusters, plugins) : text(services, clusters, plugins));
  }

 private:
  static std::string indented(const std::string& text) {
    std::string lines;
    std::size_t from = 0;
    while (from < text.size()) {
      const std::size_t end = std::min(text.find('\n', from), text.size());
      lines += "      " + text.substr(from, end - from) + "\n";
      from = end + 1;
    }
    return lines;
  }

  static std::string text(const Services& services, const std::vector<ClusterRow>& clusters,
                          const std::vector<LoadedPlugin>& plugins) {
    std::string text = "clusters:\n";
    for (const auto& row : clusters) {
      text += fmt::format("  {:<16} {:<12} {}{}\n", printable(row.file.name), row.plugin.empty() ? "-" : row.plugin,
                          row.state, row.file.name == kDefaultCluster ? " (default)" : "");
      if (!row.description.empty()) text += "      " + row.description + "\n";
      text += indented(row.text) + "      " + printable(row.file.path) + "\n";
    }
    if (clusters.empty()) text += fmt::format("  none in {}\n", fmt::join(services.cluster_directories, ", "));
    text += "plugins:\n";
    for (const auto& plugin : plugins) {
      text += fmt::format("  {:<16} {}\n", plugin.name, to_string(plugin.state));
      if (plugin.plugin) text += "      " + std::string(plugin.plugin->description()) + "\n";
      text += indented(plugin.message);
      if (!plugin.path.empty()) text += "      " + plugin.path + "\n";
    }
    if (plugins.empty()) text += fmt::format("  none in {}\n", fmt::join(services.plugins.directories(), ", "));
    return text;
  }

  static std::string json(const Services& services, const std::vector<ClusterRow>& clusters,
                          const std::vector<LoadedPlugin>& plugins) {
    Json json;
    auto& cluster_list = json["clusters"] = Json::array();
    for (const auto& row : clusters) {
      cluster_list.push_back({{"name", row.file.name},
                              {"path", row.file.path},
                              {"plugin", row.plugin.empty() ? Json(nullptr) : Json(row.plugin)},
                              {"state", row.state},
                              {"usable", row.state == "usable"},
                              {"default", row.file.name == kDefaultCluster},
                              {"description", row.description},
                              {"text", row.text},
                              {"queues", row.queues}});
    }
    auto& plugin_list = json["plugins"] = Json::array();
    for (const auto& plugin : plugins) {
      plugin_list.push_back({{"name", plugin.name},
                             {"path", plugin.path.empty() ? Json(nullptr) : Json(plugin.path)},
                             {"state", to_string(plugin.state)},
                             {"description", plugin.plugin ? Json(plugin.plugin->description()) : Json(nullptr)},
                             {"message", plugin.message}});
    }
    json["cluster_directories"] = services.cluster_directories;
    json["plugin_directories"] = services.plugins.directories();
    return one_line(json);
  }

  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_clusters_verb() {
  return std::make_unique<ClustersVerb>();
}

}  // namespace allot::cli
