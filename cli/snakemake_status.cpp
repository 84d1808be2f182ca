// SPDX-License-Identifier: MIT
#include "cli/snakemake_status.h"

#include <fmt/format.h>

#include "cli/console.h"
#include "cli/summary.h"
#include "engine/driver_log.h"

namespace allot::cli {
namespace {

// On another host, whose background cannot be seen, a driver claims the batch within this time, or never.
constexpr std::int64_t kHandOverNanoseconds = std::int64_t{300} * 1'000'000'000;

}  // namespace

Result<SnakemakeStatus> snakemake_status(const BatchDirectory& batch) {
  DriverWatch watch(batch);
  const auto holder = watch.look();
  if (!holder) return fail(holder.error());
  const BatchInfo& info = batch.info();
  switch (holder->state) {
    case Holder::State::alive:
    case Holder::State::elsewhere:
      return SnakemakeStatus{"running", ""};
    case Holder::State::none:
      // Its tasks are being read, or that was cut short, which cannot be seen in the same boot.
      if (info.host != host_name() || info.boot_id == boot_id()) return SnakemakeStatus{"running", ""};
      return SnakemakeStatus{"failed", batch.path() + ": its tasks were never read to the end; none was started"};
    case Holder::State::waiting:
      if (holder->background) return SnakemakeStatus{"running", ""};
      if (!holder->is_in_queue && unix_nanoseconds() - watch.left_ns() < kHandOverNanoseconds) {
        return SnakemakeStatus{"running", ""};
      }
      break;
    case Holder::State::left:
    case Holder::State::gone:
      break;
  }
  const auto fold = load_fold(batch, *holder);
  if (!fold) return fail(fold.error());
  const std::uint64_t tasks = fold->size() + fold->missing_steps();
  const std::uint64_t done = fold->count(TaskState::done);
  if (done == tasks) return SnakemakeStatus{"success", ""};
  const std::uint64_t ended = done + fold->count(TaskState::failed) + fold->count(TaskState::abandoned);
  std::string reason = fmt::format("{}: {} of {} not done", batch.path(), tasks - done, plural(tasks, "task"));
  if (holder->state == Holder::State::waiting) {
    reason += "; " + waiting_text(batch, *holder);
  } else if (ended < tasks) {
    reason += fmt::format("; its driver ({}) {}; {}", describe(*holder->driver),
                          holder->state == Holder::State::gone ? "is gone" : "has left it (" + watch.reason() + ")",
                          resume_text(batch, *holder));
  }
  // What is told to have failed is replaced: never what the next driver of the background runs all the same.
  const bool is_to_run = holder->goes_on && ended < tasks;
  return SnakemakeStatus{is_to_run ? "running" : "failed", std::move(reason)};
}

}  // namespace allot::cli
