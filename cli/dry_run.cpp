// SPDX-License-Identifier: MIT
#include "cli/dry_run.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/console.h"
#include "cli/json_values.h"
#include "cli/resources_report.h"
#include "engine/array_split.h"
#include "engine/driver_log.h"
#include "engine/queue_choice.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostSubmissions = 20;
constexpr std::size_t kMostCommands = 3;
constexpr std::size_t kMostRanges = 5;
constexpr std::size_t kCommandCharacters = 90;

std::string_view to_string(SubmitTime time) {
  switch (time) {
    case SubmitTime::at_once:
      return "at_once";
    case SubmitTime::later:
      return "later";
    case SubmitTime::at_begin:
      return "at_begin";
    case SubmitTime::after_others:
      break;
  }
  return "after_others";
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// An object whose last member is a list that is written element by element.
std::string opened(const Json& members, const char* list) {
  std::string text = dumped(members);
  text.pop_back();
  return text + ",\"" + list + "\":[";
}

std::string steps_text(const StepRanges& steps) {
  std::string text = steps.size() == 1 ? "step " : "steps ";
  for (std::size_t i = 0; i < steps.ranges().size(); ++i) {
    if (i == kMostRanges) return text + " ...";
    const StepRange& range = steps.ranges()[i];
    text += (i == 0 ? "" : " ") + std::to_string(range.first);
    if (range.count > 1) text += "-" + std::to_string(range.first + range.count - 1);
  }
  return text;
}

constexpr std::array kTimes = {SubmitTime::at_once, SubmitTime::later, SubmitTime::at_begin, SubmitTime::after_others};

// "after 3 (any), 4"; a task that waits for many names the first ones.
std::string after_text(const TaskSpec& task) {
  std::string text;
  for (std::size_t i = 0; i < task.after.size(); ++i) {
    if (i == kMostRanges) return text + ", ...";
    text += (i == 0 ? "after " : ", ") + std::to_string(task.after[i].step);
    if (task.after[i].kind != DependencyKind::after_ok) text += fmt::format(" ({})", to_string(task.after[i].kind));
  }
  return text;
}

// Tasks by SubmitTime.
using TimeCounts = std::array<std::uint64_t, 4>;

// All but the list of submissions.
Json head_json(const ClusterParts& parts, const DryRunOptions& options, std::uint64_t tasks, const TimeCounts& counts,
               std::uint64_t refused, std::uint64_t submissions_not_shown) {
  Json json;
  json["cluster"] = parts.distributor->cluster_name();
  json["tasks"] = tasks;
  for (const auto time : kTimes) {
    json[std::string(to_string(time))] = counts[static_cast<std::size_t>(time)];
  }
  json["refused"] = refused;
  json["max_running"] = known(parts.retry.max_running);
  json["begin"] = time_or_null(options.begin_ns);
  json["submissions_not_shown"] = submissions_not_shown;
  return json;
}

class DryRun {
 public:
  DryRun(const ClusterParts& parts, ReadTasks& tasks, const DryRunOptions& options, SignalStop& stop)
      : parts_(parts),
        tasks_(tasks),
        options_(options),
        stop_(stop),
        limits_{parts.distributor->limits(), parts.retry.max_running, tasks.plan.is_array} {
    std::vector<bool> is_refused;
    for (const auto& group : tasks.plan.groups) {
      refusals_.push_back(unfit_reason_of(group.resources, parts.queues, parts.distributor->cluster_name()));
      is_refused.push_back(refusals_.back().has_value());
    }
    submissions_ = plan_submissions(tasks.plan, limits_, is_refused, unix_nanoseconds());
    for (const auto& submission : submissions_) {
      const std::uint64_t count = submission.steps.size();
      counts_[static_cast<std::size_t>(submission.time)] += count;
      if (is_refused[submission.group]) refused_ += count;
    }
    shown_ = options.all_tasks ? submissions_.size() : std::min(submissions_.size(), kMostSubmissions);
  }

  Result<void> print() {
    if (options_.quiet && refused_ == 0 && !options_.json) return {};
    return options_.json ? json() : text();
  }
  int close() { return out_.close(refused_ > 0 ? kNotAll : kSuccess); }

 private:
  std::uint64_t count(SubmitTime time) const { return counts_[static_cast<std::size_t>(time)]; }

  // Calls `show` for the row of each step that is shown; returns how many are not.
  Result<std::uint64_t> for_each_task(const StepRanges& steps,
                                      const std::function<void(std::uint64_t, const TaskSpec&)>& show) {
    std::uint64_t left = options_.all_tasks ? UINT64_MAX : kMostCommands;
    for (const auto& range : steps.ranges()) {
      for (std::uint64_t step = range.first; step < range.first + range.count; ++step, --left) {
        if (left == 0) return steps.size() - kMostCommands;
        if (stop_.take() > 0) return fail(ErrorCode::gave_up, "interrupted");
        if (out_.is_closed()) return 0;
        const auto row = tasks_.table.row(step);
        if (!row) return fail(row.error());
        show(step, **row);
      }
    }
    return 0;
  }

  Result<void> text() {
    out_.write(fmt::format("dry run on cluster {}: nothing is started\n", parts_.distributor->cluster_name()));
    if (options_.begin_ns != 0) {
      const bool has_passed = options_.begin_ns <= unix_nanoseconds();
      out_.write("begin: " + time_text(options_.begin_ns) +
                 (has_passed ? "; that has passed, so at once\n" : "; nothing is submitted before\n"));
    }
    for (std::size_t i = 0; i < shown_; ++i) {
      const PlannedSubmission& submission = submissions_[i];
      const std::uint64_t size = submission.steps.size();
      out_.write(heading(submission, i + 1, size));
      if (refusals_[submission.group]) {
        out_.write("  would be refused: " + printable(*refusals_[submission.group], true) + "\n");
      }
      auto more = for_each_task(submission.steps, [&](std::uint64_t step, const TaskSpec& task) {
        std::string after = after_text(task);
        if (submission.time == SubmitTime::after_others && task.begin_ns != 0) {
          after += ", not before " + time_text(task.begin_ns);
        }
        out_.write(fmt::format("  step {}: {}{}\n", step, shorten(printable(task.command_text()), kCommandCharacters),
                               after.empty() ? "" : "  [" + after + "]"));
      });
      if (!more) return fail(more.error());
      if (*more > 0) out_.write(fmt::format("  ... and {} more\n", *more));
    }
    if (shown_ < submissions_.size()) {
      out_.write(fmt::format("... and {} more groups and arrays\n", submissions_.size() - shown_));
    }
    out_.write(totals());
    return {};
  }

  std::optional<std::uint32_t> max_parallel(const PlannedGroup& group) const {
    const auto found = tasks_.plan.max_parallel.find(group.limited_name);
    return found == tasks_.plan.max_parallel.end() ? std::nullopt : std::optional(found->second);
  }

  std::string heading(const PlannedSubmission& submission, std::size_t number, std::uint64_t size) const {
    const RequestedResources& resources = tasks_.plan.groups[submission.group].resources;
    const ClusterQueue* queue = queue_of(resources, parts_.queues);
    std::string what = fmt::format("array {}: {}, ", number, plural(size, "task"));
    if (!tasks_.plan.is_array) what = "no array: ";
    if (submission.time == SubmitTime::later) what = fmt::format("when there is room: {}, ", plural(size, "task"));
    if (submission.time == SubmitTime::at_begin) {
      what = fmt::format("not before {}: {}, ", time_text(submission.begin_ns), plural(size, "task"));
    }
    if (submission.time == SubmitTime::after_others)
      what = fmt::format("after other tasks: {}, ", plural(size, "task"));
    std::string text =
        fmt::format("{}{}, queue {}{}", what, steps_text(submission.steps),
                    printable(queue != nullptr ? queue->queue_name() : resources.queue), resources_text(resources));
    const PlannedGroup& group = tasks_.plan.groups[submission.group];
    if (group.priority != 0) text += fmt::format(", priority {}", group.priority);
    if (const auto most = max_parallel(group)) {
      text += fmt::format(", {} at a time of name {}", *most, printable(group.limited_name));
    }
    return text + "\n";
  }

  std::string totals() const {
    const auto arrays = static_cast<std::uint64_t>(std::count_if(
        submissions_.begin(), submissions_.end(), [](const auto& item) { return item.time == SubmitTime::at_once; }));
    std::string text = plural(tasks_.plan.task_count, "task") + ": ";
    text += tasks_.plan.is_array ? fmt::format("{} at once, in {}", count(SubmitTime::at_once), plural(arrays, "array"))
                                 : fmt::format("{} at once", count(SubmitTime::at_once));
    if (count(SubmitTime::later) > 0) text += fmt::format("; {} when there is room", count(SubmitTime::later));
    if (count(SubmitTime::at_begin) > 0)
      text += fmt::format("; {} at a time of their own", count(SubmitTime::at_begin));
    if (count(SubmitTime::after_others) > 0)
      text += fmt::format("; {} after other tasks", count(SubmitTime::after_others));
    if (limits_.max_running) text += fmt::format("; {} at a time (max_running)", *limits_.max_running);
    if (refused_ > 0) text += fmt::format("; {} would be refused", refused_);
    return text + "\n";
  }

  Result<void> json() {
    const Json head =
        head_json(parts_, options_, tasks_.plan.task_count, counts_, refused_, submissions_.size() - shown_);
    out_.write(opened(head, "submissions"));
    for (std::size_t i = 0; i < shown_; ++i) {
      out_.write(i == 0 ? "" : ",");
      if (auto written = submission_json(submissions_[i]); !written) return written;
    }
    out_.write("]}\n");
    return {};
  }

  Result<void> submission_json(const PlannedSubmission& submission) {
    const RequestedResources& resources = tasks_.plan.groups[submission.group].resources;
    const ClusterQueue* queue = queue_of(resources, parts_.queues);
    const auto& refusal = refusals_[submission.group];
    Json json;
    json["when"] = to_string(submission.time);
    json["is_array"] = tasks_.plan.is_array;
    json["tasks"] = submission.steps.size();
    json["first_step"] = submission.steps.front();
    json["last_step"] = submission.steps.back();
    json["queue"] = queue != nullptr ? Json(queue->queue_name()) : Json(nullptr);
    json["resources"] = resources_json(resources);
    json["priority"] = tasks_.plan.groups[submission.group].priority;
    json["max_parallel"] = known(max_parallel(tasks_.plan.groups[submission.group]));
    json["refusal"] = refusal ? Json(*refusal) : Json(nullptr);
    json["commands_not_shown"] =
        options_.all_tasks ? 0
                           : submission.steps.size() - std::min<std::uint64_t>(submission.steps.size(), kMostCommands);
    out_.write(opened(json, "commands"));
    bool is_first = true;
    const auto rest = for_each_task(submission.steps, [&](std::uint64_t step, const TaskSpec& task) {
      out_.write((is_first ? "" : ",") + dumped(command_json(step, task)));
      is_first = false;
    });
    if (!rest) return fail(rest.error());
    out_.write("]}");
    return {};
  }

  static Json command_json(std::uint64_t step, const TaskSpec& task) {
    const std::string command = task.command_text();
    Json json;
    json["step"] = step;
    json["name"] = text_or_null(task.name);
    json["command"] = command;
    if (!is_utf8(command)) json["command_base64"] = base64(command);
    auto& after = json["after"] = Json::array();
    for (const auto& dependency : task.after) {
      after.push_back({{"step", dependency.step}, {"when", to_string(dependency.kind)}});
    }
    json["begin"] = time_or_null(task.begin_ns);
    json["source_line"] = task.source_line == 0 ? Json(nullptr) : Json(task.source_line);
    return json;
  }

  const ClusterParts& parts_;
  ReadTasks& tasks_;
  const DryRunOptions& options_;
  SignalStop& stop_;
  const ArrayLimits limits_;
  std::vector<std::optional<std::string>> refusals_;  // by group
  std::vector<PlannedSubmission> submissions_;
  TimeCounts counts_{};
  std::uint64_t refused_ = 0;
  std::size_t shown_ = 0;
  StandardOutput out_;
};

}  // namespace

std::string empty_dry_run_json(const ClusterParts& parts, const DryRunOptions& options) {
  return opened(head_json(parts, options, 0, {}, 0, 0), "submissions") + "]}\n";
}

int show_dry_run(const ClusterParts& parts, ReadTasks& tasks, const DryRunOptions& options, SignalStop& stop) {
  DryRun dry_run(parts, tasks, options, stop);
  const auto printed = dry_run.print();
  const int status = dry_run.close();
  if (printed) return status;
  if (stop.first_signal() != 0) return 128 + stop.first_signal();
  tell_error(printed.error().message);
  return kEnvironment;
}

}  // namespace allot::cli
