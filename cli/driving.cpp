// SPDX-License-Identifier: MIT
#include "cli/driving.h"

#include <memory>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/progress_display.h"
#include "cli/summary.h"
#include "engine/control_socket.h"
#include "engine/run_settings.h"
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

Result<BatchResult> drive_quietly(ClusterParts& parts, const BatchDirectory& batch, const DriverIdentity& driver,
                                  std::chrono::milliseconds grace, StopSignal& stop, BatchObserver& observer,
                                  const DrivingSteps& steps) {
  const auto gave_up = [&](const std::string& message) {
    return fail(ErrorCode::gave_up, message + "; nothing is lost: allot resume " + shown_name(batch.path()));
  };
  auto settings = run_settings(batch, parts.retry);
  if (!settings) return fail(settings.error());
  settings->grace = grace;
  auto log = DriverLog::open(batch, driver);
  if (!log) return gave_up(log.error().message);
  // Without it the batch cannot be asked for anything, but it runs.
  auto control = ControlServer::open();
  if (!control) observer.notice("no other allot can ask this one for anything: " + control.error().message);
  if (auto started = parts.distributor->start(); !started) return gave_up(started.error().message);
  const DriverContext context{batch, driver, *log, *parts.distributor, parts.queues, observer, stop, *settings};
  auto state = steps.begin(context);
  if (!state) {
    static_cast<void>(parts.distributor->stop());
    return fail(std::move(state.error()));
  }
  spdlog::debug("driving {}: {} tasks in {} groups", batch.path(), state->plan.task_count, state->plan.groups.size());
  return drive_batch(context, std::move(*state), control ? &*control : nullptr, steps.first);
}

int drive(ClusterParts& parts, const BatchDirectory& batch, const DriverIdentity& driver, const DrivingOptions& options,
          std::chrono::milliseconds grace, SignalStop& stop, const DrivingSteps& steps) {
  const CommandLookup command = command_lookup(batch);
  ProgressDisplay display(ProgressDisplay::detect_mode(options.quiet), command);
  const auto driven = drive_quietly(parts, batch, driver, grace, stop, display, steps);
  display.clear();
  if (!driven) return stop.first_signal() != 0 ? 128 + stop.first_signal() : tell_failure(driven.error());
  const BatchResult& result = *driven;
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
