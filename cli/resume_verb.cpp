// SPDX-License-Identifier: MIT
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/driving.h"
#include "cli/verb.h"
#include "engine/batch_home.h"
#include "engine/recovery.h"

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
    auto path = find_batch(batch_);
    if (!path) return tell_failure(path.error());
    auto batch = BatchDirectory::open(*path);
    if (!batch) return tell_failure(batch.error());
    auto previous = batch->current_driver();
    if (!previous) return tell_failure(previous.error());
    if (!*previous) {
      return tell_failure({ErrorCode::fix_request, batch->path() +
                                                       ": its tasks were never read to the end, so none was "
                                                       "started; remove it and use allot run again"});
    }
    if (driving_.cluster.empty()) driving_.cluster = batch->info().cluster;
    auto cluster = open_cluster(services, driving_.cluster, driving_.slots);
    if (!cluster) return tell_failure(cluster.error());
    auto parts = make_parts(*cluster);
    if (!parts) return tell_failure(parts.error());
    auto driver = batch->claim(take_over_);
    if (!driver) return tell_failure(driver.error());
    return drive(*parts, *batch, *driver, driving_, *grace, stop,
                 [&previous](const DriverContext& context) -> Result<BatchState> {
                   auto recovered = recover(context, *previous);
                   if (!recovered) return fail(std::move(recovered.error()));
                   context.observer.notice(
                       fmt::format("resumed: {} ended before, {} with workers that live, {} recorded as lost",
                                   plural(recovered->ended_before, "task"), recovered->adopted, recovered->lost));
                   return std::move(recovered->state);
                 });
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
