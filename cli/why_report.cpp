// SPDX-License-Identifier: MIT
// Everything about one task: allot status --why.
#include <fmt/format.h>

#include "cli/driver_watch.h"
#include "cli/json_values.h"
#include "cli/resources_report.h"
#include "cli/status_report.h"
#include "cli/summary.h"
#include "cli/task_report.h"
#include "engine/dependency_graph.h"
#include "engine/driver_log.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

const TaskSpec kNotReadable = [] {
  TaskSpec spec;
  spec.shell_line = "?";
  return spec;
}();

bool has_ended(TaskState state) {
  return state == TaskState::done || state == TaskState::failed || state == TaskState::abandoned;
}

Json asked_json(const RequestedResources& resources) {
  Json json = resources_json(resources);
  json["queue"] = text_or_null(resources.queue);
  return json;
}

std::string asked_text(const RequestedResources& resources) {
  std::string text = resources_text(resources);
  if (!resources.queue.empty()) text += ", queue " + printable(resources.queue);
  return text.empty() ? "none asked for" : text.substr(2);
}

// What its next run asks for, or its latest one did.
RequestedResources resources_of(const TaskDetail& detail, const TaskHistory& history, const TaskSpec& spec,
                                const RequestedResources& defaults) {
  const TaskRun* latest = history.runs.empty() ? nullptr : &history.runs.back();
  if (latest != nullptr && detail.folded.is_retry_due && latest->retry) return latest->retry->resources;
  if (latest != nullptr && latest->submitted_ns != 0) return latest->resources;
  RequestedResources asked = spec.resources;
  if (!asked.cores) asked.cores = defaults.cores;
  if (!asked.memory_bytes) asked.memory_bytes = defaults.memory_bytes;
  if (!asked.runtime_milliseconds) asked.runtime_milliseconds = defaults.runtime_milliseconds;
  if (!asked.gpus) asked.gpus = defaults.gpus;
  if (!asked.ranks) asked.ranks = defaults.ranks;
  if (!asked.nodes) asked.nodes = defaults.nodes;
  if (asked.queue.empty()) asked.queue = defaults.queue;
  if (asked.account.empty()) asked.account = defaults.account;
  if (asked.constraint.empty()) asked.constraint = defaults.constraint;
  if (asked.pass_through.empty()) asked.pass_through = defaults.pass_through;
  return asked;
}

std::string run_heading(const TaskRun& run) {
  std::string text = run.number > 0 ? fmt::format("run {}", run.number) : std::string("not started");
  if (!run.distributor_id.empty()) text += ", " + run.distributor_id;
  if (!run.node.empty()) text += " on " + printable(run.node);
  return text + ":\n";
}

std::string run_text(const TaskRun& run) {
  std::string text = "  " + run_heading(run);
  if (run.submitted_ns != 0) text += "    submitted " + time_text(run.submitted_ns) + "\n";
  if (run.started_ns != 0) text += "    started   " + time_text(run.started_ns) + "\n";
  if (run.ended_ns != 0) text += "    ended     " + time_text(run.ended_ns) + "\n";
  text += "    " + (run.end ? allot::describe(*run.end) : std::string("no end is recorded")) + "\n";
  if (run.usage.wall_seconds) {
    text += "    wall " + seconds_text(*run.usage.wall_seconds);
    if (run.usage.user_seconds) text += ", user " + seconds_text(*run.usage.user_seconds);
    if (run.usage.system_seconds) text += ", system " + seconds_text(*run.usage.system_seconds);
    if (run.usage.max_rss_bytes) text += ", max RSS " + format_size_rounded(*run.usage.max_rss_bytes);
    // The accounting knows the tree's alone.
    if (!run.usage.max_rss_bytes && run.usage.tree_peak_bytes)
      text += ", peak " + format_size_rounded(*run.usage.tree_peak_bytes);
    if (run.usage.energy_joules) text += ", " + std::to_string(*run.usage.energy_joules) + " J";
    if (run.usage.source == UsageSource::accounting) text += " (of its whole job, by the scheduler's accounting)";
    text += "\n";
  }
  for (const auto& line : run.evidence) text += "    - " + printable(line) + "\n";
  if (run.end && !run.end->text.empty()) text += "    it left this text:\n" + tail_lines(run.end->text, "      | ");
  return text;
}

Json run_json(const TaskRun& run) {
  Json json;
  json["run"] = run.number > 0 ? Json(run.number) : Json(nullptr);
  json["submission"] = run.key.submission;
  json["restart"] = run.key.restart;
  json["distributor_id"] = text_or_null(run.distributor_id);
  json["node"] = text_or_null(run.node);
  json["submitted"] = time_or_null(run.submitted_ns);
  json["started"] = time_or_null(run.started_ns);
  json["ended"] = time_or_null(run.ended_ns);
  json["exit_class"] = run.end ? Json(to_string(run.end->exit_class)) : Json(nullptr);
  json["exit_code"] = run.end && run.end->exit_code ? Json(*run.end->exit_code) : Json(nullptr);
  json["signal"] = run.end && run.end->signal ? Json(*run.end->signal) : Json(nullptr);
  json["wall_seconds"] = run.usage.wall_seconds ? Json(*run.usage.wall_seconds) : Json(nullptr);
  json["max_rss_bytes"] = run.usage.max_rss_bytes ? Json(*run.usage.max_rss_bytes) : Json(nullptr);
  json["usage_source"] = source_json(run.usage);
  json["resources"] = run.submitted_ns != 0 ? asked_json(run.resources) : Json(nullptr);
  json["text"] = run.end ? text_or_null(run.end->text) : Json(nullptr);
  json["evidence"] = run.evidence;
  Json& retry = json["retry"];
  if (!run.retry) return json;
  retry["because"] = to_string(run.retry->because);
  retry["number"] = run.retry->retry == kRetryOnRequest ? Json(nullptr) : Json(run.retry->retry);
  retry["reason"] = run.retry->reason;
  retry["decided"] = time_or_null(run.retry->at_ns);
  retry["not_before"] = time_or_null(run.retry->not_before_ns);
  retry["resources"] = asked_json(run.retry->resources);
  return json;
}

}  // namespace

// What it has added and waits for, in a clause.
std::string StatusReport::open_additions(const TaskDetail& detail) const {
  if (!detail.folded.is_again_due || detail.folded.state != TaskState::waiting) return "";
  std::uint64_t count = 0, open = 0;
  for (const AddedRecord& added : fold_.additions()) {
    const bool is_its = added.parent.step == detail.step && added.parent.submission == detail.folded.submission;
    if (!is_its || !added.again) continue;
    for (std::uint64_t step = added.first_step; step < std::uint64_t{added.first_step} + added.count; ++step) {
      ++count;
      if (step < fold_.size() && !has_ended(fold_.task(step).state)) ++open;
    }
  }
  return fmt::format("it runs again when the {} that it has added {} ended ({} left)", plural(count, "task"),
                     count == 1 ? "has" : "have", open);
}

std::optional<std::uint32_t> StatusReport::added_by(std::uint64_t step) const {
  for (const AddedRecord& added : fold_.additions()) {
    if (step >= added.first_step && step - added.first_step < added.count) return added.parent.step;
  }
  return std::nullopt;
}

std::string StatusReport::reason_of_waiting(const TaskDetail& detail, const TaskSpec& spec) const {
  const FoldedTask& task = detail.folded;
  if (task.state != TaskState::waiting && task.state != TaskState::queued) return "";
  std::string text;
  const auto add = [&text](const std::string& reason) { text += (text.empty() ? "" : ", and ") + reason; };
  if (task.is_held) add("it is held (allot release lets it go)");
  std::uint64_t open = 0, never = 0;
  for (const Dependency& on : spec.after) {
    const bool is_known = on.step < fold_.size();
    const TaskState state = is_known ? fold_.task(on.step).state : TaskState::waiting;
    if (!has_ended(state)) {
      ++open;
    } else if (judge_dependency(on.kind, state == TaskState::done) == DependencyVerdict::never) {
      ++never;
    }
  }
  if (open > 0) add(fmt::format("it waits for {} of the tasks that it is to run after", open));
  if (never > 0) add(fmt::format("{} did not end as it needs", plural(never, "task")));
  if (const std::string added = open_additions(detail); !added.empty()) add(added);
  if (task.is_retry_due && detail.retry && detail.retry->not_before_ns > unix_nanoseconds()) {
    add("it runs again after " + time_text(detail.retry->not_before_ns));
  }
  if (spec.begin_ns > unix_nanoseconds()) add("it is not to start before " + time_text(spec.begin_ns));
  if (batch_.info().begin_ns > unix_nanoseconds()) {
    add("nothing of the batch begins before " + time_text(batch_.info().begin_ns));
  }
  const std::string name = shown_name(batch_.path());
  switch (holder_.state) {
    case Holder::State::none:
      add("the batch was never driven");
      break;
    case Holder::State::left:
    case Holder::State::gone:
      add("nobody drives the batch: " + resume_text(batch_, holder_));
      break;
    case Holder::State::waiting:
      add("as for the batch, " + waiting_text(batch_, holder_));
      break;
    case Holder::State::alive:
    case Holder::State::elsewhere:
      if (!text.empty()) break;
      add(fmt::format("{}; allot explain {} --steps {} asks its driver",
                      task.state == TaskState::queued ? "it is with the cluster, and waits for its turn"
                                                      : "its driver has not submitted it yet",
                      name, detail.step));
      break;
  }
  return text;
}

Result<Json> StatusReport::why_json(std::uint64_t step) {
  auto detail = details_.detail(step);
  if (!detail) return fail(std::move(detail.error()));
  auto history = details_.history(step);
  if (!history) return fail(std::move(history.error()));
  const TaskSpec* row_spec = row(step);
  const TaskSpec& spec = row_spec != nullptr ? *row_spec : kNotReadable;
  Json json = task_json(*detail, spec);
  if (row_spec == nullptr) json["name"] = json["command"] = nullptr;
  json["cwd"] = spec.cwd.empty() ? batch_.info().cwd : spec.cwd;
  json["resources"] = asked_json(resources_of(*detail, *history, spec, batch_.info().default_resources));
  json["waits"] = text_or_null(reason_of_waiting(*detail, spec));
  json["begin"] = time_or_null(spec.begin_ns);
  json["held"] = detail->folded.is_held;
  const auto parent = added_by(step);
  json["added_by"] = parent ? Json(*parent) : Json(nullptr);
  Json& after = json["after"] = Json::array();
  for (const Dependency& on : spec.after) {
    Json one;
    one["step"] = on.step;
    one["when"] = to_string(on.kind);
    one["state"] = on.step < fold_.size() ? Json(to_string(fold_.task(on.step).state)) : Json(nullptr);
    after.push_back(std::move(one));
  }
  Json& runs = json["runs"] = Json::array();
  for (const TaskRun& run : history->runs) runs.push_back(run_json(run));
  json["abandoned_because"] = history->abandonment;
  json["notes"] = history->notes;
  return json;
}

Result<std::string> StatusReport::why_text(std::uint64_t step) {
  auto detail = details_.detail(step);
  if (!detail) return fail(std::move(detail.error()));
  auto history = details_.history(step);
  if (!history) return fail(std::move(history.error()));
  const TaskSpec* row_spec = row(step);
  const TaskSpec& spec = row_spec != nullptr ? *row_spec : kNotReadable;
  const TaskState state = detail->folded.state;
  std::string text = fmt::format("step {} of batch {}: {}", step, batch_.info().batch_id, to_string(state));
  if (state == TaskState::done || state == TaskState::failed) text += ": " + allot::describe(detail->exit_info);
  text += "\n";
  if (!spec.name.empty()) text += "  name: " + printable(spec.name) + "\n";
  text += "  command: " + printable(spec.command_text()) + "\n";
  text += "  in: " + printable(spec.cwd.empty() ? batch_.info().cwd : spec.cwd) + "\n";
  text += "  resources: " + asked_text(resources_of(*detail, *history, spec, batch_.info().default_resources)) + "\n";
  if (spec.source_line > 0) text += fmt::format("  line {} of the input\n", spec.source_line);
  if (const auto parent = added_by(step)) text += fmt::format("  added by step {}\n", *parent);
  if (spec.begin_ns != 0) text += "  not before " + time_text(spec.begin_ns) + "\n";
  for (const Dependency& on : spec.after) {
    text += fmt::format("  after step {} ({}), which is {}\n", on.step, to_string(on.kind),
                        on.step < fold_.size() ? to_string(fold_.task(on.step).state) : "missing");
  }
  const std::string waits = reason_of_waiting(*detail, spec);
  if (!waits.empty()) text += "  not started: " + printable(waits) + "\n";
  for (const auto& line : history->abandonment) text += "  " + printable(line) + "\n";
  for (const TaskRun& run : history->runs) text += run_text(run);
  for (const auto& note : history->notes) text += "  " + printable(note) + "\n";
  return text;
}

}  // namespace allot::cli
