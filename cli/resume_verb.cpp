// SPDX-License-Identifier: MIT
#include <memory>

#include <CLI/CLI.hpp>

#include "cli/background.h"
#include "cli/console.h"
#include "cli/driving.h"
#include "cli/take_over.h"
#include "cli/verb.h"
#include "engine/driver_log.h"

namespace allot::cli {
namespace {

class ResumeVerb final : public Verb {
 public:
  std::string name() const override { return "resume"; }
  std::string summary() const override { return "Finish a batch that was cut short"; }
  VerbText text() const override {
    return {{"resume [OPTIONS] BATCH"},
            "Takes over a batch whose driver has ended (by Ctrl-C, a crash, kill -9, a reboot) and finishes it. What "
            "still runs is adopted; what is proven to be gone is recorded as lost and runs again, and so do tasks that "
            "were cancelled, or that the cluster could not take. Tasks that are done, or failed by themselves and "
            "have no further run left by the rules (--retry), are left alone.\n\n"
            "With --background the driver in the background does all that, and this command comes back at once.\n\n"
            "Exit status: as of allot run, over all tasks of the batch; with --background 0 if the batch is in the "
            "background's hands.",
            {{"allot resume 06ecx1", "by the beginning of its id"},
             {"allot resume -j 2 ./batch", "by its directory"},
             {"allot resume --background 06ecx1", "as if it had been submitted"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    driving_.describe(app);
    background_.describe(app);
    app.add_flag("--take-over", take_over_, "Also if its driver was on another host, which you know to have ended");
  }

  int run(Services& services) override {
    SignalStop stop;
    auto grace = parse_grace(driving_.grace);
    if (!grace) return tell_failure(grace.error());
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    if (background_.background) return leave(services, *batch, stop);
    auto taken = take_over(services, *batch, driving_, take_over_);
    if (!taken) return tell_failure(taken.error());
    return drive(taken->parts, *batch, taken->driver, driving_, *grace, stop, {begin_again(taken->previous)});
  }

 private:
  int leave(Services& services, const BatchDirectory& batch, SignalStop& stop) const {
    const auto idle = parse_idle(background_.idle);
    if (!idle) return tell_failure(idle.error());
    const auto fold = Fold::load(batch);
    if (!fold) return tell_failure(fold.error());
    // No driver runs again of its own accord what was cancelled: here the user asks for it.
    CancelledRecord wanted;
    wanted.cancelled = false;
    wanted.at_ns = unix_nanoseconds();
    for (std::uint64_t step = 0; step < fold->size(); ++step) {
      if (fold->task(step).is_cancelled) wanted.steps.append(step);
    }
    std::vector<Record> decisions;
    if (!wanted.steps.empty()) decisions.emplace_back(std::move(wanted));
    auto taken = take_over(services, batch, driving_, take_over_);
    if (!taken) return tell_failure(taken.error());
    if (auto left = hand_over(batch, taken->driver, decisions, *idle, stop); !left) {
      return tell_no_hand_over(left.error(), stop);
    }
    return driving_.quiet ? kSuccess : print_or_fail(handed_over_text(batch));
  }

  DrivingOptions driving_;
  BackgroundOptions background_;
  std::string batch_;
  bool take_over_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_resume_verb() {
  return std::make_unique<ResumeVerb>();
}

}  // namespace allot::cli
