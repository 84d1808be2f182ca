// SPDX-License-Identifier: MIT
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/snakemake_status.h"
#include "cli/status_report.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kDefaultInterval{2000};
// Looking takes at most a fifth of the time, however large the batch is.
constexpr int kRestPerLook = 4;
constexpr int kMostTries = 3;
constexpr int kTryAgainMilliseconds = 500;

class StatusVerb final : public Verb {
 public:
  std::string name() const override { return "status"; }
  std::string summary() const override { return "Show what became of a batch and its tasks"; }
  VerbText text() const override;
  void describe(CLI::App& app) override;
  int run(Services&) override;

 private:
  Result<void> read_options();
  int show(StandardOutput& out, DriverWatch& watch);
  int watch(DriverWatch& watch);
  int tell_word() const;
  static int tell_unreadable(const Error& error) {
    tell_error(error.message);
    return kEnvironment;
  }

  std::string batch_;
  bool tasks_ = false, json_ = false, snakemake_ = false;
  std::optional<std::uint64_t> why_;
  std::vector<std::string> states_, classes_;
  std::string name_, steps_, watch_;

  TaskFilter filter_;
  milliseconds interval_ = kDefaultInterval;
  bool has_ended_ = false;  // as of the last show()
};

VerbText StatusVerb::text() const {
  return {
      {"status [OPTIONS] BATCH"},
      "Reads the records of a batch, which may be running, and shows what they say. Nothing is changed.\n\n"
      "--why STEP shows all that is known of one task: its command and resources, what it waits for, and each of its "
      "runs with where and when it ran, how it ended, what each witness says of it and whether it runs again.\n\n"
      "--watch shows it again and again, until nobody drives the batch any more.\n\n"
      "--snakemake prints one word for snakemake's --cluster-status: \"success\" if every task is done; \"failed\" if "
      "the batch has ended and some are not, or if its driver is gone or has left before the end (stderr says why; "
      "allot resume may still finish it); else \"running\", also while it waits in the queue of the background, whose "
      "next driver runs it. While the batch is driven no task's record is read.\n\n"
      "Exit status: 0 if the batch could be read, whatever became of its tasks; 2 for wrong usage, or if there is no "
      "such batch or step; 3 if it is damaged so that tasks or commands of it cannot be read, after what is left of it "
      "was shown.",
      {{"allot status 06ecx1", "counts, what runs, first failures"},
       {"allot status ./batch --tasks --state failed --class error", "a line per task that failed by itself"},
       {"allot status ./batch --tasks --json", "a JSON object per task and line"},
       {"allot status ./batch --why 7", "what became of step 7, run by run, or why it waits"},
       {"allot status ./batch --watch=5", "every five seconds, until the end"}}};
}

void StatusVerb::describe(CLI::App& app) {
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
  app.add_option("--class", classes_,
                 "With --tasks: only tasks that ended so (may be repeated): done, error, signaled, out_of_memory, "
                 "timed_out, killed, node_failed, preempted, launch_failed, queueing_error, lost")
      ->type_name("CLASS")
      ->expected(1)
      ->take_all();
  app.add_option("--name", name_, "With --tasks: only tasks whose name has this in it")->type_name("TEXT");
  app.add_option("--steps", steps_, "With --tasks: only these steps: 0-9,12")->type_name("STEPS");
  app.add_option("--why", why_, "Everything about the task of this step")->type_name("STEP");
  app.add_flag("--watch", watch_,
               "Again every 2 seconds, or as often as --watch=SECONDS says, until the batch has ended");
  app.add_flag("--snakemake", snakemake_, "Only one word: running, success or failed");
  app.add_flag("--json", json_, "As JSON: one object, or with --tasks one object per line (docs/json.md)");
}

Result<void> StatusVerb::read_options() {
  const auto misuse = [](const std::string& text) { return fail(ErrorCode::fix_request, text); };
  for (const auto& name : states_) {
    const auto state = task_state_from_string(name);
    if (!state) return misuse("--state " + name + ": must be waiting, queued, running, done, failed or abandoned");
    filter_.states.push_back(*state);
  }
  for (const auto& name : classes_) {
    const auto exit_class = exit_class_from_string(name);
    if (!exit_class) return misuse("--class " + name + ": there is no such exit class; allot status --help has all");
    filter_.classes.push_back(*exit_class);
  }
  if (!steps_.empty()) {
    auto steps = parse_steps(steps_);
    if (!steps) return fail(steps.error().with_context("--steps"));
    filter_.steps = std::move(*steps);
  }
  filter_.name = name_;
  const char* filter = !states_.empty()    ? "--state"
                       : !classes_.empty() ? "--class"
                       : !name_.empty()    ? "--name"
                       : !steps_.empty()   ? "--steps"
                                           : nullptr;
  if (filter != nullptr && !tasks_) return misuse(std::string(filter) + " goes with --tasks");
  if (int{tasks_} + int{why_.has_value()} + int{snakemake_} > 1) {
    return misuse("--tasks, --why and --snakemake exclude each other");
  }
  if (snakemake_ && (json_ || !watch_.empty())) return misuse("--snakemake goes with neither --json nor --watch");
  if (!watch_.empty() && watch_ != "true") {
    const auto interval = parse_duration(watch_);
    if (!interval) return fail(interval.error().with_context("--watch"));
    if (*interval == 0 || *interval > 86'400'000) return misuse("--watch: must be more than 0, and a day at most");
    interval_ = milliseconds(*interval);
  }
  return {};
}

int StatusVerb::run(Services&) {
  if (auto read = read_options(); !read) return tell_failure(read.error());
  if (snakemake_) return tell_word();
  auto batch = open_batch(batch_);
  if (!batch) return tell_failure(batch.error());
  DriverWatch driver(std::move(*batch));
  if (!watch_.empty()) return watch(driver);
  StandardOutput out;
  const int status = show(out, driver);
  return out.close(status);
}

// One look at the batch. Errors go to stderr, behind what could be shown.
int StatusVerb::show(StandardOutput& out, DriverWatch& watch) {
  const BatchDirectory& batch = watch.batch();
  // The driver first: whoever has left or is gone by now writes no more of what is read after that.
  auto holder = watch.look();
  if (!holder) return tell_unreadable(holder.error());
  auto fold = load_fold(batch, *holder);
  if (!fold) return tell_unreadable(fold.error());
  const bool was_driven = holder->state == Holder::State::alive || holder->state == Holder::State::elsewhere;
  if (was_driven && fold->ended()) {
    // It has left meanwhile, and others may have come.
    holder = watch.look();
    if (!holder) return tell_unreadable(holder.error());
    fold = load_fold(batch, *holder);
    if (!fold) return tell_unreadable(fold.error());
  }
  has_ended_ = holder->state == Holder::State::gone || holder->state == Holder::State::left;
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  if (!table) return tell_unreadable(table.error());
  const std::uint64_t steps = fold->size() + fold->missing_steps();
  const auto last = filter_.steps ? std::optional(filter_.steps->back()) : why_;
  if (last && *last >= steps) {
    return tell_failure({ErrorCode::fix_request,
                         steps == 0 ? "the batch has no steps"
                                    : fmt::format("there is no step {}; the steps are 0 to {}", *last, steps - 1)});
  }
  StatusReport report(batch, *fold, *table, std::move(*holder));
  Result<void> shown;
  if (tasks_) {
    shown = report.tasks(out, json_, filter_);
  } else if (why_ && json_) {
    shown = report.why_json(*why_).map([&](const auto& json) { out.write(one_line(json)); });
  } else if (why_) {
    shown = report.why_text(*why_).map([&](const auto& text) { out.write(text); });
  } else if (json_) {
    out.write(one_line(report.json()));
  } else {
    shown = report.text().map([&](const auto& text) { out.write(text); });
  }
  const auto unreadable = report.unreadable_rows();
  if (shown && fold->missing_steps() == 0 && !unreadable) return kSuccess;
  out.flush();
  if (!shown) return tell_unreadable(shown.error());
  if (unreadable) tell_error(*unreadable);
  if (fold->missing_steps() > 0) {
    tell_error(fmt::format("{}: damaged: {} of the batch's {} tasks are missing", batch.task_index_path(),
                           fold->missing_steps(), steps));
  }
  return kEnvironment;
}

int StatusVerb::watch(DriverWatch& watch) {
  const bool clears = !json_ && ::isatty(STDOUT_FILENO) == 1;
  StandardOutput out;
  for (bool is_first = true;; is_first = false) {
    const auto before = Clock::now();
    if (clears) {
      out.write("\033[H\033[2J");
    } else if (!json_ && !is_first) {
      out.write("\n");
    }
    const int status = show(out, watch);
    out.flush();
    if (status != kSuccess || has_ended_ || out.is_closed()) return out.close(status);
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - before);
    ::poll(nullptr, 0, static_cast<int>(std::max(interval_, took * kRestPerLook).count()));
  }
}

// Who asks takes anything but a word for the end of all things: a fault may pass.
int StatusVerb::tell_word() const {
  for (int tries = 1;; ++tries) {
    const auto status = open_batch(batch_).and_then(snakemake_status);
    if (status) {
      if (!status->reason.empty()) tell_error(printable(status->reason));
      return print_or_fail(status->word + "\n");
    }
    if (status.error().code == ErrorCode::fix_request || tries == kMostTries) return tell_failure(status.error());
    ::poll(nullptr, 0, kTryAgainMilliseconds);
  }
}

}  // namespace

std::unique_ptr<Verb> make_status_verb() {
  return std::make_unique<StatusVerb>();
}

}  // namespace allot::cli
