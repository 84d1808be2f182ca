// SPDX-License-Identifier: MIT
#include "engine/cluster_config_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <boost/filesystem/path.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "engine/nearest_name.h"
#include "process/fd.h"
#include "protocol/units.h"

namespace allot {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::int64_t kNoMaximum = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxCount = std::numeric_limits<std::uint32_t>::max();

// A resource that a queue may limit.
struct LimitKey {
  std::string_view key;       // in the file
  std::string_view resource;  // in QueueParameters
  ParameterType type;
  std::int64_t smallest;
  std::int64_t largest;
  std::string_view example;
};
constexpr std::array<LimitKey, 6> kLimitKeys = {{
    {"cores", "cores", ParameterType::integer, 1, kMaxCount, "[1, 64]"},
    {"memory", "memory_bytes", ParameterType::size, 1, kNoMaximum, R"(["1M", "64G"])"},
    {"runtime", "runtime_milliseconds", ParameterType::duration, 1, kNoMaximum, R"(["1s", "7d"])"},
    {"gpus", "gpus", ParameterType::integer, 0, kMaxCount, "[0, 4]"},
    {"ranks", "ranks", ParameterType::integer, 1, kMaxCount, "[1, 256]"},
    {"nodes", "nodes", ParameterType::integer, 1, kMaxCount, "[1, 8]"},
}};
const std::vector<std::string> kTopKeys = {"plugin", "description", "default_queue", "parameters",      "queue",
                                           "retry",  "exit_codes",  "max_running",   "fallback_queues", "triage"};
constexpr double kMostEscalation = 100;
constexpr std::int64_t kMostNodeFailures = 1'000'000;
constexpr std::int64_t kShortestTriage = 100;  // ms
constexpr std::int64_t kLongestTriage = 24 * 3'600'000;
const std::vector<std::string> kQueueKeys = {"name", "cores", "memory", "runtime",
                                             "gpus", "ranks", "nodes",  "required"};

const LimitKey* find_limit_key(std::string_view key) {
  auto it = std::find_if(kLimitKeys.begin(), kLimitKeys.end(), [&](const LimitKey& l) { return l.key == key; });
  return it == kLimitKeys.end() ? nullptr : &*it;
}

// Text in quotes with control characters escaped, so that a message stays on its line.
std::string quote(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string describe(const toml::node& node) {
  if (node.is_string()) return "the text " + quote(**node.as_string());
  if (node.is_integer()) return fmt::format("the integer {}", **node.as_integer());
  if (node.is_floating_point()) return fmt::format("the floating-point number {}", **node.as_floating_point());
  if (node.is_boolean()) return fmt::format("{}", **node.as_boolean());
  if (node.is_array()) return "an array";
  if (node.is_table()) return "a table";
  return "a date or time without quotes";
}

std::string expectation(ParameterType type) {
  switch (type) {
    case ParameterType::boolean:
      return "true or false";
    case ParameterType::integer:
      return "an integer";
    case ParameterType::text:
      return "a text in quotes";
    case ParameterType::size:
      return "a size such as \"512M\" or \"1.5G\" in quotes, or an integer of bytes";
    case ParameterType::duration:
      return "a duration such as \"90s\", \"1h30m\" or \"1-12:00:00\" in quotes, or an integer of seconds";
  }
  return "";
}

std::string format_amount(std::int64_t value, ParameterType type) {
  if (type == ParameterType::size) return format_size(static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0)));
  if (type == ParameterType::duration) return format_duration(value);
  return std::to_string(value);
}

// Reads one file; collects every fault instead of stopping at the first.
class FileReader {
 public:
  FileReader(const std::string& path, const std::vector<ParameterSpec>& specs) : path_(path), specs_(specs) {}

  ClusterConfig read(const toml::table& root);
  RetryPolicy& policy() { return policy_; }
  std::optional<std::string> read_plugin(const toml::table& root);
  std::optional<Error> error();

 private:
  void fault(const toml::source_region& where, std::string_view key, const std::string& what) {
    const std::size_t line = where.begin.line;
    faults_.emplace_back(line, line > 0 ? fmt::format("{}:{}: {}: {}", path_, line, key, what)
                                        : fmt::format("{}: {}: {}", path_, key, what));
  }
  void unknown_key(const toml::key& key, const std::string& shown, const std::vector<std::string>& known);
  std::optional<std::string> read_text(const toml::node& node, const std::string& key);
  std::optional<std::int64_t> read_amount(const toml::node& node, const std::string& key, ParameterType type,
                                          std::optional<std::int64_t> smallest, std::optional<std::int64_t> largest);
  void read_parameters(const toml::table& table, ClusterConfig& config);
  std::optional<ParameterValue> read_parameter(const toml::node& node, const std::string& key,
                                               const ParameterSpec& spec);
  void read_queues(const toml::node& node, ClusterConfig& config);
  void read_queue(const toml::table& table, QueueConfig& queue);
  void read_limit(const toml::node& node, const std::string& key, const LimitKey& limit, QueueConfig& queue);
  void read_required(const toml::table& table, const toml::node& node, const std::string& key, QueueConfig& queue);
  void choose_default_queue(const toml::table& root, ClusterConfig& config);
  void read_policy(const toml::table& root, const ClusterConfig& config);
  void read_rules(const toml::node& node, const std::string& where);
  void read_factor(const toml::node& node, const std::string& key, double& into);
  void read_triage(const toml::node& node);
  void read_fallbacks(const toml::node& node, const ClusterConfig& config);

  RetryPolicy policy_;
  std::string path_;
  const std::vector<ParameterSpec>& specs_;
  std::vector<std::pair<std::size_t, std::string>> faults_;  // line, message
};

std::optional<Error> FileReader::error() {
  if (faults_.empty()) return std::nullopt;
  std::stable_sort(faults_.begin(), faults_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string message;
  for (const auto& [line, text] : faults_) message.append(message.empty() ? "" : "\n").append(text);
  return Error{ErrorCode::fix_request, message};
}

void FileReader::unknown_key(const toml::key& key, const std::string& shown, const std::vector<std::string>& known) {
  std::string what = "unknown key; ";
  if (auto nearest = nearest_name(key.str(), known)) {
    what += fmt::format("did you mean {}?", *nearest);
  } else if (known.empty()) {
    what += "this plugin has no parameters: remove it";
  } else {
    what += fmt::format("known here: {}", fmt::join(known, ", "));
  }
  fault(key.source(), shown, what);
}

std::optional<std::string> FileReader::read_text(const toml::node& node, const std::string& key) {
  if (!node.is_string()) {
    fault(node.source(), key, fmt::format("expected a text in quotes, found {}", describe(node)));
    return std::nullopt;
  }
  std::string text = **node.as_string();
  // It may become an argument or a path, where a NUL would silently end it.
  if (text.find('\0') != std::string::npos) {
    fault(node.source(), key, fmt::format("{} has a NUL character; remove it", quote(text)));
    return std::nullopt;
  }
  return text;
}

std::optional<std::int64_t> FileReader::read_amount(const toml::node& node, const std::string& key, ParameterType type,
                                                    std::optional<std::int64_t> smallest,
                                                    std::optional<std::int64_t> largest) {
  auto no = [&](const std::string& what) {
    fault(node.source(), key, what);
    return std::nullopt;
  };
  std::int64_t value = 0;
  if (node.is_integer()) {
    value = **node.as_integer();
    if (type == ParameterType::duration) {  // seconds
      if (value > kNoMaximum / 1000 || value < -(kNoMaximum / 1000)) return no(fmt::format("{} s is too large", value));
      value *= 1000;
    }
    if (type != ParameterType::integer && value < 0)
      return no(fmt::format("expected {}, found the negative {}", expectation(type), **node.as_integer()));
  } else if (node.is_string() && type != ParameterType::integer) {
    const std::string& text = **node.as_string();
    if (type == ParameterType::size) {
      auto bytes = parse_size(text);
      if (!bytes) return no(bytes.error().message);
      value = static_cast<std::int64_t>(*bytes);  // parse_size ends at 2^63-1
    } else {
      auto milliseconds = parse_duration(text);
      if (!milliseconds) return no(milliseconds.error().message);
      value = *milliseconds;
    }
  } else {
    return no(fmt::format("expected {}, found {}", expectation(type), describe(node)));
  }
  if (smallest && value < *smallest)
    return no(
        fmt::format("{} is too small; the least is {}", format_amount(value, type), format_amount(*smallest, type)));
  if (largest && value > *largest)
    return no(
        fmt::format("{} is too large; the most is {}", format_amount(value, type), format_amount(*largest, type)));
  return value;
}

std::optional<ParameterValue> FileReader::read_parameter(const toml::node& node, const std::string& key,
                                                         const ParameterSpec& spec) {
  if (spec.type == ParameterType::boolean) {
    if (node.is_boolean()) return ParameterValue(**node.as_boolean());
    fault(node.source(), key, fmt::format("expected {}, found {}", expectation(spec.type), describe(node)));
    return std::nullopt;
  }
  if (spec.type != ParameterType::text) {
    auto amount = read_amount(node, key, spec.type, spec.minimum, spec.maximum);
    return amount ? std::optional<ParameterValue>(*amount) : std::nullopt;
  }
  auto text = read_text(node, key);
  if (!text) return std::nullopt;
  if (!spec.choices.empty() && std::find(spec.choices.begin(), spec.choices.end(), *text) == spec.choices.end()) {
    fault(node.source(), key,
          fmt::format("{} is not one of the choices: {}", quote(*text), fmt::join(spec.choices, ", ")));
    return std::nullopt;
  }
  return ParameterValue(std::move(*text));
}

void FileReader::read_parameters(const toml::table& table, ClusterConfig& config) {
  std::vector<std::string> known;
  for (const ParameterSpec& spec : specs_) known.push_back(spec.name);
  for (auto&& [key, node] : table) {
    const std::string name(key.str());
    const std::string shown = "[parameters] " + name;
    auto spec = std::find_if(specs_.begin(), specs_.end(), [&](const ParameterSpec& s) { return s.name == name; });
    if (spec == specs_.end()) {
      unknown_key(key, shown, known);
    } else if (auto value = read_parameter(node, shown, *spec)) {
      config.parameters.emplace(name, std::move(*value));
    }
  }
}

void FileReader::read_limit(const toml::node& node, const std::string& key, const LimitKey& limit, QueueConfig& queue) {
  const toml::array* pair = node.as_array();
  if (pair == nullptr || pair->size() != 2) {
    fault(node.source(), key,
          fmt::format("expected two values, the smallest and the largest allowed, such as {} = {}; found {}", limit.key,
                      limit.example, pair ? fmt::format("{} values", pair->size()) : describe(node)));
    return;
  }
  auto minimum = read_amount(*pair->get(0), key, limit.type, limit.smallest, limit.largest);
  auto maximum = read_amount(*pair->get(1), key, limit.type, limit.smallest, limit.largest);
  if (!minimum || !maximum) return;
  if (*minimum > *maximum) {
    fault(node.source(), key,
          fmt::format("the smallest, {}, is above the largest, {}; write the smaller value first",
                      format_amount(*minimum, limit.type), format_amount(*maximum, limit.type)));
    return;
  }
  queue.limits[std::string(limit.resource)] = {static_cast<std::uint64_t>(*minimum),
                                               static_cast<std::uint64_t>(*maximum)};
}

void FileReader::read_required(const toml::table& table, const toml::node& node, const std::string& key,
                               QueueConfig& queue) {
  const toml::array* names = node.as_array();
  if (names == nullptr) {
    fault(node.source(), key,
          fmt::format("expected names of resources, such as [\"cores\"]; found {}", describe(node)));
    return;
  }
  std::vector<std::string> known;
  for (const LimitKey& limit : kLimitKeys) known.emplace_back(limit.key);
  for (const toml::node& element : *names) {
    const auto name = read_text(element, key);
    if (!name) continue;
    const LimitKey* limit = find_limit_key(*name);
    if (limit == nullptr) {
      const auto nearest = nearest_name(*name, known);
      fault(element.source(), key,
            fmt::format("{} is no resource; {}", quote(*name),
                        nearest ? "did you mean " + *nearest + "?" : fmt::format("known: {}", fmt::join(known, ", "))));
    } else if (!table.contains(*name)) {
      // A request that does not state it is given the queue's minimum: there must be one.
      fault(element.source(), key,
            fmt::format("{} is required and has no limits in this queue; add {} = {}", *name, *name, limit->example));
    } else if (std::find(queue.required.begin(), queue.required.end(), limit->resource) != queue.required.end()) {
      fault(element.source(), key, fmt::format("{} is named twice; remove one", *name));
    } else {
      queue.required.emplace_back(limit->resource);
    }
  }
}

void FileReader::read_queue(const toml::table& table, QueueConfig& queue) {
  std::string where = "[[queue]]";
  if (const toml::node* node = table.get("name")) {
    if (auto name = read_text(*node, where + " name")) {
      const bool clean = std::none_of(name->begin(), name->end(), [](char c) {
        return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
      });
      if (name->empty() || !clean) {
        fault(node->source(), where + " name",
              fmt::format("{} cannot be a queue's name; use at least one character, no '/' and no control characters",
                          quote(*name)));
      }
      queue.name = std::move(*name);
      where += " " + quote(queue.name);
    }
  } else {
    fault(table.source(), where + " name", "a queue needs a name; add name = \"…\"");
  }
  for (auto&& [key, node] : table) {
    const std::string name(key.str());
    const std::string shown = where + " " + name;
    if (name == "name") continue;
    if (const LimitKey* limit = find_limit_key(name)) {
      read_limit(node, shown, *limit, queue);
    } else if (name == "required") {
      read_required(table, node, shown, queue);
    } else {
      unknown_key(key, shown, kQueueKeys);
    }
  }
}

void FileReader::read_queues(const toml::node& node, ClusterConfig& config) {
  const toml::array* queues = node.as_array();
  if (queues == nullptr) {
    fault(node.source(), "queue",
          fmt::format("expected tables that begin with [[queue]], in two brackets; found {}", describe(node)));
    return;
  }
  std::set<std::string> names;
  for (const toml::node& element : *queues) {
    const toml::table* table = element.as_table();
    if (table == nullptr) {
      fault(element.source(), "queue", fmt::format("expected a table [[queue]], found {}", describe(element)));
      continue;
    }
    QueueConfig queue;
    queue.queue_id = static_cast<int>(config.queues.size());
    read_queue(*table, queue);
    if (!queue.name.empty() && !names.insert(queue.name).second) {
      fault(table->get("name")->source(), "[[queue]] name",
            fmt::format("there is a queue {} before it; rename one or put them together", quote(queue.name)));
    }
    config.queues.push_back(std::move(queue));
  }
}

void FileReader::choose_default_queue(const toml::table& root, ClusterConfig& config) {
  if (!config.queues.empty()) config.default_queue = config.queues.front().name;
  const toml::node* node = root.get("default_queue");
  if (node == nullptr) return;
  const auto wanted = read_text(*node, "default_queue");
  if (!wanted) return;
  // Without queues of its own the file names one that the plugin finds: a partition, or the only one of this machine.
  if (config.queues.empty()) {
    config.default_queue = *wanted;
    return;
  }
  auto chosen = std::find_if(config.queues.begin(), config.queues.end(),
                             [&](const QueueConfig& queue) { return queue.name == *wanted; });
  if (chosen == config.queues.end()) {
    std::vector<std::string> names;
    for (const QueueConfig& queue : config.queues) names.push_back(queue.name);
    const auto nearest = nearest_name(*wanted, names);
    fault(node->source(), "default_queue",
          fmt::format("there is no queue {}; {}", quote(*wanted),
                      nearest ? "did you mean " + *nearest + "?"
                              : fmt::format("this cluster has: {}", fmt::join(names, ", "))));
    return;
  }
  config.default_queue = *wanted;
  std::rotate(config.queues.begin(), chosen, chosen + 1);
}

void FileReader::read_factor(const toml::node& node, const std::string& key, double& into) {
  const auto value = node.value<double>();  // an integer, too
  if (value && *value > 1 && *value <= kMostEscalation) {
    into = *value;
  } else {
    fault(node.source(), key,
          fmt::format("expected a factor above 1, up to {}; found {}", kMostEscalation, describe(node)));
  }
}

// [retry] has exit classes and two factors, [exit_codes] has codes; a value is what stands behind '=' of a rule.
void FileReader::read_rules(const toml::node& node, const std::string& where) {
  const toml::table* table = node.as_table();
  if (table == nullptr) {
    return fault(node.source(), where, fmt::format("expected a table [{}], found {}", where, describe(node)));
  }
  const bool has_classes = where == "retry";
  for (auto&& [key, value] : *table) {
    const std::string name(key.str());
    const std::string shown = "[" + where + "] " + name;
    if (has_classes && name == "memory_headroom") {
      read_factor(value, shown, policy_.memory_headroom);
    } else if (has_classes && name == "exclude_node_after") {
      const auto count = value.value<std::int64_t>();
      if (!value.is_integer() || *count < 0 || *count > kMostNodeFailures) {
        fault(value.source(), shown,
              fmt::format("expected a number from 0 (never) to {}; found {}", kMostNodeFailures, describe(value)));
      } else {
        policy_.exclude_node_after = static_cast<std::uint32_t>(*count);
      }
    } else if (has_classes && name == "escalation_factor") {
      read_factor(value, shown, policy_.escalation_factor);
    } else if (!value.is_string() && !(has_classes && value.is_integer())) {
      fault(value.source(), shown,
            has_classes ? fmt::format("expected a number of further runs or a text such as \"3:10s:2\"; found {}",
                                      describe(value))
                        : fmt::format("expected \"retry\", \"fatal\" or \"defer\"; found {}", describe(value)));
    } else {
      const std::string text = value.is_string() ? **value.as_string() : std::to_string(**value.as_integer());
      auto rules = text.find(',') == std::string::npos
                       ? parse_retry_rules(name + "=" + text)
                       : fail(ErrorCode::fix_request, "one rule is expected here, and no comma");
      if (!rules) {
        fault(value.source(), shown, rules.error().message);
      } else if ((rules->classes.empty() && !rules->defer) == has_classes) {
        fault(value.source(), shown, has_classes ? "codes stand below [exit_codes]" : "classes stand below [retry]");
      } else if (!success_codes(*rules).empty()) {
        fault(value.source(), shown, "what is a success is said for a batch (allot run --retry) or a task");
      } else {
        policy_.rules = merged(policy_.rules, *rules);
      }
    }
  }
}

void FileReader::read_fallbacks(const toml::node& node, const ClusterConfig& config) {
  const toml::array* names = node.as_array();
  if (names == nullptr) {
    return fault(node.source(), "fallback_queues",
                 fmt::format("expected names of queues, such as [\"long\"]; found {}", describe(node)));
  }
  for (const toml::node& element : *names) {
    const auto name = read_text(element, "fallback_queues");
    if (!name) continue;
    const bool is_known =
        config.queues.empty() || std::any_of(config.queues.begin(), config.queues.end(),
                                             [&](const QueueConfig& queue) { return queue.name == *name; });
    auto& queues = policy_.fallback_queues;
    if (!is_known) {
      fault(element.source(), "fallback_queues", fmt::format("there is no queue {} in this file", quote(*name)));
    } else if (std::find(queues.begin(), queues.end(), *name) != queues.end()) {
      fault(element.source(), "fallback_queues", fmt::format("{} is named twice; remove one", quote(*name)));
    } else {
      queues.push_back(*name);
    }
  }
}

void FileReader::read_triage(const toml::node& node) {
  const toml::table* table = node.as_table();
  if (table == nullptr) {
    return fault(node.source(), "triage", fmt::format("expected a table [triage], found {}", describe(node)));
  }
  for (auto&& [key, value] : *table) {
    const std::string name(key.str());
    auto* const rule = name == "interval"   ? &policy_.triage.interval
                       : name == "patience" ? &policy_.triage.patience
                                            : nullptr;
    if (rule == nullptr) {
      unknown_key(key, "[triage] " + name, {"interval", "patience"});
    } else if (const auto length =
                   read_amount(value, "[triage] " + name, ParameterType::duration, kShortestTriage, kLongestTriage)) {
      *rule = std::chrono::milliseconds(*length);
    }
  }
}

void FileReader::read_policy(const toml::table& root, const ClusterConfig& config) {
  for (const char* where : {"retry", "exit_codes"}) {
    if (const toml::node* node = root.get(where)) read_rules(*node, where);
  }
  if (const toml::node* node = root.get("max_running")) {
    if (const auto most = read_amount(*node, "max_running", ParameterType::integer, 1, kMaxCount)) {
      policy_.max_running = static_cast<std::uint32_t>(*most);
    }
  }
  if (const toml::node* node = root.get("fallback_queues")) read_fallbacks(*node, config);
  if (const toml::node* node = root.get("triage")) read_triage(*node);
}

std::optional<std::string> FileReader::read_plugin(const toml::table& root) {
  const toml::node* node = root.get("plugin");
  if (node == nullptr) {
    fault({}, "plugin", "this key is missing; say which plugin runs the tasks, such as plugin = \"multiprocess\"");
    return std::nullopt;
  }
  auto name = read_text(*node, "plugin");
  if (name && name->empty()) {
    fault(node->source(), "plugin", "the name is empty; write one such as \"multiprocess\"");
    return std::nullopt;
  }
  return name;
}

ClusterConfig FileReader::read(const toml::table& root) {
  ClusterConfig config;
  config.source = path_;
  if (auto plugin = read_plugin(root)) config.plugin = std::move(*plugin);
  for (auto&& [key, node] : root) {
    const std::string name(key.str());
    if (std::find(kTopKeys.begin(), kTopKeys.end(), name) != kTopKeys.end()) continue;
    if (std::any_of(specs_.begin(), specs_.end(), [&](const ParameterSpec& s) { return s.name == name; })) {
      fault(key.source(), name, "this key is a parameter of the plugin; put it below [parameters]");
    } else if (std::find(kQueueKeys.begin(), kQueueKeys.end(), name) != kQueueKeys.end()) {
      fault(key.source(), name, "this key belongs to a queue; put it below [[queue]]");
    } else {
      unknown_key(key, name, kTopKeys);
    }
  }
  if (const toml::node* node = root.get("description"))
    config.description = read_text(*node, "description").value_or("");
  if (const toml::node* node = root.get("parameters")) {
    if (const toml::table* table = node->as_table()) {
      read_parameters(*table, config);
    } else {
      fault(node->source(), "parameters", fmt::format("expected a table [parameters], found {}", describe(*node)));
    }
  }
  if (const toml::node* node = root.get("queue")) read_queues(*node, config);
  if (root.get("queue") == nullptr || root.get("queue")->is_array()) choose_default_queue(root, config);
  read_policy(root, config);
  return config;
}

Result<toml::table> parse(const std::string& path) {
  auto text = read_file(path, kMaxFileBytes);
  if (!text) return fail(text.error().with_context("the cluster's configuration cannot be read"));
  try {
    return toml::parse(*text, path);
  } catch (const toml::parse_error& error) {
    const auto& where = error.source().begin;
    return fail(ErrorCode::fix_request,
                fmt::format("{}:{}:{}: not TOML: {}", path, where.line, where.column, error.description()));
  }
}

}  // namespace

Result<std::string> read_plugin_name(const std::string& path) {
  auto root = parse(path);
  if (!root) return fail(root.error());
  const std::vector<ParameterSpec> no_specs;
  FileReader reader(path, no_specs);
  auto name = reader.read_plugin(*root);
  if (auto error = reader.error()) return fail(*error);
  return *name;
}

Result<ClusterConfig> read_cluster_config(const std::string& path, const std::vector<ParameterSpec>& plugin_specs,
                                          RetryPolicy* policy) {
  auto root = parse(path);
  if (!root) return fail(root.error());
  FileReader reader(path, plugin_specs);
  ClusterConfig config = reader.read(*root);
  config.name = boost::filesystem::path(path).stem().string();
  if (auto error = reader.error()) return fail(*error);
  if (policy != nullptr) *policy = std::move(reader.policy());
  return config;
}

}  // namespace allot
