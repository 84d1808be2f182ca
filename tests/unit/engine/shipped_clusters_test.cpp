// SPDX-License-Identifier: MIT
// cluster_configs/ and the plugins tell the same: which parameters there are, their types, ranges and defaults.
#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include "engine/cluster_config_file.h"
#include "process/fd.h"
#include "process/install_paths.h"
#include "protocol/plugin_loader.h"
#include "protocol/units.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;

namespace {

const std::vector<std::string> kClusters = {"multiprocess", "sequential", "slurm"};

std::string path_of(const std::string& cluster) {
  return cluster_config_directory() + "/" + cluster + ".toml";
}

std::shared_ptr<Plugin> load(const std::string& name) {
  static PluginLoader loader({plugin_directory()});
  const LoadedPlugin loaded = loader.load(name);
  if (loaded.state != PluginState::loaded) FAIL(loaded.message);
  return loaded.plugin;
}

// A key below [parameters] of a shipped file, given or commented out, with the comment above it on one line.
struct Documented {
  std::string value;
  std::string comment;
};

// Nothing for a line that is no `key = value`, with or without a '#' directly in front.
std::optional<std::pair<std::string, std::string>> key_and_value(std::string line) {
  if (line.starts_with('#')) line.erase(0, 1);
  const std::size_t end = line.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  if (end == 0 || end == std::string::npos || line.compare(end, 3, " = ") != 0) return std::nullopt;
  return std::pair(line.substr(0, end), line.substr(end + 3));
}

std::map<std::string, Documented> documented_parameters(const std::string& cluster) {
  std::istringstream lines(read_file(path_of(cluster)).value());
  std::map<std::string, Documented> found;
  std::string comment;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with("[[queue]]") || line == "[retry]") break;
    if (line == "[parameters]") {
      inside = true;
    } else if (const auto key = key_and_value(line); inside && key) {
      INFO(cluster << ".toml documents " << key->first << " twice");
      CHECK(found.emplace(key->first, Documented{key->second, comment}).second);
      comment.clear();
    } else if (line.starts_with("# ")) {
      comment.append(comment.empty() ? "" : " ").append(line.substr(2));
    } else {
      comment.clear();
    }
  }
  return found;
}

std::string format_bound(std::int64_t value, ParameterType type) {
  if (type == ParameterType::duration) return format_duration(value);
  return type == ParameterType::size ? format_size(static_cast<std::uint64_t>(value)) : std::to_string(value);
}

// "(integer, 1 to 64" or "(duration, up to 1h)" as the comment must say it; the rest of the parenthesis is free.
std::string expected_type(const ParameterSpec& spec) {
  std::string text = "(" + std::string(to_string(spec.type));
  if (!spec.maximum) return text;
  const std::string most = format_bound(*spec.maximum, spec.type);
  if (spec.minimum.value_or(0) == 0) return text + ", up to " + most + ")";
  return text + ", " + format_bound(*spec.minimum, spec.type) + " to " + most + ")";
}

// The word behind "Default" in a text: "5s" of "… Default: 5s." and of "Default 5s.". Nothing if it is a phrase.
std::optional<std::string> default_in(const std::string& text) {
  const std::size_t at = text.find("Default");
  if (at == std::string::npos) return std::nullopt;
  std::string rest = text.substr(at + 7);
  const bool colon = rest.starts_with(':');
  rest = rest.substr(colon ? 2 : 1);
  const std::string word = rest.substr(0, rest.find_first_of(" .:"));
  const std::string behind = rest.substr(word.size());
  const bool one_word = behind.empty() || behind[0] == '.' || behind[0] == ':';
  return one_word ? std::optional(word) : std::nullopt;
}

std::string without_quotes(std::string value) {
  std::erase(value, '"');
  return value;
}

}  // namespace

TEST_CASE("the clusters that come with allot are found") {
  std::vector<std::string> names;
  for (const ClusterFile& file : find_cluster_configs({cluster_config_directory()})) names.push_back(file.name);
  CHECK(names == kClusters);
}

TEST_CASE("the clusters that come with allot are read as they are") {
  for (const std::string& cluster : kClusters) {
    CAPTURE(cluster);
    const std::string plugin_name = read_plugin_name(path_of(cluster)).value();
    CHECK(plugin_name == cluster);
    const auto plugin = load(plugin_name);
    const auto config = read_cluster_config(path_of(cluster), plugin->parameter_specs());
    if (!config) FAIL(config.error().message);
    CHECK(config->parameters.empty());
    CHECK_FALSE(config->description.empty());
    if (cluster == "slurm") continue;  // its queues are those of a cluster: tests/contract has one
    const auto queues = plugin->create_queues(*config);
    REQUIRE(queues);
    CHECK(queues->at(0)->queue_name() == "default");
  }
}

TEST_CASE("every parameter of the plugins is documented, and nothing else") {
  for (const std::string& cluster : kClusters) {
    const auto documented = documented_parameters(cluster);
    std::vector<std::string> specified;
    for (const ParameterSpec& spec : load(cluster)->parameter_specs()) specified.push_back(spec.name);
    std::sort(specified.begin(), specified.end());
    std::vector<std::string> keys;
    for (const auto& [key, entry] : documented) keys.push_back(key);
    CAPTURE(cluster);
    CHECK(keys == specified);
  }
}

TEST_CASE("parameters are documented with their type, range, choices and default") {
  for (const std::string& cluster : kClusters) {
    const auto documented = documented_parameters(cluster);
    for (const ParameterSpec& spec : load(cluster)->parameter_specs()) {
      CAPTURE(cluster, spec.name);
      REQUIRE(documented.contains(spec.name));
      const Documented& entry = documented.at(spec.name);
      CHECK_THAT(entry.comment, ContainsSubstring(expected_type(spec)));
      CHECK_THAT(entry.comment, ContainsSubstring("Default: "));
      for (const std::string& choice : spec.choices) CHECK_THAT(entry.comment, ContainsSubstring("\"" + choice + "\""));
      // A default that is one word stands in the plugin's own text, in the comment, and as the value shown.
      const auto told = default_in(spec.documentation);
      CHECK(default_in(entry.comment) == told);
      if (told) CHECK(without_quotes(entry.value) == *told);
    }
  }
  CHECK(default_in("How long (duration). Default: 5s.") == "5s");
  CHECK(default_in("Default /bin/sh.") == "/bin/sh");
  CHECK_FALSE(default_in("Default: the cores that this process may use.").has_value());
}

TEST_CASE("with every key taken out of its comment the clusters are still read") {
  for (const std::string& cluster : kClusters) {
    std::istringstream lines(read_file(path_of(cluster)).value());
    std::string text;
    for (std::string line; std::getline(lines, line);)
      text += (line == "#[[queue]]" || key_and_value(line)) && line[0] == '#' ? line.substr(1) + "\n" : line + "\n";
    const test::TempDirectory temp;
    const std::string path = temp / (cluster + ".toml");
    REQUIRE(write_file_durably(path, text));

    const auto specs = load(cluster)->parameter_specs();
    const auto config = read_cluster_config(path, specs);
    if (!config) FAIL(config.error().message);
    CHECK(config->parameters.size() == specs.size());
    REQUIRE(config->queues.size() == 1);
    CHECK(config->queues[0].limits.size() == 6);
    CHECK(config->queues[0].required == std::vector<std::string>{"cores"});
  }
}

TEST_CASE("docs/clusters.md shows a cluster that is read, and mistakes with the messages that they give") {
  std::istringstream lines(read_file(std::string(ALLOT_SOURCE_DIR) + "/docs/clusters.md").value());
  std::vector<std::pair<std::string, std::string>> blocks;  // language, text
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.emplace_back(line.substr(3), "");
    } else if (inside) {
      blocks.back().second += line + "\n";
    }
  }
  const auto specs = load("multiprocess")->parameter_specs();
  const test::TempDirectory temp;
  int read = 0;
  int refused = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto& [language, text] = blocks[i];
    if (language != "toml") continue;
    const std::string path = temp / "mistakes.toml";
    REQUIRE(write_file_durably(path, text));
    const auto config = read_cluster_config(path, specs);
    if (!text.starts_with("# mistakes.toml\n")) {
      if (!config) FAIL(config.error().message);
      CHECK(config->queues.size() == 2);
      ++read;
      continue;
    }
    REQUIRE_FALSE(config);
    std::string message = config.error().message + "\n";
    for (std::size_t at = 0; (at = message.find(temp.path() + "/")) != std::string::npos;)
      message.erase(at, temp.path().size() + 1);
    REQUIRE(i + 1 < blocks.size());
    CHECK(message == blocks[i + 1].second);
    ++refused;
  }
  CHECK(read == 1);
  CHECK(refused == 1);
}
