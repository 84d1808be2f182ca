// SPDX-License-Identifier: MIT
#include "cli/summary.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include <fmt/format.h>

#include "cli/console.h"
#include "engine/batch_home.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

constexpr std::size_t kCommandCharacters = 90;
constexpr std::size_t kTailLines = 5;
constexpr std::size_t kTailCharacters = 200;

std::string headline(const BatchResult& result) {
  const BatchProgress& progress = result.progress;
  std::string text = fmt::format("{}: {} done", plural(progress.total, "task"), progress.done);
  if (progress.failed > 0) text += fmt::format(", {} failed", progress.failed);
  if (progress.abandoned > 0)
    text += fmt::format(", {} abandoned (a task that they wait for did not end as they need)", progress.abandoned);
  const std::uint64_t open = progress.total - progress.ended() - result.unknown;
  if (open > 0) text += fmt::format(", {} not ended", open);
  if (result.unknown > 0) text += fmt::format(", {} of unknown fate", result.unknown);
  text += fmt::format(", in {}", seconds_text(result.wall_seconds));
  if (result.stop_requests > 0) text += "; cancelled";
  return text + "\n";
}

std::string failures_text(const BatchResult& result, const CommandLookup& command) {
  const auto& failures = result.highlights.failures();
  if (failures.empty()) return "";
  const std::uint64_t all = result.progress.failed - result.by_class[static_cast<std::size_t>(ExitClass::killed)];
  std::string text =
      all > failures.size() ? fmt::format("first {} of {} failures:\n", failures.size(), all) : "failures:\n";
  for (const auto& [step, info] : failures) {
    text +=
        fmt::format("  step {}: {}: {}\n", step, describe(info), shorten(printable(command(step)), kCommandCharacters));
    text += tail_lines(info.text, "    | ");
  }
  return text;
}

std::string next_commands(const BatchResult& result, const std::string& batch_path) {
  const std::string name = shown_name(batch_path);
  std::string text = "batch: " + printable(batch_path) + "\n";
  text += "next:  allot status " + name + " --tasks\n       allot output " + name + "\n";
  const bool can_resume = result.progress.ended() < result.progress.total || result.stop_requests > 0 || result.trouble;
  if (can_resume && !result.all_done()) text += "       allot resume " + name + "\n";
  return text;
}

}  // namespace

std::string tail_lines(const std::string& text, const std::string& margin) {
  std::vector<std::string> lines;
  std::size_t end = text.find_last_not_of("\r\n");
  if (end == std::string::npos) return "";
  ++end;
  while (lines.size() < kTailLines && end > 0) {
    const std::size_t begin = text.rfind('\n', end - 1);
    const std::size_t from = begin == std::string::npos || begin >= end ? 0 : begin + 1;
    lines.push_back(margin + shorten(printable(text.substr(from, end - from)), kTailCharacters) + "\n");
    if (from == 0) break;
    end = from - 1;
  }
  std::string tail;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) tail += *line;
  return tail;
}

std::string shown_name(const std::string& batch_path) {
  const auto home = batch_home();
  if (home && batch_path.starts_with(*home + "/")) {
    std::string id = batch_path.substr(home->size() + 1);
    if (id.find('/') == std::string::npos) return id;
  }
  return shell_word(batch_path);
}

std::string incomplete_outputs_text(std::uint64_t count) {
  if (count == 0) return "";
  return fmt::format("the output of {} could not be kept whole; allot output tells which\n", plural(count, "task"));
}

std::string summary_text(const BatchResult& result, const std::string& batch_path, const CommandLookup& command) {
  std::string text = headline(result);
  if (result.progress.failed > 0) {
    for (std::size_t i = 0; i < result.by_class.size(); ++i) {
      if (result.by_class[i] > 0) {
        text += fmt::format("  {:<15}{:>9}\n", to_string(static_cast<ExitClass>(i)), result.by_class[i]);
      }
    }
  }
  text += incomplete_outputs_text(result.incomplete_outputs);
  if (result.progress.total > 1) {
    for (const auto& entry : result.highlights.slowest()) {
      text += fmt::format("{:<9}{:>10}  step {}: {}\n", &entry == result.highlights.slowest().data() ? "slowest:" : "",
                          seconds_text(entry.value), entry.step,
                          shorten(printable(command(entry.step)), kCommandCharacters));
    }
    for (const auto& entry : result.highlights.biggest()) {
      text += fmt::format("{:<9}{:>10}  step {}: {}\n", &entry == result.highlights.biggest().data() ? "biggest:" : "",
                          format_size_rounded(static_cast<std::uint64_t>(entry.value)), entry.step,
                          shorten(printable(command(entry.step)), kCommandCharacters));
    }
  }
  return text + failures_text(result, command) + next_commands(result, batch_path);
}

namespace {
std::string result_json(nlohmann::ordered_json json, const BatchResult& result) {
  json["tasks"] = result.progress.total;
  json["done"] = result.progress.done;
  json["failed"] = result.progress.failed;
  json["abandoned"] = result.progress.abandoned;
  json["unfinished"] = result.progress.total - result.progress.ended();
  auto& by_class = json["by_class"] = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < result.by_class.size(); ++i) {
    by_class[std::string(to_string(static_cast<ExitClass>(i)))] = result.by_class[i];
  }
  json["incomplete_outputs"] = result.incomplete_outputs;
  json["wall_seconds"] = result.wall_seconds;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}
}  // namespace

std::string summary_json(const BatchResult& result, const std::string& batch_path) {
  nlohmann::ordered_json json;
  json["batch"] = batch_path;
  if (!is_utf8(batch_path)) json["batch_base64"] = base64(batch_path);
  return result_json(std::move(json), result);
}

std::string empty_summary_json() {
  nlohmann::ordered_json json;
  json["batch"] = nullptr;
  return result_json(std::move(json), BatchResult{});
}

}  // namespace allot::cli
