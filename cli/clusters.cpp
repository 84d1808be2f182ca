// SPDX-License-Identifier: MIT
// allot clusters: what is configured, and whether each plugin can work here.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

#include "cli/context.h"
#include "cli/json_text.h"
#include "engine/cluster_config_file.h"

namespace allot {
namespace {

struct ClusterRow {
  ClusterFile file;
  std::string plugin;
  std::string state;  // usable, not usable, wrong configuration, plugin absent, …
  std::string text;
};

ClusterRow look_at(const ClusterFile& file, PluginLoader& plugins) {
  ClusterRow row{file, "", "", ""};
  auto name = read_plugin_name(file.path);
  if (!name) {
    row.state = "wrong configuration";
    row.text = name.error().message;
    return row;
  }
  row.plugin = *name;
  const LoadedPlugin loaded = plugins.load(*name);
  if (!loaded.plugin) {
    row.state = "plugin " + std::string(to_string(loaded.state));
    row.text = loaded.message;
    return row;
  }
  auto config = read_cluster_config(file.path, loaded.plugin->parameter_specs());
  if (!config) {
    row.state = "wrong configuration";
    row.text = config.error().message;
    return row;
  }
  const ProbeResult probe = loaded.plugin->probe(*config);
  row.state = probe.usable ? "usable" : "not usable";
  row.text = probe.text;
  return row;
}

int show_clusters(CliContext& context, bool json) {
  std::vector<ClusterRow> rows;
  for (const ClusterFile& file : find_cluster_configs(context.cluster_directories)) {
    rows.push_back(look_at(file, context.plugins));
  }
  const auto plugins = context.plugins.load_all();
  if (json) {
    nlohmann::ordered_json answer;
    answer["clusters"] = nlohmann::ordered_json::array();
    for (const ClusterRow& row : rows) {
      answer["clusters"].push_back({{"name", row.file.name},
                                    {"path", row.file.path},
                                    {"plugin", row.plugin},
                                    {"state", row.state},
                                    {"text", row.text}});
    }
    answer["plugins"] = nlohmann::ordered_json::array();
    for (const LoadedPlugin& plugin : plugins) {
      answer["plugins"].push_back({{"name", plugin.name},
                                   {"path", plugin.path},
                                   {"state", std::string(to_string(plugin.state))},
                                   {"text", plugin.plugin ? plugin.plugin->description() : plugin.message}});
    }
    fmt::print("{}\n", json_line(answer));
    return kExitDone;
  }
  fmt::print("{:<16} {:<14} {:<20} {}\n", "CLUSTER", "PLUGIN", "STATE", "WHAT");
  for (const ClusterRow& row : rows) {
    fmt::print("{:<16} {:<14} {:<20} {}\n", row.file.name, row.plugin.empty() ? "?" : row.plugin, row.state, row.text);
  }
  if (rows.empty()) {
    fmt::print("(none; looked in");
    for (const std::string& directory : context.cluster_directories) fmt::print(" {}", directory);
    fmt::print(")\n");
  }
  fmt::print("\n{:<16} {:<14} {}\n", "PLUGIN", "STATE", "WHAT");
  for (const LoadedPlugin& plugin : plugins) {
    fmt::print("{:<16} {:<14} {}\n", plugin.name, to_string(plugin.state),
               plugin.plugin ? plugin.plugin->description() : plugin.message);
  }
  return kExitDone;
}

}  // namespace

void add_clusters_verb(CLI::App& app, CliContext& context) {
  CLI::App* verb = app.add_subcommand("clusters", "List the configured clusters and every plugin with its state");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "One JSON object instead of a table");
  verb->callback([&context, json] { context.exit_status = show_clusters(context, *json); });
}

}  // namespace allot
