// SPDX-License-Identifier: MIT
#include "tests/faults/judge.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "ledger/fold.h"
#include "protocol/distributor_id.h"

namespace allot::faults {
namespace {

struct End {
  ExitInfo info;
  bool by_worker_node = false;
};

/// Whether a run that ended so may be followed by another one of the same task.
bool may_run_again(ExitClass end) {
  return end == ExitClass::lost || end == ExitClass::node_failed || end == ExitClass::preempted ||
         end == ExitClass::killed;
}

std::string key_text(const RunKey& key) {
  return "step " + std::to_string(key.step) + ": run " + std::to_string(key.submission) + "." +
         std::to_string(key.restart);
}

class Judge {
 public:
  Judge(const Evidence& evidence, const Demands& demands) : evidence_(evidence), demands_(demands) {
    for (const auto& [number, submission] : evidence_.submissions) {
      for (const auto& intent : submission.intents) numbers_[intent.record.id_base] = number;
    }
    for (const auto& [step, lines] : evidence_.effects) {
      for (const EffectLine& line : lines) take_effect(step, line);
    }
  }

  std::vector<std::string> work() {
    for (const auto& [number, submission] : evidence_.submissions) check_intents(number, submission);
    for (const auto& [key, run] : evidence_.runs) check_run(key, run);
    check_repetitions();
    check_effects();
    if (evidence_.steps < demands_.tasks) {
      say("forgotten", "the batch was made with " + std::to_string(demands_.tasks) + " tasks, and knows " +
                           std::to_string(evidence_.steps));
    }
    if (demands_.all_ended) {
      for (std::uint64_t step = 0; step < evidence_.steps; ++step) check_end(step);
    }
    return std::move(found_);
  }

 private:
  using Pair = std::pair<std::uint64_t, std::uint32_t>;  // step, submission

  void say(const std::string& rule, const std::string& text) { found_.push_back(rule + ": " + text); }

  void take_effect(std::uint64_t step, const EffectLine& line) {
    const std::string what = "step " + std::to_string(step) + ": id " + line.distributor_id;
    const auto id = parse_distributor_id(line.distributor_id);
    const auto number = id ? numbers_.find(id->base) : numbers_.end();
    if (number == numbers_.end())
      return say("no_intent", what + " of pid " + std::to_string(line.pid) + " is in no intent");
    const Submitted& submission = evidence_.submissions.at(number->second);
    const IntentRecord& intent = submission.intents.front().record;
    if (!submission.covers(step) || (id->array_step && *id->array_step + intent.step_origin != step)) {
      say("no_intent", what + " is another step's");
    }
    effects_[{step, number->second}].push_back(&line);
  }

  void check_intents(std::uint32_t number, const Submitted& submission) {
    std::set<std::string> tokens;
    for (const auto& intent : submission.intents) tokens.insert(intent.record.token);
    if (tokens.size() > 1) {
      say("number_twice", "submission " + std::to_string(number) + " has " + std::to_string(tokens.size()) + " tokens");
    }
  }

  void check_run(const RunKey& key, const Run& run) {
    const std::string what = key_text(key);
    const auto submission = evidence_.submissions.find(key.submission);
    if (submission == evidence_.submissions.end() || !submission->second.covers(key.step)) {
      say("no_intent", what + " is in no intent");
    }
    if (key.step >= evidence_.steps)
      say("no_task", what + ": the table has " + std::to_string(evidence_.steps) + " steps");
    if (run.started.size() > 1) {
      say("started_twice", what + ": " + run.started[0].place.text() + " and " + run.started[1].place.text());
    }
    if (run.finished.size() > 1) {
      say("finished_twice", what + ": " + run.finished[0].place.text() + " and " + run.finished[1].place.text());
    }
    for (const auto& finished : run.finished) {
      // The loss of a run is recorded by whoever buries it, in a file of its own: only within one file there is an
      // order.
      const bool known = std::any_of(run.started.begin(), run.started.end(), [&](const auto& started) {
        return started.place.file != finished.place.file || started.place.offset < finished.place.offset;
      });
      if (!known) say("not_started", what + ": " + finished.place.text() + " ends what no record before it starts");
    }
    for (const auto& verdict : run.verdicts) {
      if (verdict.record.started && run.started.empty()) {
        say("not_started", what + ": " + verdict.place.text() + " is a verdict on a run without a started record");
      }
      if (!verdict.record.started && !run.started.empty()) {
        say("false_verdict",
            what + ": " + verdict.place.text() + " says it never started; " + run.started[0].place.text());
      }
      if (verdict.record.exit_info.is_done()) say("false_verdict", what + ": a verdict without a witness says done");
    }
  }

  // The end that counts (the worker node's own over a verdict); nothing while there is none.
  static std::optional<End> end_of(const Run& run) {
    if (!run.finished.empty()) return End{run.finished.front().record.exit_info, true};
    if (!run.verdicts.empty()) return End{run.verdicts.front().record.exit_info, false};
    return std::nullopt;
  }

  void check_repetitions() {
    const RunKey* before = nullptr;
    for (const auto& [key, run] : evidence_.runs) {
      if (run.started.empty()) continue;
      if (before != nullptr && before->step == key.step) check_repetition(*before, evidence_.runs.at(*before), key);
      before = &key;
    }
  }

  void check_repetition(const RunKey& before, const Run& run, const RunKey& key) {
    const std::string what = key_text(key);
    const std::string first = "run " + std::to_string(before.submission) + "." + std::to_string(before.restart);
    const auto intent = evidence_.submissions.find(key.submission);
    std::int64_t since = INT64_MAX;
    if (intent != evidence_.submissions.end() && !intent->second.intents.empty()) {
      since = intent->second.intents.front().record.at_ns;
    }
    std::vector<std::pair<std::int64_t, ExitClass>> ends;  // with a verdict first, if there are both: it came first
    for (const auto& v : run.verdicts) ends.emplace_back(v.record.at_ns, v.record.exit_info.exit_class);
    for (const auto& f : run.finished) ends.emplace_back(f.record.ended_ns, f.record.exit_info.exit_class);
    if (ends.empty()) return say("ran_again", what + " follows " + first + ", of which no end is recorded");
    if (ends.front().first > since)
      say("ran_again", what + " was intended before the end of " + first + " was recorded");
    for (const auto& [at, end] : ends) {
      const bool is_decided = std::any_of(run.retries.begin(), run.retries.end(), [&, end = end](const auto& retry) {
        return retry.record.because == end && retry.record.at_ns <= since && end != ExitClass::done;
      });
      const bool is_round = std::any_of(run.additions.begin(), run.additions.end(), [&, end = end](const auto& added) {
        return added.record.again && added.record.at_ns <= since && end == ExitClass::done;
      });
      if (!may_run_again(end) && !is_decided && !is_round) {
        say("ran_again", what + " follows " + first + ", which ended as " + std::string(to_string(end)));
      }
    }
  }

  void check_effects() {
    for (const auto& [pair, lines] : effects_) {
      const std::string what = "step " + std::to_string(pair.first) + ": submission " + std::to_string(pair.second);
      std::size_t starts = 0, ends = 0;
      for (const EffectLine* line : lines) {
        ++(line->is_end ? ends : starts);
        if (!line->is_end && line->last != 0) {
          say("overlap", what + " (pid " + std::to_string(line->pid) + ") began while pid " +
                             std::to_string(line->last) + " of an earlier run lived");
        }
      }
      std::vector<const StartedRecord*> started;
      for (auto run = evidence_.runs.lower_bound({static_cast<std::uint32_t>(pair.first), pair.second, 0});
           run != evidence_.runs.end() && run->first.step == pair.first && run->first.submission == pair.second;
           ++run) {
        for (const auto& record : run->second.started) started.push_back(&record.record);
      }
      if (starts > started.size()) {
        say("unrecorded_start",
            what + " ran " + std::to_string(starts) + " times; started records: " + std::to_string(started.size()));
      }
      if (ends > starts) say("effects", what + " ended more often than it began");
      if (!started.empty() && !lines.empty()) {
        if (started.front()->attempt != lines.front()->attempt) {
          say("attempt", what + " was told attempt " + std::to_string(lines.front()->attempt) + "; its record says " +
                             std::to_string(started.front()->attempt));
        }
        if (started.front()->at_ns > lines.front()->at_ns)
          say("unrecorded_start", what + " ran before its started record");
      }
    }
    if (!demands_.effects) return;
    for (const auto& [key, run] : evidence_.runs) {
      for (const auto& finished : run.finished) check_effect_of(key, finished.record.exit_info);
    }
  }

  // An exit status that is recorded must be one that the task gave.
  void check_effect_of(const RunKey& key, const ExitInfo& info) {
    if (info.exit_class != ExitClass::done && info.exit_class != ExitClass::error) return;
    const int code = info.exit_code.value_or(0);
    const auto lines = effects_.find({key.step, key.submission});
    if (lines != effects_.end()) {
      for (const EffectLine* line : lines->second) {
        if (line->is_end && line->last == code) return;
      }
    }
    say("no_effect", key_text(key) + " is recorded as " + describe(info) + "; the task did not end so");
  }

  void check_end(std::uint64_t step) {
    const std::string what = "step " + std::to_string(step);
    for (const auto& abandoned : evidence_.abandoned) {
      if (abandoned.record.step == step) return;
    }
    std::optional<End> end;
    for (auto at = evidence_.submissions.rbegin(); at != evidence_.submissions.rend() && !end; ++at) {
      const auto& [number, submission] = *at;
      if (!submission.covers(step)) continue;
      for (const auto& withdrawn : evidence_.withdrawn) {
        if (withdrawn.record.submission == number && withdrawn.record.steps.contains(step)) return;
      }
      for (auto run = evidence_.runs.lower_bound({static_cast<std::uint32_t>(step), number, 0});
           run != evidence_.runs.end() && run->first.step == step && run->first.submission == number; ++run) {
        if (auto found = end_of(run->second)) end = found;
      }
      // A submission that was refused needs no end of its own: then an earlier one's stands.
      if (!end && !submission.is_refused) {
        return say("forgotten", what + ": submission " + std::to_string(number) + " has no end in the records");
      }
    }
    if (!end) return say("forgotten", what + " was never submitted and never abandoned");
    const ExitClass how = end->info.exit_class;
    if (demands_.strict && how != ExitClass::done && how != ExitClass::error &&
        !(demands_.tasks_killed && how == ExitClass::signaled)) {
      say("given_up", what + " ended as " + describe(end->info) + ": " + end->info.text);
    }
  }

  const Evidence& evidence_;
  const Demands& demands_;
  std::map<std::string, std::uint32_t> numbers_;  // id base → submission
  std::map<Pair, std::vector<const EffectLine*>> effects_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> judge(const Evidence& evidence, const Demands& demands) {
  return Judge(evidence, demands).work();
}

std::vector<std::string> judge_fold(const Result<Fold>& fold, const Evidence& evidence) {
  if (!fold) return {"fold: " + fold.error().message};
  std::vector<std::string> found;
  if (fold->size() != evidence.steps) {
    return {"fold: knows " + std::to_string(fold->size()) + " steps of " + std::to_string(evidence.steps)};
  }
  for (std::uint64_t step = 0; step < evidence.steps; ++step) {
    const FoldedTask& task = fold->task(step);
    if (task.state != TaskState::done && task.state != TaskState::failed) continue;
    const auto run = evidence.runs.find({static_cast<std::uint32_t>(step), task.submission, task.restart});
    const bool finished = run != evidence.runs.end() && !run->second.finished.empty();
    const std::string says =
        "fold: step " + std::to_string(step) + " is called " + std::string(to_string(task.exit_class));
    if (task.state == TaskState::done && !finished) found.push_back(says + " without a finished record");
    if (finished && run->second.finished.front().record.exit_info.exit_class != task.exit_class) {
      found.push_back(says + "; its finished record says " +
                      std::string(to_string(run->second.finished.front().record.exit_info.exit_class)));
    }
  }
  return found;
}

}  // namespace allot::faults
