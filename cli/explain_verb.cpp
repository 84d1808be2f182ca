// SPDX-License-Identifier: MIT
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_request.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/summary.h"
#include "engine/control_desk.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::seconds kAnswerBound{60};

struct Reason {
  std::uint64_t step = 0;
  std::string text;
};

class ExplainVerb final : public Verb {
 public:
  std::string name() const override { return "explain"; }
  std::string summary() const override { return "Say why tasks of a batch wait"; }
  VerbText text() const override {
    return {{"explain [OPTIONS] BATCH"},
            "Asks the batch's driver, and the driver its cluster, why tasks have not started: what they wait for, and "
            "what would change that. Steps with the same reason are told together; the first 1000 tasks that have not "
            "ended are looked at.\n\n"
            "Exit status: 0 if it could be told; 2 for wrong usage, no such batch, or one that is driven on another "
            "host; 3 if the batch cannot be read.",
            {{"allot explain 06ecx1", "all that wait or run"}, {"allot explain 06ecx1 --steps 7", "one of them"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_option("--steps", selection_.steps, "Only these steps: 0-9,12")->type_name("STEPS");
    app.add_flag("--json", json_, "A JSON object per task and line");
  }

  int run(Services&) override {
    auto selection = selection_.selection();
    if (!selection) return tell_failure(selection.error());
    auto batch = open_batch(batch_);
    if (!batch) return tell_failure(batch.error());
    if (auto known = check_steps(*batch, selection->steps); !known) return tell_failure(known.error());
    auto request = batch_request("explain", batch->path());
    selection_to_json(*selection, request);
    auto reply = ask_if_driven(*batch, request, kAnswerBound);
    if (!reply) return tell_failure(reply.error());
    std::vector<Reason> reasons;
    if (*reply) {
      for (const auto& item : (**reply)["reasons"]) {
        reasons.push_back({item.value("step", std::uint64_t{0}), item.value("reason", std::string())});
      }
    } else if (auto told = without_driver(*batch, *selection, reasons); !told) {
      return tell_failure(told.error());
    }
    return print(reasons);
  }

 private:
  static Result<void> without_driver(const BatchDirectory& batch, const TaskSelection& selection,
                                     std::vector<Reason>& reasons) {
    const auto holder = DriverWatch(batch).look();
    if (!holder) return fail(holder.error());
    const auto fold = load_fold(batch, *holder);
    if (!fold) return fail(fold.error());
    const std::string reason =
        holder->state == Holder::State::waiting ? "as for the batch, " + waiting_text(batch, *holder)
        : holder->state == Holder::State::alive ? "a driver has just begun with the batch; ask again"
                                                : "nobody drives the batch: " + resume_text(batch, *holder);
    for (std::uint64_t step = 0; step < fold->size(); ++step) {
      const FoldedTask& task = fold->task(step);
      const bool is_open =
          task.state == TaskState::waiting || task.state == TaskState::queued || task.state == TaskState::running;
      if (!is_open || !selection.contains(step)) continue;
      reasons.push_back({step, task.is_held ? "it is held (allot release), and " + reason : reason});
    }
    return {};
  }

  int print(const std::vector<Reason>& reasons) const {
    StandardOutput out;
    if (json_) {
      for (const Reason& reason : reasons) {
        Json line;
        line["step"] = reason.step;
        line["reason"] = reason.text;
        out.write(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
      }
      return out.close(kSuccess);
    }
    if (reasons.empty()) out.write("nothing waits: all of these tasks have ended\n");
    for (std::size_t i = 0; i < reasons.size();) {
      std::size_t last = i;
      while (last + 1 < reasons.size() && reasons[last + 1].text == reasons[i].text &&
             reasons[last + 1].step == reasons[last].step + 1) {
        ++last;
      }
      const std::string who = last == i ? fmt::format("step {}", reasons[i].step)
                                        : fmt::format("steps {} to {}", reasons[i].step, reasons[last].step);
      out.write(who + ": " + printable(reasons[i].text) + "\n");
      i = last + 1;
    }
    return out.close(kSuccess);
  }

  std::string batch_;
  SelectionOptions selection_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_explain_verb() {
  return std::make_unique<ExplainVerb>();
}

}  // namespace allot::cli
