// SPDX-License-Identifier: MIT
#include "cli/resources_report.h"

#include "cli/console.h"
#include "cli/json_values.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

nlohmann::ordered_json resources_json(const RequestedResources& resources) {
  Json json;
  json["cores"] = known(resources.cores);
  json["memory_bytes"] = known(resources.memory_bytes);
  json["runtime_seconds"] = resources.runtime_milliseconds
                                ? Json(static_cast<double>(*resources.runtime_milliseconds) / 1000)
                                : Json(nullptr);
  json["gpus"] = known(resources.gpus);
  json["ranks"] = known(resources.ranks);
  json["nodes"] = known(resources.nodes);
  json["account"] = text_or_null(resources.account);
  json["constraint"] = text_or_null(resources.constraint);
  auto& options = json["options"] = Json::object();
  for (const auto& [key, value] : resources.pass_through) options[key] = value;
  return json;
}

std::string resources_text(const RequestedResources& resources) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += ", " + part; };
  if (resources.cores) add(plural(*resources.cores, "core"));
  if (resources.memory_bytes) add("memory " + format_size(*resources.memory_bytes));
  if (resources.runtime_milliseconds) add("runtime " + format_duration(*resources.runtime_milliseconds));
  if (resources.gpus) add(plural(*resources.gpus, "gpu"));
  if (resources.ranks) add(plural(*resources.ranks, "rank"));
  if (resources.nodes) add(plural(*resources.nodes, "node"));
  if (!resources.account.empty()) add("account " + printable(resources.account));
  if (!resources.constraint.empty()) add("constraint " + printable(resources.constraint));
  for (const auto& [key, value] : resources.pass_through) add(printable(key) + "=" + printable(value));
  return text;
}

}  // namespace allot::cli
