// SPDX-License-Identifier: MIT
// hold, release and throttle: what may start, and how much of it at once.
#include <charconv>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_request.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "engine/control_desk.h"
#include "engine/driver_log.h"

namespace allot::cli {
namespace {

constexpr std::chrono::seconds kAnswerBound{60};

// The selected steps that have neither started nor ended.
Result<StepRanges> unstarted(const BatchDirectory& batch, const TaskSelection& selection) {
  const auto holder = DriverWatch(batch).look();
  if (!holder) return fail(holder.error());
  const auto fold = load_fold(batch, *holder);
  if (!fold) return fail(fold.error());
  StepRanges steps;
  for (std::uint64_t step = 0; step < fold->size(); ++step) {
    const TaskState state = fold->task(step).state;
    const bool is_wanted =
        (state == TaskState::waiting && selection.waiting) || (state == TaskState::queued && selection.queued);
    if (is_wanted && selection.contains(step)) steps.append(step);
  }
  return steps;
}

class HoldVerb final : public Verb {
 public:
  explicit HoldVerb(bool is_hold) : is_hold_(is_hold) {}

  std::string name() const override { return is_hold_ ? "hold" : "release"; }
  std::string summary() const override {
    return is_hold_ ? "Keep tasks of a batch from starting" : "Let held tasks start again";
  }
  VerbText text() const override {
    const std::string status =
        "\n\nExit status: 0 if it was done; 2 for wrong usage, no such batch, or one that is "
        "driven on another host; 3 if the batch cannot be read or written.";
    if (!is_hold_) {
      return {{"release [OPTIONS] BATCH"},
              "Lets tasks go on that allot hold has kept from starting." + status,
              {{"allot release 06ecx1", "all of them"}}};
    }
    return {{"hold [OPTIONS] BATCH"},
            "Keeps tasks that have not started from starting, until allot release; what runs goes on. The batch does "
            "not end before. A hold outlives the driver: it holds after a resume, too." +
                status,
            {{"allot hold 06ecx1", "nothing new starts"}, {"allot hold 06ecx1 --steps 100-199", "a part of it"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_option("--steps", selection_.steps, "Only these steps: 0-9,12")->type_name("STEPS");
  }

  int run(Services&) override {
    auto selection = selection_.selection();
    if (!selection) return tell_failure(selection.error());
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    if (auto known = check_steps(*batch, selection->steps); !known) return tell_failure(known.error());
    auto request = batch_request(name(), batch->path());
    selection_to_json(*selection, request);
    auto reply = ask_if_driven(*batch, request, kAnswerBound);
    if (!reply) return tell_failure(reply.error());
    std::uint64_t count = 0;
    if (*reply) {
      count = (*reply)->value("tasks", std::uint64_t{0});
    } else {
      auto steps = unstarted(*batch, *selection);
      if (!steps) return tell_failure(steps.error());
      count = steps->size();
      if (count > 0) {
        auto recorded = record_without_driving(*batch, {HeldRecord{is_hold_, std::move(*steps), unix_nanoseconds()}});
        if (!recorded) return tell_failure(recorded.error());
      }
    }
    tell(fmt::format("allot: {} {}", plural(count, "task"), is_hold_ ? "held" : "released"));
    return kSuccess;
  }

 private:
  bool is_hold_;
  std::string batch_;
  SelectionOptions selection_;
};

class ThrottleVerb final : public Verb {
 public:
  std::string name() const override { return "throttle"; }
  std::string summary() const override { return "Change how many tasks of a batch run at once"; }
  VerbText text() const override {
    return {
        {"throttle BATCH N", "throttle BATCH none"},
        "From now on at most N tasks of the batch are queued or running at once, whatever it was before. What is "
        "queued or runs already goes on. It outlives the driver: it counts after a resume, too.\n\n"
        "Exit status: 0 if it was done; 2 for wrong usage, no such batch, or one that is driven on another host; 3 "
        "if the batch cannot be read or written.",
        {{"allot throttle 06ecx1 10", "ten at once"}, {"allot throttle 06ecx1 none", "as many as the cluster takes"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_option("N", most_, "How many, or none")->type_name("N")->required();
  }

  int run(Services&) override {
    std::uint32_t most = 0;
    if (most_ != "none") {
      const auto [end, error] = std::from_chars(most_.data(), most_.data() + most_.size(), most);
      if (error != std::errc() || end != most_.data() + most_.size() || most == 0) {
        return tell_failure({ErrorCode::fix_request, "\"" + most_ + "\": must be a number from 1 on, or none"});
      }
    }
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    auto request = batch_request(name(), batch->path());
    request["max_running"] = most;
    auto reply = ask_if_driven(*batch, request, kAnswerBound);
    if (!reply) return tell_failure(reply.error());
    if (!*reply) {
      auto recorded = record_without_driving(*batch, {ThrottleRecord{most, unix_nanoseconds()}});
      if (!recorded) return tell_failure(recorded.error());
    }
    return kSuccess;
  }

 private:
  std::string batch_, most_;
};

}  // namespace

std::unique_ptr<Verb> make_hold_verb() {
  return std::make_unique<HoldVerb>(true);
}
std::unique_ptr<Verb> make_release_verb() {
  return std::make_unique<HoldVerb>(false);
}
std::unique_ptr<Verb> make_throttle_verb() {
  return std::make_unique<ThrottleVerb>();
}

}  // namespace allot::cli
