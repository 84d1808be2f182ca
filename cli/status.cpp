// SPDX-License-Identifier: MIT
// allot status: what the ledger says of a batch and of each of its tasks.
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <map>

#include "cli/batch_lookup.h"
#include "cli/context.h"
#include "cli/json_text.h"
#include "ledger/detail_reader.h"
#include "ledger/task_table.h"
#include "process/fd.h"
#include "process/identity.h"

namespace allot {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::uint64_t kMostShown = 10;

struct StatusOptions {
  std::string batch;
  bool tasks = false;
  bool json = false;
};

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// Counts by exit class; "abandoned" is the class of tasks that will never run because of another one.
std::map<std::string, std::uint64_t> count_classes(const Fold& fold) {
  std::map<std::string, std::uint64_t> counts;
  for (std::uint64_t step = 0; step < fold.size(); ++step) {
    const FoldedTask& task = fold.task(step);
    if (task.state == TaskState::done || task.state == TaskState::failed) {
      ++counts[std::string(to_string(task.exit_class))];
    } else if (task.state == TaskState::abandoned) {
      ++counts["abandoned"];
    }
  }
  return counts;
}

bool driver_lives(const DriverIdentity& driver) {
  return driver.host == host_name() && driver.boot_id == boot_id() &&
         is_alive({static_cast<pid_t>(driver.pid), driver.start_ticks});
}

Json task_json(std::uint64_t step, const TaskSpec& task, const TaskDetail& detail) {
  const std::string command = task.command_text();
  const bool ended = detail.folded.state == TaskState::done || detail.folded.state == TaskState::failed;
  const UsageStats& usage = detail.usage;
  Json row;
  row["step"] = step;
  row["name"] = task.name.empty() ? Json(nullptr) : Json(task.name);
  row["command"] = command;
  if (!is_utf8(command)) row["command_base64"] = base64(command);
  row["state"] = std::string(to_string(detail.folded.state));
  row["exit_class"] = ended ? Json(std::string(to_string(detail.exit_info.exit_class))) : Json(nullptr);
  row["exit_code"] = ended ? or_null(detail.exit_info.exit_code) : Json(nullptr);
  row["signal"] = ended ? or_null(detail.exit_info.signal) : Json(nullptr);
  row["text"] = detail.exit_info.text.empty() ? Json(nullptr) : Json(detail.exit_info.text);
  row["attempt"] = detail.folded.attempts;
  row["distributor_id"] = detail.distributor_id.empty() ? Json(nullptr) : Json(detail.distributor_id);
  row["node"] = detail.node.empty() ? Json(nullptr) : Json(detail.node);
  row["started"] = json_time(detail.started_ns);
  row["ended"] = json_time(detail.ended_ns);
  row["wall_seconds"] = or_null(usage.wall_seconds);
  row["user_seconds"] = or_null(usage.user_seconds);
  row["system_seconds"] = or_null(usage.system_seconds);
  row["max_rss_bytes"] = or_null(usage.max_rss_bytes);
  row["tree_peak_bytes"] = or_null(usage.tree_peak_bytes);
  row["read_bytes"] = or_null(usage.read_bytes);
  row["write_bytes"] = or_null(usage.write_bytes);
  row["stdout_bytes"] = ended && !detail.standard_output.external ? Json(detail.standard_output.length) : Json(nullptr);
  row["stderr_bytes"] = ended && !detail.standard_error.external ? Json(detail.standard_error.length) : Json(nullptr);
  row["output_incomplete"] = detail.folded.output_incomplete;
  row["source_line"] = task.source_line == 0 ? Json(nullptr) : Json(task.source_line);
  row["evidence"] = detail.evidence;
  return row;
}

std::string shortened(std::string text, std::size_t width) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = ' ';
  }
  if (text.size() <= width) return text;
  std::size_t cut = width - 3;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "...";
}

int show_tasks(const BatchDirectory& batch, const Fold& fold, bool json) {
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  if (!table) return complain(kExitEnvironment, table.error().message);
  DetailReader reader(fold);
  int status = kExitDone;
  std::string out;
  if (!json) {
    out =
        fmt::format("{:>8}  {:<10} {:<14} {:>7} {:>10}  {}\n", "STEP", "STATE", "END", "ATTEMPT", "SECONDS", "COMMAND");
  }
  for (std::uint64_t step = 0; step < fold.size(); ++step) {
    TaskSpec damaged;
    auto row = table->row(step);
    if (!row) status = complain(kExitNotDone, row.error().message);
    const TaskSpec& task = row ? **row : damaged;
    TaskDetail detail;
    auto read = reader.detail(step);
    if (read) {
      detail = std::move(*read);
    } else {
      status = complain(kExitNotDone, "step " + std::to_string(step) + ": " + read.error().message);
      detail.step = step;
      detail.folded = fold.task(step);
    }
    if (json) {
      out += json_line(task_json(step, task, detail)) + "\n";
    } else {
      const bool ended = detail.folded.state == TaskState::done || detail.folded.state == TaskState::failed;
      out +=
          fmt::format("{:>8}  {:<10} {:<14} {:>7} {:>10}  {}\n", step, to_string(detail.folded.state),
                      ended ? describe(detail.exit_info) : "-", detail.folded.attempts,
                      detail.usage.wall_seconds ? fmt::format("{:.3f}", *detail.usage.wall_seconds) : "-",
                      shortened(task.name.empty() ? task.command_text() : task.name + ": " + task.command_text(), 60));
    }
    if (out.size() > (1u << 16)) {
      if (!write_all(1, out)) return complain(kExitNotDone, "standard output: " + errno_text(errno));
      out.clear();
    }
  }
  if (!write_all(1, out)) return complain(kExitNotDone, "standard output: " + errno_text(errno));
  return status;
}

int show_summary(const BatchDirectory& batch, const Fold& fold, bool json) {
  const auto classes = count_classes(fold);
  auto driver = batch.current_driver();
  const bool has_driver = driver && *driver;
  const bool lives = has_driver && driver_lives(**driver);
  const std::uint64_t done = fold.count(TaskState::done);
  const std::uint64_t failed = fold.count(TaskState::failed) + fold.count(TaskState::abandoned);
  if (json) {
    Json answer;
    answer["batch"] = batch.path();
    answer["batch_id"] = batch.info().batch_id;
    answer["name"] = batch.info().name;
    answer["cluster"] = batch.info().cluster;
    answer["created"] = json_time(batch.info().created_ns);
    answer["tasks"] = fold.size();
    for (TaskState state : {TaskState::waiting, TaskState::queued, TaskState::running, TaskState::done,
                            TaskState::failed, TaskState::abandoned}) {
      answer[std::string(to_string(state))] = fold.count(state);
    }
    answer["by_class"] = classes;
    answer["ended"] = fold.ended();
    if (has_driver) {
      answer["driver"] = {{"epoch", (*driver)->epoch},
                          {"host", (*driver)->host},
                          {"pid", (*driver)->pid},
                          {"alive", (*driver)->host == host_name() ? Json(lives) : Json(nullptr)}};
    } else {
      answer["driver"] = nullptr;
    }
    answer["damage"] = fold.damage();
    fmt::print("{}\n", json_line(answer));
    return kExitDone;
  }
  fmt::print("{}  {}\n", batch.path(), batch.info().name);
  if (!has_driver) {
    fmt::print("never driven\n");
  } else if (fold.ended()) {
    fmt::print("its driver has left in order\n");
  } else if ((*driver)->host != host_name()) {
    fmt::print("driven from {} (pid {}); whether it lives cannot be seen from here\n", (*driver)->host, (*driver)->pid);
  } else {
    fmt::print("{}\n", lives ? fmt::format("driven by process {}", (*driver)->pid)
                             : "its driver is gone without an end: `allot resume` finishes the batch");
  }
  fmt::print("{} tasks: {} done, {} failed, {} running, {} queued, {} waiting\n", fold.size(), done, failed,
             fold.count(TaskState::running), fold.count(TaskState::queued), fold.count(TaskState::waiting));
  for (const auto& [name, count] : classes) fmt::print("  {:<16}{:>10}\n", name, count);
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  for (TaskState state : {TaskState::running, TaskState::failed, TaskState::abandoned}) {
    if (fold.count(state) == 0 || !table) continue;
    fmt::print("{}:\n", to_string(state));
    std::uint64_t shown = 0;
    for (std::uint64_t step = 0; step < fold.size() && shown < kMostShown; ++step) {
      if (fold.task(step).state != state) continue;
      ++shown;
      auto detail = fold.detail(step);
      auto row = table->row(step);
      const std::string how = detail && state == TaskState::failed ? describe(detail->exit_info) : "";
      fmt::print("  step {:<8} {:<14} {}\n", step, how, row ? shortened((*row)->command_text(), 80) : "?");
    }
    if (fold.count(state) > kMostShown) fmt::print("  … and {} more\n", fold.count(state) - kMostShown);
  }
  for (const std::string& line : fold.damage()) fmt::print("damage: {}\n", line);
  return kExitDone;
}

int show_status(const StatusOptions& options) {
  auto batch = open_batch(options.batch);
  if (!batch) return complain(kExitEnvironment, batch.error().message);
  auto fold = Fold::load(*batch);
  if (!fold) return complain(kExitEnvironment, fold.error().message);
  if (!options.tasks) return show_summary(*batch, *fold, options.json);
  for (const std::string& line : fold->damage()) complain(kExitDone, "damage: " + line);
  return show_tasks(*batch, *fold, options.json);
}

}  // namespace

void add_status_verb(CLI::App& app, CliContext& context) {
  CLI::App* verb = app.add_subcommand("status", "Show what is known of a batch, or of each of its tasks");
  auto options = std::make_shared<StatusOptions>();
  verb->add_option("BATCH", options->batch, "Batch directory, or the id of a batch")->required();
  verb->add_flag("--tasks", options->tasks, "A line for every task");
  verb->add_flag("--json", options->json, "JSON: one object, with --tasks one object per task and line");
  verb->callback([&context, options] { context.exit_status = show_status(*options); });
}

}  // namespace allot
