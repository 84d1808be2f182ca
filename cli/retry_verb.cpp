// SPDX-License-Identifier: MIT
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/background.h"
#include "cli/batch_request.h"
#include "cli/console.h"
#include "cli/summary.h"
#include "engine/control_desk.h"
#include "engine/driver_log.h"

namespace allot::cli {
namespace {

constexpr std::chrono::seconds kAnswerBound{60};

class RetryVerb final : public Verb {
 public:
  std::string name() const override { return "retry"; }
  std::string summary() const override { return "Run again what failed"; }
  VerbText text() const override {
    return {
        {"retry [OPTIONS] --failed BATCH", "retry [OPTIONS] --steps STEPS BATCH",
         "retry [OPTIONS] --class CLASS BATCH"},
        "Runs failed tasks of a batch again, whatever their budgets were, and the tasks that were abandoned because of "
        "them. Nothing else of the batch is run: what is done stays done, and what was never run is left to allot "
        "resume. While a driver has the batch, it is asked to do so, and this command comes back at once; otherwise "
        "this command runs them. With --background the driver in the background does, and goes on with the rest of the "
        "batch, too.\n\n"
        "Exit status: as of allot run, over all tasks of the batch; 0 if the batch's driver was asked, or the batch is "
        "in the background's hands.",
        {{"allot retry --failed 06ecx1", "all that failed"},
         {"allot retry --class out_of_memory 06ecx1", "only what ran out of memory"},
         {"allot retry --steps 7,9 -j 1 ./batch", "two steps, if they failed, one at a time"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_flag("--failed", failed_, "Every task that failed");
    app.add_option("--steps", steps_, "Those of these steps that failed: 0-9,12")->type_name("STEPS");
    app.add_option("--class", class_, "Those whose last run ended so: error, signaled, out_of_memory, timed_out, ...")
        ->type_name("CLASS");
    driving_.describe(app);
    background_.describe(app);
    app.add_flag("--take-over", take_over_, "Also if its driver was on another host, which you know to have ended");
  }

  int run(Services& services) override {
    SignalStop stop;
    auto grace = parse_grace(driving_.grace);
    if (!grace) return tell_failure(grace.error());
    RecoveryRequest request;
    request.leave_others = true;
    if (auto read = read_selection(request); !read) return tell_failure(read.error());
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    if (auto known = check_steps(*batch, request.run_again->steps); !known) return tell_failure(known.error());
    nlohmann::json asked = batch_request("retry", batch->path());
    selection_to_json(*request.run_again, asked);
    if (!class_.empty()) asked["class"] = class_;
    if (!take_over_) {
      auto reply = ask_if_driven(*batch, asked, kAnswerBound);
      if (!reply) return tell_failure(reply.error());
      if (*reply) {
        tell(fmt::format("allot: its driver runs {} of the batch again; allot status {} shows them",
                         plural((*reply)->value("tasks", std::uint64_t{0}), "failed task"), shown_name(batch->path())));
        return kSuccess;
      }
    }
    if (background_.background) return leave(services, *batch, request, stop);
    auto taken = take_over(services, *batch, driving_, take_over_);
    if (!taken) return tell_failure(taken.error());
    return drive(taken->parts, *batch, taken->driver, driving_, *grace, stop,
                 {begin_again(taken->previous, std::move(request))});
  }

 private:
  // What a driver here would decide is recorded for the one in the background.
  int leave(Services& services, const BatchDirectory& batch, const RecoveryRequest& request, SignalStop& stop) const {
    const auto idle = parse_idle(background_.idle);
    if (!idle) return tell_failure(idle.error());
    const auto fold = Fold::load(batch);
    if (!fold) return tell_failure(fold.error());
    auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
    if (!table) return tell_failure(table.error());
    std::vector<Record> decisions;
    CancelledRecord wanted;
    wanted.cancelled = false;
    wanted.at_ns = unix_nanoseconds();
    for (std::uint64_t step = 0; step < fold->size(); ++step) {
      const FoldedTask& task = fold->task(step);
      if (task.state != TaskState::failed || !request.run_again->contains(step)) continue;
      if (request.only_class && task.exit_class != *request.only_class) continue;
      const auto row = table->row(step);
      decisions.emplace_back(requested_retry(static_cast<std::uint32_t>(step), task.submission, task.exit_class,
                                             row ? (*row)->resources : RequestedResources{}));
      if (task.is_cancelled) wanted.steps.append(step);
    }
    const std::uint64_t count = decisions.size();
    if (count == 0) {
      tell("allot: none of these tasks has failed: nothing is run again");
      return kSuccess;
    }
    if (!wanted.steps.empty()) decisions.emplace_back(std::move(wanted));
    auto taken = take_over(services, batch, driving_, take_over_);
    if (!taken) return tell_failure(taken.error());
    if (auto left = hand_over(batch, taken->driver, decisions, *idle, stop); !left) {
      return tell_no_hand_over(left.error(), stop);
    }
    if (driving_.quiet) return kSuccess;
    tell(fmt::format("allot: the background driver runs {} again", plural(count, "failed task")));
    return print_or_fail(handed_over_text(batch));
  }

  Result<void> read_selection(RecoveryRequest& request) const {
    request.run_again.emplace();
    if (!failed_ && steps_.empty() && class_.empty()) {
      return fail(ErrorCode::fix_request, "which tasks? name --failed, --steps or --class");
    }
    if (!steps_.empty()) {
      auto steps = parse_steps(steps_);
      if (!steps) return fail(steps.error().with_context("--steps"));
      request.run_again->steps = std::move(*steps);
    }
    if (class_.empty()) return {};
    request.only_class = exit_class_from_string(class_);
    if (request.only_class && *request.only_class != ExitClass::done) return {};
    std::string known;
    for (std::size_t i = 0; i < kExitClassCount; ++i) {
      const auto candidate = static_cast<ExitClass>(i);
      if (candidate != ExitClass::done) known += fmt::format("{}{}", known.empty() ? "" : ", ", to_string(candidate));
    }
    return fail(ErrorCode::fix_request, fmt::format("--class {}: must be one of {}", class_, known));
  }

  DrivingOptions driving_;
  BackgroundOptions background_;
  std::string batch_, steps_, class_;
  bool failed_ = false, take_over_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_retry_verb() {
  return std::make_unique<RetryVerb>();
}

}  // namespace allot::cli
