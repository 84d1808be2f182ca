// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_request.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/progress_display.h"
#include "cli/summary.h"
#include "engine/control_desk.h"
#include "engine/driver_log.h"
#include "engine/recovery.h"

namespace allot::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kMostAtOnce = 32;
constexpr std::chrono::seconds kAnswerBound{40};

/// What became of one batch's request.
struct Cancelled {
  std::optional<BatchDirectory> batch;
  std::optional<json> reply;
  std::optional<Error> error;
};

class CancelVerb final : public Verb {
 public:
  std::string name() const override { return "cancel"; }
  std::string summary() const override { return "End tasks of a batch, or all of it"; }
  VerbText text() const override {
    return {
        {"cancel [OPTIONS] BATCH..."},
        "Ends batches: what has not started never does, what runs gets TERM and, after --grace, KILL, with its whole "
        "tree. Comes back when all of it is gone. Tasks that wait for a cancelled one are abandoned. With --steps or "
        "--state only those tasks are ended, and the rest of the batch goes on. A batch whose driver is gone is taken "
        "over for it, and nothing else of it is started. allot resume runs cancelled tasks again.\n\n"
        "Exit status: 0 if none of these tasks is left, also if they had ended before; 1 if some could not be ended; 2 "
        "for wrong usage, or if there is no such batch or it is driven on another host; 3 if a batch is damaged or its "
        "cluster cannot be used.",
        {{"allot cancel 06ecx1", "the whole batch"},
         {"allot cancel 06ecx1 --steps 0-9,12 --grace 30s", "eleven steps, with time to clean up"},
         {"allot cancel 06ecx1 --state waiting --state queued", "nothing new; what runs may end"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", names_, "Directories of batches, or their ids, or the beginnings of these")
        ->type_name("BATCH")
        ->required();
    selection_.describe(app, true);
    app.add_option("--grace", grace_, "From TERM to KILL; default 5s")->type_name("TIME");
    app.add_flag("--json", json_, "A JSON object per batch and line");
    app.add_flag("-q,--quiet", quiet_, "Say nothing unless something could not be ended");
  }

  int run(Services& services) override {
    SignalStop stop;
    const auto grace = parse_grace(grace_);
    if (!grace) return tell_failure(grace.error());
    const auto selection = selection_.selection();
    if (!selection) return tell_failure(selection.error());
    std::vector<Cancelled> all(names_.size());
    ask_all(*selection, *grace, all);
    StandardOutput out;
    int status = kSuccess;
    for (std::size_t i = 0; i < all.size(); ++i) {
      Cancelled& one = all[i];
      if (!one.error && !one.reply) cancel_here(services, *selection, *grace, stop, one);
      if (stop.first_signal() != 0) return 128 + stop.first_signal();
      status = std::max(status, tell(out, one));
    }
    return out.close(status);
  }

 private:
  // Each may take as long as its tasks need to end: all at once.
  void ask_all(const TaskSelection& selection, std::chrono::milliseconds grace, std::vector<Cancelled>& all) const {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < all.size(); i = next++) {
        auto batch = open_batch(names_[i]);
        if (!batch) {
          all[i].error = batch.error();
          continue;
        }
        all[i].batch = std::move(*batch);
        if (auto known = check_steps(*all[i].batch, selection.steps); !known) {
          all[i].error = known.error();
          continue;
        }
        json request = batch_request("cancel", all[i].batch->path());
        selection_to_json(selection, request);
        request["grace_ms"] = static_cast<std::uint64_t>(grace.count());
        auto reply = ask_if_driven(*all[i].batch, request, grace + kAnswerBound);
        if (!reply) {
          all[i].error = reply.error();
        } else {
          all[i].reply = std::move(*reply);
        }
      }
    };
    std::vector<std::thread> helpers;
    for (std::size_t i = 1; i < std::min(all.size(), kMostAtOnce); ++i) helpers.emplace_back(work);
    work();
    for (auto& helper : helpers) helper.join();
  }

  // Tasks that have ended, and that the next driver of the background is not to run again now.
  static CancelledRecord to_be_run_again(const BatchDirectory& batch, const Fold& fold,
                                         const TaskSelection& selection) {
    CancelledRecord record;
    record.at_ns = unix_nanoseconds();
    const auto holder = DriverWatch(batch).look();
    if (!holder || !holder->goes_on || !selection.waiting) return record;
    for (std::uint64_t step = 0; step < fold.size(); ++step) {
      if (selection.contains(step) && runs_again(fold.task(step), true)) record.steps.append(step);
    }
    return record;
  }

  // Nobody drives the batch: this process does, as long as it takes to end what is to be ended.
  static void cancel_here(Services& services, const TaskSelection& selection, std::chrono::milliseconds grace,
                          SignalStop& stop, Cancelled& one) {
    const BatchDirectory& batch = *one.batch;
    const auto fold = Fold::load(batch);
    if (!fold) {
      one.error = fold.error();
      return;
    }
    CancelledRecord again = to_be_run_again(batch, *fold, selection);
    const auto open =
        fold->count(TaskState::waiting) + fold->count(TaskState::queued) + fold->count(TaskState::running);
    CancelCount count;
    count.ended = fold->size();
    if (selection.steps) {
      count.ended = 0;
      selection.steps->for_each([&](std::uint64_t step) { count.ended += step < fold->size() ? 1 : 0; });
    }
    std::uint64_t left = 0;
    if (open > 0) {
      auto taken = take_over(services, batch, {}, false);
      if (!taken) {
        one.error = taken.error();
        return;
      }
      RecoveryRequest request;
      request.leave_others = true;
      ProgressDisplay display(ProgressDisplay::Mode::quiet, {});
      const auto result = drive_quietly(taken->parts, batch, taken->driver, grace, stop, display,
                                        {[&](const DriverContext& context) {
                                           if (!again.steps.empty()) context.log.note(again);
                                           return begin_again(taken->previous, request)(context);
                                         },
                                         [&](BatchRun& run) { count = run.cancel(selection, grace); }});
      if (!result) {
        one.error = result.error();
        return;
      }
      if (result->trouble) one.error = result->trouble;
      const auto after = Fold::load(batch);
      if (after) left = after->count(TaskState::queued) + after->count(TaskState::running);
      left = std::min(left, count.asked);
    } else if (!again.steps.empty()) {
      if (auto recorded = record_without_driving(batch, {again}); !recorded) {
        one.error = recorded.error();
        return;
      }
    }
    count.withdrawn += again.steps.size();
    count.ended -= std::min<std::uint64_t>(count.ended, again.steps.size());
    one.reply = {
        {"withdrawn", count.withdrawn}, {"ended", count.asked - left}, {"had_ended", count.ended}, {"left", left}};
  }

  int tell(StandardOutput& out, const Cancelled& one) const {
    if (one.error) return tell_failure(*one.error);
    const json& reply = *one.reply;
    const auto number = [&reply](const char* key) {
      const auto found = reply.find(key);
      return found != reply.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
    };
    const std::uint64_t left = number("left");
    if (json_) {
      nlohmann::ordered_json line;
      line["batch"] = one.batch->path();
      if (!is_utf8(one.batch->path())) line["batch_base64"] = base64(one.batch->path());
      for (const char* key : {"withdrawn", "ended", "had_ended", "left"}) line[key] = number(key);
      out.write(line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
    } else if (!quiet_ || left > 0) {
      out.write(fmt::format("{}: {} ended, {} not started any more, {} had ended before{}\n",
                            shown_name(one.batch->path()), number("ended"), number("withdrawn"), number("had_ended"),
                            left > 0 ? fmt::format(", {} COULD NOT BE ENDED", left) : ""));
    }
    return left > 0 ? kNotAll : kSuccess;
  }

  std::vector<std::string> names_;
  SelectionOptions selection_;
  std::string grace_ = "5s";
  bool json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_cancel_verb() {
  return std::make_unique<CancelVerb>();
}

}  // namespace allot::cli
