// SPDX-License-Identifier: MIT
#include "cli/status_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/driver_watch.h"
#include "cli/summary.h"
#include "cli/task_report.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kStates = {TaskState::waiting, TaskState::queued, TaskState::running,
                                TaskState::done,    TaskState::failed, TaskState::abandoned};
constexpr std::size_t kMostListed = 10;
constexpr std::size_t kCommandCharacters = 90;
// Stands for a task whose row is damaged.
const TaskSpec kUnreadable = [] {
  TaskSpec spec;
  spec.shell_line = "?";
  return spec;
}();

template <class T>
bool holds(const std::vector<T>& wanted, T value) {
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

}  // namespace

std::optional<TaskState> task_state_from_string(std::string_view name) {
  for (const TaskState state : kStates) {
    if (allot::to_string(state) == name) return state;
  }
  return std::nullopt;
}

bool TaskFilter::matches(std::uint64_t step, const FoldedTask& task) const {
  if (steps && !steps->contains(step)) return false;
  if (!holds(states, task.state)) return false;
  const bool has_class = task.state == TaskState::done || task.state == TaskState::failed;
  return classes.empty() || (has_class && holds(classes, task.exit_class));
}

Json StatusReport::json() const {
  Json json;
  json["batch"] = batch_.path();
  if (!is_utf8(batch_.path())) json["batch_base64"] = base64(batch_.path());
  json["id"] = batch_.info().batch_id;
  json["name"] = batch_.info().name;
  json["cluster"] = batch_.info().cluster;
  json["created"] = time_text(batch_.info().created_ns);
  json["tasks"] = fold_.size();
  auto& states = json["states"] = Json::object();
  for (const TaskState state : kStates) states[std::string(allot::to_string(state))] = fold_.count(state);
  auto& classes = json["by_class"] = Json::object();
  const auto counts = by_class();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    classes[std::string(allot::to_string(static_cast<ExitClass>(i)))] = counts[i];
  }
  json["held"] = fold_.held();
  json["incomplete_outputs"] = incomplete_outputs();
  json["driver"] = driver_json(holder_);
  json["damage"] = fold_.damage();
  return json;
}

Result<std::string> StatusReport::text() {
  const BatchInfo& info = batch_.info();
  std::string text = fmt::format("batch {}{} on cluster {}, made {}\n", info.batch_id,
                                 info.name.empty() ? "" : " \"" + printable(info.name) + "\"", info.cluster,
                                 time_text(info.created_ns));
  text += "  " + printable(batch_.path()) + "\n" + driver_text();
  text += plural(fold_.size(), "task") + ":";
  for (const TaskState state : kStates) {
    if (fold_.count(state) > 0) text += fmt::format(" {} {}", fold_.count(state), allot::to_string(state));
  }
  if (fold_.held() > 0) text += fmt::format(" ({} held)", fold_.held());
  text += "\n";
  const auto counts = by_class();
  if (fold_.count(TaskState::failed) > 0) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) text += fmt::format("  {:<15}{:>9}\n", allot::to_string(static_cast<ExitClass>(i)), counts[i]);
    }
  }
  text += incomplete_outputs_text(incomplete_outputs());
  auto running = list(TaskState::running, false);
  if (!running) return running;
  auto failed = list(TaskState::failed, true);
  if (!failed) return failed;
  text += *running + *failed;
  for (std::size_t i = 0; i < fold_.damage().size() && i < kMostListed; ++i)
    text += "damage: " + fold_.damage()[i] + "\n";
  return text;
}

std::optional<std::string> StatusReport::unreadable_rows() const {
  if (unreadable_ == 0) return std::nullopt;
  return unreadable_ == 1 ? first_unreadable_ : fmt::format("{} (and {} more)", first_unreadable_, unreadable_ - 1);
}

Result<void> StatusReport::tasks(StandardOutput& out, bool as_json, const TaskFilter& filter) {
  if (!as_json) out.write(task_heading());
  for (std::uint64_t step = 0; step < fold_.size() && !out.is_closed(); ++step) {
    if (!filter.matches(step, fold_.task(step))) continue;
    const TaskSpec* spec = row(step);
    if (!filter.name.empty() && (spec == nullptr || spec->name.find(filter.name) == std::string::npos)) continue;
    auto detail = details_.detail(step);
    if (!detail) return fail(std::move(detail.error()));
    Json json = as_json ? task_json(*detail, spec != nullptr ? *spec : kUnreadable) : Json();
    if (as_json && spec == nullptr) json["name"] = json["command"] = nullptr;
    out.write(as_json ? one_line(json) : task_line(*detail, spec != nullptr ? *spec : kUnreadable));
  }
  return {};
}

std::array<std::uint64_t, kExitClassCount> StatusReport::by_class() const {
  std::array<std::uint64_t, kExitClassCount> counts{};
  for (std::uint64_t step = 0; step < fold_.size(); ++step) {
    const FoldedTask& task = fold_.task(step);
    if (task.state != TaskState::done && task.state != TaskState::failed) continue;
    const auto index = static_cast<std::size_t>(task.exit_class);
    if (index < counts.size()) ++counts[index];
  }
  return counts;
}

std::uint64_t StatusReport::incomplete_outputs() const {
  std::uint64_t count = 0;
  for (std::uint64_t step = 0; step < fold_.size(); ++step) count += fold_.task(step).output_incomplete ? 1 : 0;
  return count;
}

std::string StatusReport::driver_text() const {
  const std::string resume = "; " + resume_text(batch_, holder_) + "\n";
  const bool is_open =
      fold_.count(TaskState::done) + fold_.count(TaskState::failed) + fold_.count(TaskState::abandoned) < fold_.size();
  const std::string who = holder_.driver ? describe(*holder_.driver) : "";
  switch (holder_.state) {
    case Holder::State::none:
      return "  never driven: its tasks were not read to the end\n";
    case Holder::State::left:
      if (const auto script = script_text(batch_, holder_)) return "  " + (is_open ? resume.substr(2) : *script + "\n");
      return is_open ? "  its driver has left before the end" + resume : "  its driver has left in order\n";
    case Holder::State::waiting:
      return "  " + waiting_text(batch_, holder_) + "\n";
    case Holder::State::alive:
      return "  driven by " + who + "\n";
    case Holder::State::gone:
      return "  its driver (" + who + ") is gone" + (is_open ? resume : "\n");
    case Holder::State::elsewhere:
      break;
  }
  return "  driven by " + who + ", which cannot be seen from here\n";
}

Result<std::string> StatusReport::list(TaskState state, bool with_text) {
  std::string text;
  std::size_t listed = 0;
  for (std::uint64_t step = 0; step < fold_.size() && listed < kMostListed; ++step) {
    if (fold_.task(step).state != state || (with_text && fold_.task(step).exit_class == ExitClass::killed)) continue;
    ++listed;
    auto detail = details_.detail(step);
    if (!detail) return fail(std::move(detail.error()));
    const TaskSpec* spec = row(step);
    const std::string what =
        state == TaskState::running ? "since " + time_text(detail->started_ns) : allot::describe(detail->exit_info);
    if (listed == 1) text += fmt::format("{} (the first ones):\n", allot::to_string(state));
    text += fmt::format("  step {}: {}: {}\n", step, what,
                        shorten(printable((spec != nullptr ? *spec : kUnreadable).command_text()), kCommandCharacters));
    if (with_text) text += tail_lines(detail->exit_info.text, "    | ");
  }
  return text;
}

const TaskSpec* StatusReport::row(std::uint64_t step) {
  auto row = table_.row(step);
  if (row) return *row;
  if (unreadable_++ == 0) first_unreadable_ = row.error().message;
  return nullptr;
}

}  // namespace allot::cli
