// SPDX-License-Identifier: MIT
// What `allot submit` has beside `allot run`'s way to a batch: the background.
#include <memory>

#include <CLI/CLI.hpp>

#include "cli/cluster_access.h"
#include "cli/driving.h"
#include "cli/signal_stop.h"
#include "cli/verb.h"
#include "engine/background_queue.h"

namespace allot::cli {
namespace {

class BackgroundSubmit final : public Verb {
 public:
  explicit BackgroundSubmit(std::unique_ptr<Verb> submit) : submit_(std::move(submit)) {}

  std::string name() const override { return submit_->name(); }
  std::string summary() const override { return submit_->summary(); }
  VerbText text() const override { return submit_->text(); }
  bool takes_command() const override { return submit_->takes_command(); }
  void take_command(std::vector<std::string>&& words) override { submit_->take_command(std::move(words)); }
  void describe(CLI::App& app) override {
    submit_->describe(app);
    app_ = &app;
  }

  int run(Services& services) override {
    SignalStop stop;
    if (auto checked = check_place(); !checked) return tell_failure(checked.error());
    const int status = submit_->run(services);
    // A batch that was made is told of even so; here a signal has ended the waiting for the driver.
    return status == kEnvironment && stop.first_signal() != 0 ? 128 + stop.first_signal() : status;
  }

 private:
  // Before the batch is made: one that could not be left to the background would be left to nobody.
  Result<void> check_place() const {
    if (app_->count("--dry-run") > 0) return {};
    const bool is_named = app_->count("--cluster") > 0;
    const auto queue =
        BackgroundQueue::at(stored_name(is_named ? app_->get_option("--cluster")->as<std::string>() : kDefaultCluster));
    if (!queue) return fail(queue.error());
    return queue->check_place();
  }

  const std::unique_ptr<Verb> submit_;
  const CLI::App* app_ = nullptr;
};

}  // namespace

std::unique_ptr<Verb> with_background(std::unique_ptr<Verb> submit) {
  return std::make_unique<BackgroundSubmit>(std::move(submit));
}

}  // namespace allot::cli
