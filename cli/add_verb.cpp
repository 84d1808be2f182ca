// SPDX-License-Identifier: MIT
// allot add: a task adds tasks to its own batch.
#include <boost/filesystem.hpp>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_request.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/signal_stop.h"
#include "cli/task_input.h"
#include "engine/addition.h"
#include "engine/control_desk.h"
#include "engine/control_socket.h"
#include "protocol/distributor_id.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{5};
constexpr milliseconds kLongestPause{250};
constexpr std::chrono::seconds kNudgeBound{1};
constexpr milliseconds kTakenBound{2000};

class AddVerb final : public Verb {
 public:
  std::string name() const override { return "add"; }
  std::string summary() const override { return "From within a task: add tasks to its own batch"; }
  VerbText text() const override {
    return {
        {"add [OPTIONS] FILE|-", "add [OPTIONS] -- COMMAND... ::: ARGUMENT... [::: ARGUMENT...]",
         "add [OPTIONS] --each FILE|- [-0] -- COMMAND...", "add [OPTIONS] --array N -- COMMAND..."},
        "A task that runs adds tasks to its batch, given as for allot run; they begin as soon as there is room. With "
        "--again the task itself, once it has ended well, waits for them and then runs again, with ALLOT_ROUND one "
        "higher: 0 in the first round, 1 in the next one. It holds no slot meanwhile, and what is to run after it "
        "waits until it has ended without adding more. If one of them does not end well, it is abandoned, unless "
        "--again=any.\n\n"
        "Names and steps in \"after\" are those of the tasks that are added together; {#} counts them from 0, "
        "ALLOT_ARRAY_STEP_ID is the step in the batch. They get the environment of the batch, and this command's "
        "directory. A task that fails and runs again adds again, unless it says --once.\n\n"
        "Exit status: 0 if they are in the batch's records, all of them; 2 for wrong usage, bad input, or outside of a "
        "task, and 3 if no driver has taken them in time or the batch cannot be written: then none of them is in the "
        "batch. Only of a driver that has taken them and did not answer, and after a signal, that is not certain; the "
        "message says so.",
        {{"allot add --again parts.txt", "in a task: split the work, and come back when it is done"},
         {"[ \"$ALLOT_ROUND\" = 0 ] && exec allot add --again -- ./part {} ::: *.csv; ./merge", "a whole task"},
         {"allot add --once parts parts.txt", "not again, when this task is run again"}}};
  }

  bool takes_command() const override { return true; }
  void take_command(std::vector<std::string>&& words) override { input_.take_command(std::move(words)); }

  void describe(CLI::App& app) override {
    input_.describe(app);
    // A flag, so that what follows is not taken for its value.
    app.add_flag("--again{ok}", again_,
                 "Run this task again when they have ended: --again=ok, only if all are done; --again=any, however");
    app.add_option("--once", once_, "Add nothing if this task has added tasks under this name before")
        ->type_name("NAME");
    app.add_option("--wait", wait_, "How long the driver may take to answer; default 1m")->type_name("TIME");
    app.add_flag("--parsable", parsable_, "Print their steps (10-19) and nothing else");
  }

  int run(Services&) override;

 private:
  int wait_for_answer(const BatchDirectory& batch, SignalStop& stop);
  int tell_answer(const AdditionAnswer& answer) const;
  static void nudge(const BatchDirectory& batch);

  TaskInput input_;
  AdditionRequest request_;
  std::string again_, once_, wait_ = "1m";
  milliseconds bound_{0};
  bool parsable_ = false;
};

int AddVerb::run(Services&) {
  const char* const directory = std::getenv("ALLOT_BATCH_DIR");
  const char* const parent = std::getenv("ALLOT_DISTRIBUTOR_ID");
  if (directory == nullptr || parent == nullptr) {
    return tell_failure(
        {ErrorCode::fix_request,
         "allot add is for tasks that run: ALLOT_BATCH_DIR and ALLOT_DISTRIBUTOR_ID, which each of them "
         "has, are not set; outside of one make a batch of its own: allot submit"});
  }
  if (!again_.empty() && again_ != "ok" && again_ != "any") {
    return tell_failure({ErrorCode::fix_request, "--again: must be ok or any, and is \"" + again_ + "\""});
  }
  const auto bound = parse_duration(wait_);
  if (!bound) return tell_failure(bound.error().with_context("--wait"));
  bound_ = milliseconds(*bound);
  SignalStop stop;
  auto batch = BatchDirectory::open(directory);
  if (!batch) return tell_failure(batch.error().with_context("ALLOT_BATCH_DIR"));
  auto source = input_.open(name(), stop.descriptor());
  if (!source) return stop.take() > 0 ? 128 + stop.first_signal() : tell_failure(source.error());
  auto token = new_id_base();
  if (!token) return tell_failure(token.error());
  request_.token = *token;
  request_.parent = parent;
  request_.name = once_;
  request_.again = !again_.empty();
  request_.when = again_ == "any" ? DependencyKind::after_any : DependencyKind::after_ok;
  boost::system::error_code error;
  request_.cwd = boost::filesystem::current_path(error).string();
  if (error) return tell_failure({ErrorCode::fix_request, "the current directory is gone: " + error.message()});
  if (!is_utf8(request_.cwd) || !is_utf8(once_)) {
    return tell_failure({ErrorCode::fix_request, "the current directory's path and --once must be UTF-8"});
  }
  if (auto posted = post_addition(*batch, request_, **source); !posted) {
    if (stop.take() > 0) return 128 + stop.first_signal();
    const bool is_empty = posted.error().code == ErrorCode::not_available;
    return tell_failure(is_empty ? Error{ErrorCode::fix_request, posted.error().message} : posted.error());
  }
  return wait_for_answer(*batch, stop);
}

// Best effort: a driver that is not asked looks every second.
void AddVerb::nudge(const BatchDirectory& batch) {
  auto holder = DriverWatch(batch).look();
  if (!holder || holder->state != Holder::State::alive) return;
  [[maybe_unused]] auto reply = ask_driver(holder->process(), batch_request("add", batch.path()), kNudgeBound);
}

int AddVerb::wait_for_answer(const BatchDirectory& batch, SignalStop& stop) {
  nudge(batch);
  auto deadline = Clock::now() + bound_;
  bool is_taken = false;
  for (milliseconds pause = kFirstPause;; pause = std::min(pause * 2, kLongestPause)) {
    auto answer = find_answer(batch, request_.token);
    // What passes (no descriptors) says nothing of the tasks.
    const bool is_passing = !answer && answer.error().code == ErrorCode::retry_later;
    if (!is_passing && (!answer || *answer)) {
      remove_addition(batch, request_.token);
      return answer ? tell_answer(**answer) : tell_failure(answer.error());
    }
    pollfd waiting{stop.descriptor(), POLLIN, 0};
    ::poll(&waiting, 1, static_cast<int>(pause.count()));
    const bool is_stopped = stop.take() > 0;
    if (!is_stopped && Clock::now() < deadline) continue;
    if (take_back_addition(batch, request_.token)) {
      remove_addition(batch, request_.token);
      if (is_stopped) return 128 + stop.first_signal();
      return tell_failure({ErrorCode::retry_later,
                           fmt::format("{}: no driver has taken the tasks in {}; nothing was added (does one drive the "
                                       "batch? allot list tells)",
                                       batch.path(), format_duration(bound_.count()))});
    }
    if (is_stopped) {
      tell_error("a driver has taken the tasks; whether they were added, allot status tells");
      return 128 + stop.first_signal();
    }
    if (is_taken) {
      return tell_failure(
          {ErrorCode::retry_later, batch.path() +
                                       ": a driver has taken the tasks and does not answer; whether they were added, "
                                       "allot status tells"});
    }
    // It is about to answer, unless it has died over it; then the next one answers.
    is_taken = true;
    deadline = Clock::now() + std::max(bound_, kTakenBound);
  }
}

int AddVerb::tell_answer(const AdditionAnswer& answer) const {
  const std::string steps = to_text(StepRanges(answer.first_step, answer.count));
  if (parsable_) return print_or_fail(steps + "\n");
  return print_or_fail(fmt::format("{} {}: step{} {}\n", plural(answer.count, "task"),
                                   answer.was_there ? "had been added before" : "added", answer.count == 1 ? "" : "s",
                                   steps));
}

}  // namespace

std::unique_ptr<Verb> make_add_verb() {
  return std::make_unique<AddVerb>();
}

}  // namespace allot::cli
