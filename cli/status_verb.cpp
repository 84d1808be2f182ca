// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/driving.h"
#include "cli/summary.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "engine/batch_home.h"
#include "ledger/detail_reader.h"
#include "process/identity.h"

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

std::optional<TaskState> state_from_string(const std::string& name) {
  for (const TaskState state : kStates) {
    if (to_string(state) == name) return state;
  }
  return std::nullopt;
}

/// Who drives the batch, as far as it can be seen from here.
enum class DriverState { none, left, alive, gone, elsewhere };

DriverState driver_state(const Fold& fold, const std::optional<DriverIdentity>& driver) {
  if (!driver) return DriverState::none;
  if (fold.ended()) return DriverState::left;
  if (driver->host != host_name()) return DriverState::elsewhere;
  const bool is_here = driver->boot_id == boot_id() && is_alive({static_cast<pid_t>(driver->pid), driver->start_ticks});
  return is_here ? DriverState::alive : DriverState::gone;
}

std::string_view to_string(DriverState state) {
  switch (state) {
    case DriverState::none:
      return "none";
    case DriverState::left:
      return "left";
    case DriverState::alive:
      return "alive";
    case DriverState::gone:
      return "gone";
    case DriverState::elsewhere:
      break;
  }
  return "elsewhere";
}

class Report {
 public:
  Report(const BatchDirectory& batch, const Fold& fold, TaskTableReader& table, std::optional<DriverIdentity> driver)
      : batch_(batch), fold_(fold), table_(table), details_(fold), driver_(std::move(driver)) {}

  Json json() const {
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
    json["incomplete_outputs"] = incomplete_outputs();
    auto& driver = json["driver"] = Json::object();
    driver["state"] = to_string(driver_state(fold_, driver_));
    driver["host"] = driver_ ? Json(driver_->host) : Json(nullptr);
    driver["pid"] = driver_ ? Json(driver_->pid) : Json(nullptr);
    driver["epoch"] = driver_ ? Json(driver_->epoch) : Json(nullptr);
    driver["since"] = driver_ ? Json(time_text(driver_->since_ns)) : Json(nullptr);
    json["damage"] = fold_.damage();
    return json;
  }

  Result<std::string> text() {
    const BatchInfo& info = batch_.info();
    std::string text = fmt::format("batch {}{} on cluster {}, made {}\n", info.batch_id,
                                   info.name.empty() ? "" : " \"" + printable(info.name) + "\"", info.cluster,
                                   time_text(info.created_ns));
    text += "  " + printable(batch_.path()) + "\n" + driver_text();
    text += plural(fold_.size(), "task") + ":";
    for (const TaskState state : kStates) {
      if (fold_.count(state) > 0) text += fmt::format(" {} {}", fold_.count(state), allot::to_string(state));
    }
    text += "\n";
    const auto counts = by_class();
    if (fold_.count(TaskState::failed) > 0) {
      for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] > 0)
          text += fmt::format("  {:<15}{:>9}\n", allot::to_string(static_cast<ExitClass>(i)), counts[i]);
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

  /// About the rows of the task table that could not be read so far; nothing if there are none.
  std::optional<std::string> unreadable_rows() const {
    if (unreadable_ == 0) return std::nullopt;
    return unreadable_ == 1 ? first_unreadable_ : fmt::format("{} (and {} more)", first_unreadable_, unreadable_ - 1);
  }

  /// Every task whose state is wanted.
  Result<void> tasks(StandardOutput& out, bool as_json, const std::vector<TaskState>& wanted) {
    if (!as_json) out.write(task_heading());
    for (std::uint64_t step = 0; step < fold_.size() && !out.is_closed(); ++step) {
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), fold_.task(step).state) == wanted.end()) continue;
      auto detail = details_.detail(step);
      if (!detail) return fail(std::move(detail.error()));
      const TaskSpec* spec = row(step);
      Json json = as_json ? task_json(*detail, spec != nullptr ? *spec : kUnreadable) : Json();
      if (as_json && spec == nullptr) json["name"] = json["command"] = nullptr;
      out.write(as_json ? one_line(json) : task_line(*detail, spec != nullptr ? *spec : kUnreadable));
    }
    return {};
  }

 private:
  std::array<std::uint64_t, kExitClassCount> by_class() const {
    std::array<std::uint64_t, kExitClassCount> counts{};
    for (std::uint64_t step = 0; step < fold_.size(); ++step) {
      const FoldedTask& task = fold_.task(step);
      if (task.state != TaskState::done && task.state != TaskState::failed) continue;
      const auto index = static_cast<std::size_t>(task.exit_class);
      if (index < counts.size()) ++counts[index];
    }
    return counts;
  }

  std::uint64_t incomplete_outputs() const {
    std::uint64_t count = 0;
    for (std::uint64_t step = 0; step < fold_.size(); ++step) count += fold_.task(step).output_incomplete ? 1 : 0;
    return count;
  }

  std::string driver_text() const {
    const std::string resume = "; allot resume " + shown_name(batch_.path()) + " finishes it\n";
    const bool is_open =
        fold_.count(TaskState::done) + fold_.count(TaskState::failed) + fold_.count(TaskState::abandoned) <
        fold_.size();
    const std::string who = driver_ ? fmt::format("process {} on {}", driver_->pid, driver_->host) : "";
    switch (driver_state(fold_, driver_)) {
      case DriverState::none:
        return "  never driven: its tasks were not read to the end\n";
      case DriverState::left:
        return is_open ? "  its driver has left before the end" + resume : "  its driver has left in order\n";
      case DriverState::alive:
        return "  driven by " + who + "\n";
      case DriverState::gone:
        return "  its driver (" + who + ") is gone" + (is_open ? resume : "\n");
      case DriverState::elsewhere:
        break;
    }
    return "  driven by " + who + ", which cannot be seen from here\n";
  }

  Result<std::string> list(TaskState state, bool with_text) {
    std::string text;
    std::size_t listed = 0;
    for (std::uint64_t step = 0; step < fold_.size() && listed < kMostListed; ++step) {
      if (fold_.task(step).state != state || (with_text && fold_.task(step).exit_class == ExitClass::killed)) continue;
      ++listed;
      auto detail = details_.detail(step);
      if (!detail) return fail(std::move(detail.error()));
      const TaskSpec* spec = row(step);
      const std::string what =
          state == TaskState::running ? "since " + time_text(detail->started_ns) : describe(detail->exit_info);
      if (listed == 1) text += fmt::format("{} (the first ones):\n", allot::to_string(state));
      text +=
          fmt::format("  step {}: {}: {}\n", step, what,
                      shorten(printable((spec != nullptr ? *spec : kUnreadable).command_text()), kCommandCharacters));
      if (with_text) text += tail_lines(detail->exit_info.text, "    | ");
    }
    return text;
  }

  // Null: damaged, and counted.
  const TaskSpec* row(std::uint64_t step) {
    auto row = table_.row(step);
    if (row) return *row;
    if (unreadable_++ == 0) first_unreadable_ = row.error().message;
    return nullptr;
  }

  const BatchDirectory& batch_;
  const Fold& fold_;
  TaskTableReader& table_;
  DetailReader details_;
  std::optional<DriverIdentity> driver_;
  std::uint64_t unreadable_ = 0;
  std::string first_unreadable_;
};

class StatusVerb final : public Verb {
 public:
  std::string name() const override { return "status"; }
  std::string summary() const override { return "Show what became of a batch and its tasks"; }
  VerbText text() const override {
    return {
        {"status [OPTIONS] BATCH"},
        "Reads the records of a batch, which may be running, and shows what they say. Nothing is changed.\n\n"
        "Exit status: 0 if the batch could be read, whatever became of its tasks; 2 if there is no such batch; 3 if it "
        "is damaged so that tasks or commands of it cannot be read, after what is left of it was shown.",
        {{"allot status 06ecx1", "counts, what runs, first failures"},
         {"allot status ./batch --tasks --state failed", "a line per failed task"},
         {"allot status ./batch --tasks --json", "a JSON object per task and line"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_flag("--tasks", tasks_, "A line per task");
    app.add_option("--state", states_,
                   "With --tasks: only tasks in this state (may be repeated): waiting, queued, "
                   "running, done, failed, abandoned")
        ->type_name("STATE")
        ->expected(1)
        ->take_all();
    app.add_flag("--json", json_, "As JSON: one object, or with --tasks one object per line (docs/json.md)");
  }

  int run(Services&) override {
    std::vector<TaskState> wanted;
    for (const auto& name : states_) {
      const auto state = state_from_string(name);
      if (!state) return refuse("--state " + name + ": must be waiting, queued, running, done, failed or abandoned");
      wanted.push_back(*state);
    }
    if (!wanted.empty() && !tasks_) return refuse("--state goes with --tasks");
    auto path = find_batch(batch_);
    if (!path) return refuse(path.error().message);
    auto batch = BatchDirectory::open(*path);
    if (!batch) return tell_failure(batch.error());
    auto fold = Fold::load(*batch);
    if (!fold) return tell_unreadable(fold.error());
    auto driver = batch->current_driver();
    if (!driver) return tell_unreadable(driver.error());
    auto table = TaskTableReader::open(batch->task_data_path(), batch->task_index_path());
    if (!table) return tell_unreadable(table.error());
    Report report(*batch, *fold, *table, std::move(*driver));
    StandardOutput out;
    if (tasks_) {
      if (auto told = report.tasks(out, json_, wanted); !told) {
        out.flush();
        return tell_unreadable(told.error());
      }
    } else if (json_) {
      out.write(one_line(report.json()));
    } else {
      auto text = report.text();
      if (!text) return tell_unreadable(text.error());
      out.write(*text);
    }
    const auto unreadable = report.unreadable_rows();
    if (fold->missing_steps() == 0 && !unreadable) return out.close(kSuccess);
    out.flush();
    if (unreadable) tell_error(*unreadable);
    if (fold->missing_steps() > 0)
      tell_error(fmt::format("{}: damaged: {} of the batch's {} tasks are missing", batch->task_index_path(),
                             fold->missing_steps(), fold->size() + fold->missing_steps()));
    return out.close(kEnvironment);
  }

 private:
  static int refuse(const std::string& message) {
    tell_error(message);
    return kMisuse;
  }
  static int tell_unreadable(const Error& error) {
    tell_error(error.message);
    return kEnvironment;
  }

  std::string batch_;
  bool tasks_ = false, json_ = false;
  std::vector<std::string> states_;
};

}  // namespace

std::unique_ptr<Verb> make_status_verb() {
  return std::make_unique<StatusVerb>();
}

}  // namespace allot::cli
