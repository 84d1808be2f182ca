// SPDX-License-Identifier: MIT
#include "cli/task_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/console.h"
#include "cli/json_values.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

bool has_ended(const FoldedTask& task) {
  return task.state == TaskState::done || task.state == TaskState::failed;
}

}  // namespace

Json task_json(const TaskDetail& detail, const TaskSpec& spec) {
  const bool ended = has_ended(detail.folded);
  const std::string command = spec.command_text();
  Json json;
  json["step"] = detail.step;
  json["name"] = text_or_null(spec.name);
  json["command"] = command;
  if (!is_utf8(command)) json["command_base64"] = base64(command);
  json["state"] = to_string(detail.folded.state);
  json["exit_class"] = ended ? Json(to_string(detail.exit_info.exit_class)) : Json(nullptr);
  json["exit_code"] = ended ? known(detail.exit_info.exit_code) : Json(nullptr);
  json["signal"] = ended ? known(detail.exit_info.signal) : Json(nullptr);
  json["attempt"] = detail.folded.attempts;
  json["distributor_id"] = text_or_null(detail.distributor_id);
  json["node"] = text_or_null(detail.node);
  json["started"] = time_or_null(detail.started_ns);
  json["ended"] = time_or_null(detail.ended_ns);
  json["wall_seconds"] = known(detail.usage.wall_seconds);
  json["user_seconds"] = known(detail.usage.user_seconds);
  json["system_seconds"] = known(detail.usage.system_seconds);
  json["max_rss_bytes"] = known(detail.usage.max_rss_bytes);
  json["tree_peak_bytes"] = known(detail.usage.tree_peak_bytes);
  json["read_bytes"] = known(detail.usage.read_bytes);
  json["write_bytes"] = known(detail.usage.write_bytes);
  json["cores"] = known(detail.usage.cores);
  json["energy_joules"] = known(detail.usage.energy_joules);
  json["usage_source"] = source_json(detail.usage);
  json["leftover_processes"] =
      detail.folded.end_kind == EndKind::finished ? Json(detail.leftover_processes) : Json(nullptr);
  json["output_incomplete"] = ended ? Json(detail.folded.output_incomplete) : Json(nullptr);
  json["text"] =
      ended || detail.folded.state == TaskState::abandoned ? text_or_null(detail.exit_info.text) : Json(nullptr);
  json["evidence"] = detail.evidence;
  // The text of these classes is evidence; of a command that ran it is the end of its stderr.
  const ExitClass exit_class = detail.exit_info.exit_class;
  const bool has_run =
      exit_class == ExitClass::done || exit_class == ExitClass::error || exit_class == ExitClass::signaled;
  const std::string& text = detail.exit_info.text;
  const bool is_told = std::any_of(detail.evidence.begin(), detail.evidence.end(),
                                   [&](const auto& line) { return line.find(text) != std::string::npos; });
  if (ended && !has_run && !is_told) json["evidence"].push_back(text);
  json["source_line"] = spec.source_line == 0 ? Json(nullptr) : Json(spec.source_line);
  return json;
}

std::string one_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string task_heading() {
  return fmt::format("{:>8}  {:<9} {:<15} {:>3} {:>10} {:>10}  {}\n", "STEP", "STATE", "END", "RUN", "WALL", "MAX RSS",
                     "COMMAND");
}

std::string task_line(const TaskDetail& detail, const TaskSpec& spec) {
  constexpr std::size_t kCommandCharacters = 200;
  std::string end = "-";
  if (has_ended(detail.folded)) {
    end = to_string(detail.exit_info.exit_class);
    if (detail.exit_info.exit_class == ExitClass::error && detail.exit_info.exit_code) {
      end += fmt::format(" ({})", *detail.exit_info.exit_code);
    } else if (detail.exit_info.exit_class == ExitClass::signaled && detail.exit_info.signal) {
      end += fmt::format(" ({})", *detail.exit_info.signal);
    }
  }
  const auto& usage = detail.usage;
  return fmt::format("{:>8}  {:<9} {:<15} {:>3} {:>10} {:>10}  {}\n", detail.step, to_string(detail.folded.state), end,
                     detail.folded.attempts == 0 ? "-" : std::to_string(detail.folded.attempts),
                     usage.wall_seconds ? seconds_text(*usage.wall_seconds) : "-",
                     usage.max_rss_bytes ? format_size_rounded(*usage.max_rss_bytes) : "-",
                     (has_ended(detail.folded) && detail.folded.output_incomplete ? "[output incomplete] " : "") +
                         shorten(printable(spec.command_text()), kCommandCharacters));
}

}  // namespace allot::cli
