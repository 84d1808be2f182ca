// SPDX-License-Identifier: MIT
#include <memory>

#include <CLI/CLI.hpp>

#include "cli/driving.h"
#include "cli/take_over.h"
#include "cli/verb.h"

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
            "Exit status: as of allot run, over all tasks of the batch.",
            {{"allot resume 06ecx1", "by the beginning of its id"}, {"allot resume -j 2 ./batch", "by its directory"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    driving_.describe(app);
    app.add_flag("--take-over", take_over_, "Also if its driver was on another host, which you know to have ended");
  }

  int run(Services& services) override {
    SignalStop stop;
    auto grace = parse_grace(driving_.grace);
    if (!grace) return tell_failure(grace.error());
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    auto taken = take_over(services, *batch, driving_, take_over_);
    if (!taken) return tell_failure(taken.error());
    return drive(taken->parts, *batch, taken->driver, driving_, *grace, stop, {begin_again(taken->previous)});
  }

 private:
  DrivingOptions driving_;
  std::string batch_;
  bool take_over_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_resume_verb() {
  return std::make_unique<ResumeVerb>();
}

}  // namespace allot::cli
