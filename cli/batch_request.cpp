// SPDX-License-Identifier: MIT
#include "cli/batch_request.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/driver_watch.h"
#include "engine/control_desk.h"
#include "engine/driver_log.h"
#include "ledger/task_table.h"

namespace allot::cli {
namespace {

constexpr int kLeavingMilliseconds = 10'000;

// Until the process has ended, at most so long as a driver may take to leave.
void wait_for_end(const ProcessIdentity& process) {
  const Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd || !is_alive(process)) return;
  pollfd waiting{fd.get(), POLLIN, 0};
  ::poll(&waiting, 1, kLeavingMilliseconds);
}

}  // namespace

void SelectionOptions::describe(CLI::App& app, bool with_running) {
  app.add_option("--steps", steps, "Only these steps: 0-9,12")->type_name("STEPS");
  app.add_option("--state", states,
                 with_running ? "Only tasks in this state (may be repeated): waiting, queued, running"
                              : "Only tasks in this state (may be repeated): waiting, queued")
      ->type_name("STATE")
      ->expected(1)
      ->take_all();
}

Result<TaskSelection> SelectionOptions::selection() const {
  TaskSelection selection;
  if (steps) {
    auto parsed = parse_steps(*steps);
    if (!parsed) return fail(parsed.error().with_context("--steps"));
    selection.steps = std::move(*parsed);
  }
  if (states.empty()) return selection;
  selection.want_no_stage();
  for (const auto& state : states) {
    if (!selection.want_stage(state)) {
      return fail(ErrorCode::fix_request, "--state " + state + ": must be waiting, queued or running");
    }
  }
  return selection;
}

Result<void> check_steps(const BatchDirectory& batch, const std::optional<StepRanges>& steps) {
  if (!steps || steps->empty()) return {};
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  if (!table) return fail(table.error());
  const auto size = table->size();
  if (!size) return fail(size.error());
  if (steps->back() < *size) return {};
  return fail(ErrorCode::fix_request,
              fmt::format("{}: there is no step {}; ", batch.path(), steps->back()) +
                  (*size == 0 ? "the batch has none" : fmt::format("the steps are 0 to {}", *size - 1)));
}

Result<std::optional<nlohmann::json>> ask_if_driven(const BatchDirectory& batch, const nlohmann::json& request,
                                                    std::chrono::milliseconds timeout) {
  for (int tries = 0;; ++tries) {
    auto holder = DriverWatch(batch).look();
    if (!holder) return fail(std::move(holder.error()));
    switch (holder->state) {
      case Holder::State::none:
        return fail(ErrorCode::fix_request, batch.path() + ": its tasks were never read to the end; none was started");
      case Holder::State::left:
      case Holder::State::waiting:
      case Holder::State::gone:
        return std::optional<nlohmann::json>();
      case Holder::State::elsewhere:
        return fail(ErrorCode::fix_request,
                    fmt::format("{}: is driven by {}; ask there", batch.path(), describe(*holder->driver)));
      case Holder::State::alive:
        break;
    }
    auto reply = ask_driver(holder->process(), request, timeout);
    if (reply) return std::optional(std::move(*reply));
    // It is leaving, or is about to listen: what it says at the end decides.
    const bool may_be_leaving = reply.error().code == ErrorCode::not_available || reply.error().code == ErrorCode::gone;
    if (!may_be_leaving || tries == 2) {
      return fail(reply.error().with_context(batch.path() + ": its driver"));
    }
    auto now = DriverWatch(batch).look();
    if (now && now->state == Holder::State::alive && now->driver->epoch == holder->driver->epoch) {
      wait_for_end(holder->process());
    }
  }
}

Result<void> record_without_driving(const BatchDirectory& batch, const std::vector<Record>& records) {
  auto driver = batch.claim();
  if (!driver) return fail(std::move(driver.error()));
  auto log = DriverLog::open(batch, *driver);
  if (!log) return fail(std::move(log.error()));
  for (const Record& record : records) log->note(record);
  log->note(EndedRecord{"what was asked for was recorded", unix_nanoseconds()});
  return log->sync();
}

}  // namespace allot::cli
