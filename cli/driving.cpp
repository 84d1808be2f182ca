// SPDX-License-Identifier: MIT
#include "cli/driving.h"

#include <memory>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/progress_display.h"
#include "cli/summary.h"
#include "engine/driver.h"
#include "ledger/task_table.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

// The text of a task's command, read when it is to be shown.
CommandLookup command_lookup(const BatchDirectory& batch) {
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  auto reader = table ? std::make_shared<TaskTableReader>(std::move(*table)) : nullptr;
  return [reader](std::uint64_t step) {
    if (reader == nullptr) return std::string("?");
    const auto row = reader->row(step);
    return row ? (*row)->command_text() : std::string("?");
  };
}

}  // namespace

void DrivingOptions::describe(CLI::App& app) {
  app.add_option("-c,--cluster", cluster, "Cluster to run on, by name or by the path of its file (see allot clusters)")
      ->type_name("CLUSTER");
  app.add_option("-j,--slots", slots, "Tasks at once; instead of the cluster's own `slots`")->type_name("N");
  app.add_option("--grace", grace, "From TERM to KILL when the run is cancelled; default 5s")->type_name("TIME");
  app.add_flag("--json", json, "Print one JSON object at the end, and nothing else on stdout");
  app.add_flag("-q,--quiet", quiet, "No progress, and no summary unless something is not done");
}

Result<std::chrono::milliseconds> parse_grace(const std::string& text) {
  auto grace = parse_duration(text);
  if (!grace) return fail(grace.error().with_context("--grace"));
  return std::chrono::milliseconds(*grace);
}

int tell_failure(const Error& error) {
  tell_error(error.message);
  return error.code == ErrorCode::fix_request ? kMisuse : kEnvironment;
}

int drive(ClusterParts& parts, const BatchDirectory& batch, const DriverIdentity& driver, const DrivingOptions& options,
          std::chrono::milliseconds grace, SignalStop& stop, const BeginState& begin) {
  const CommandLookup command = command_lookup(batch);
  ProgressDisplay display(ProgressDisplay::detect_mode(options.quiet), command);
  const std::string resume_hint = "; nothing is lost: allot resume " + shown_name(batch.path());
  const auto rules = parse_retry_rules(batch.info().retry);
  if (!rules) return tell_failure({ErrorCode::gave_up, batch.path() + "/batch.json: " + rules.error().message});
  auto log = DriverLog::open(batch, driver);
  if (!log) return tell_failure({ErrorCode::gave_up, log.error().message + resume_hint});
  if (auto started = parts.distributor->start(); !started) {
    return tell_failure({ErrorCode::gave_up, started.error().message + resume_hint});
  }
  RunSettings settings;
  settings.grace = grace;
  settings.retry = parts.retry;
  settings.retry.rules = merged(*rules, settings.retry.rules);
  const DriverContext context{batch, driver, *log, *parts.distributor, parts.queues, display, stop, settings};
  auto state = begin(context);
  if (!state) {
    static_cast<void>(parts.distributor->stop());
    display.clear();
    if (stop.first_signal() != 0) return 128 + stop.first_signal();
    return tell_failure(state.error());
  }
  spdlog::debug("driving {}: {} tasks in {} groups", batch.path(), state->plan.task_count, state->plan.groups.size());
  const BatchResult result = drive_batch(context, std::move(*state));
  display.clear();
  spdlog::debug("driven for {:.3f} s", result.wall_seconds);

  const std::string text = summary_text(result, batch.path(), command);
  // Where something is wrong with the ledger, that all tasks are done is not there to be read by anyone.
  const bool is_good = result.all_done() && !result.trouble;
  int status = is_good ? kSuccess : kNotAll;
  if (stop.first_signal() != 0 && !result.all_done()) status = 128 + stop.first_signal();
  const bool is_shown = !options.quiet || !is_good;
  // Who wants to hear of nothing but failures wants to hear of lost output, too.
  if (!is_shown) {
    const std::string lost = incomplete_outputs_text(result.incomplete_outputs);
    if (!lost.empty()) tell_error(lost + "batch: " + printable(batch.path()));
    if (!options.json) return status;
  }
  if (options.json) {
    if (is_shown) tell(text);
    const int printed = print_or_fail(summary_json(result, batch.path()));
    return printed == kSuccess ? status : printed;
  }
  const int printed = print_or_fail(text);
  return printed == kSuccess ? status : printed;
}

}  // namespace allot::cli
