// SPDX-License-Identifier: MIT
#include <boost/filesystem.hpp>
#include <memory>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <CLI/CLI.hpp>

#include "cli/background.h"
#include "cli/console.h"
#include "cli/driving.h"
#include "cli/dry_run.h"
#include "cli/resource_options.h"
#include "cli/summary.h"
#include "cli/task_input.h"
#include "cli/verb.h"
#include "engine/batch_home.h"
#include "engine/batch_maker.h"
#include "engine/begin_time.h"
#include "engine/driver_log.h"
#include "engine/retry_policy.h"
#include "engine/task_source.h"
#include "protocol/distributor_id.h"

namespace allot::cli {
namespace {

class RunVerb final : public Verb {
 public:
  explicit RunVerb(bool is_submit) : is_submit_(is_submit) {}

  std::string name() const override { return is_submit_ ? "submit" : "run"; }
  std::string summary() const override {
    return is_submit_ ? "Leave a batch to the background and come back at once"
                      : "Run shell lines, or a command for many arguments";
  }
  VerbText text() const override;
  bool takes_command() const override { return true; }
  void take_command(std::vector<std::string>&& words) override { input_.take_command(std::move(words)); }

  void describe(CLI::App& app) override {
    input_.describe(app);
    if (is_submit_) {
      describe_submit(app);
    } else {
      driving_.describe(app);
    }
    app.add_option(
           "--batch-dir", batch_dir_,
           "Directory for the batch, which must not exist or be empty; default: one below $XDG_STATE_HOME/allot")
        ->type_name("DIR");
    app.add_option("--name", name_, "Name of the batch, for people and schedulers")->type_name("TEXT");
    resources_.describe(app);
    app.add_option("--queue", queue_, "Queue of each task that does not ask for another")->type_name("NAME");
    app.add_option(
           "--pack", pack_,
           "Tasks that share an element of a scheduler's job array, where the cluster has one: a number, or auto; "
           "default: as its file says")
        ->type_name("N|auto");
    app.add_option("--max-running", max_running_, "Tasks of the batch queued or running at once; see allot throttle")
        ->type_name("N");
    app.add_option("--priority", priority_,
                   "Before the cluster's other batches of lower priority: added to that of each task; default 0")
        ->type_name("N");
    app.add_option("--begin", begin_, "Submit nothing before: 2027-01-31T20:00 (local time), or 10m from now")
        ->type_name("TIME");
    app.add_option(
           "--retry", retry_,
           "Run tasks again that end so (may be repeated): error=3, out_of_memory=2:10s, 75=retry, 3=success, 9=defer; "
           "instead of the cluster's [retry]")
        ->type_name("RULE")
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false);
    auto* dry_run = app.add_flag("--dry-run", dry_run_,
                                 "Show what would be submitted, and whether the queues take it; run and keep nothing");
    app.add_flag("--tasks", all_tasks_, "With --dry-run: every array and command, not only the first few")
        ->needs(dry_run);
    app.add_flag("--allow-empty", allow_empty_, "No tasks at all is success instead of misuse");
  }

  int run(Services& services) override;

 private:
  void describe_submit(CLI::App& app);
  int submit(const MadeBatch& batch, std::chrono::milliseconds idle, SignalStop& stop) const;
  Result<RequestedResources> default_resources() const;
  Result<std::string> batch_path(const std::string& id) const;
  int tell_no_batch(const Error& error, SignalStop& stop, const std::string& empty_json) const;
  int run_dry(const BatchInfo& info, const ClusterParts& parts, TaskSource& source, SignalStop& stop) const;

  DrivingOptions driving_;
  TaskInput input_;
  ResourceOptions resources_;
  std::optional<std::string> batch_dir_, queue_, pack_;
  std::optional<std::int64_t> max_running_, priority_;
  std::string name_;
  std::string begin_;
  std::vector<std::string> retry_;
  bool allow_empty_ = false, dry_run_ = false, all_tasks_ = false;
  const bool is_submit_;
  bool parsable_ = false;
  std::string idle_ = "10s";
};

void RunVerb::describe_submit(CLI::App& app) {
  app.add_option("-c,--cluster", driving_.cluster,
                 "Cluster to run on, by name or by the path of its file (see allot clusters)")
      ->type_name("CLUSTER");
  app.add_flag("--parsable", parsable_, "Print the batch's id (or its directory, with --batch-dir) and nothing else");
  app.add_option("--driver-idle", idle_,
                 "How long a background driver that is started by this command stays without a batch; default 10s")
      ->type_name("TIME");
}

// The driver of a batch that was made here says that it leaves; the one in the background takes over.
int RunVerb::submit(const MadeBatch& batch, std::chrono::milliseconds idle, SignalStop& stop) const {
  if (auto left = hand_over(batch.directory, batch.driver, {}, idle, stop); !left) {
    return tell_no_hand_over(left.error(), stop);
  }
  if (!parsable_) return print_or_fail(handed_over_text(batch.directory));
  const std::string& path = batch.directory.path();
  const std::string name = shown_name(path);
  const bool is_id = name == batch.directory.info().batch_id;
  return print_or_fail((is_id ? name : path) + "\n");
}

VerbText RunVerb::text() const {
  if (is_submit_) {
    return {{"submit [OPTIONS] FILE|-", "submit [OPTIONS] -- COMMAND... ::: ARGUMENT... [::: ARGUMENT...]",
             "submit [OPTIONS] --each FILE|- [-0] -- COMMAND...", "submit [OPTIONS] --array N -- COMMAND...",
             "submit [OPTIONS] -- COMMAND..."},
            "Takes tasks as allot run does, and comes back as soon as the batch is on disk: a driver in the background "
            "runs it, one per user and cluster, which is started when it is needed, shares the cluster's slots between "
            "its batches and leaves when it has had none for a while. Tasks get the environment of this command, but "
            "for what looks like a secret. What the background driver was doing when it was killed, or the host was "
            "booted, the next one goes on with.\n\n"
            "Exit status: 0 if the batch is in the background's hands; 2 for wrong usage or bad input; 3 if the "
            "machine is short of something or the cluster cannot be used.",
            {{"allot submit lines.txt", "a shell line per task"},
             {"id=$(allot submit --parsable --array 100 -- ./simulate --seed {#})", "its id, for a script"},
             {"allot wait $(allot submit --parsable lines.txt)", "until it has ended"}}};
  }
  return {
      {"run [OPTIONS] FILE|-", "run [OPTIONS] -- COMMAND... ::: ARGUMENT... [::: ARGUMENT...]",
       "run [OPTIONS] --each FILE|- [-0] -- COMMAND...", "run [OPTIONS] --array N -- COMMAND...",
       "run [OPTIONS] -- COMMAND..."},
      "Runs every task, several at a time, keeps its output, exit status and usage in a batch directory, and tells at "
      "the end what became of them.\n\n"
      "In COMMAND, {} is the argument and {#} the step (0, 1, ...); a COMMAND without {} gets the argument at its end. "
      "Several lists of arguments give every combination; {1}, {2}, ... are their elements (of a single list, {1} as a "
      "word of its own). Arguments are passed as "
      "they "
      "are, never through a shell.\n\n"
      "Ctrl-C (or SIGTERM, SIGHUP) cancels: nothing new is started and running tasks get TERM, then KILL after "
      "--grace; "
      "a second one kills at once. A batch that was cut short is finished by allot resume.\n\n"
      "Exit status: 0 if every task is done, 1 if some are not, 2 for wrong usage or bad input (also a directory that "
      "cannot be made or written), 3 if the machine is short of something or the cluster cannot be used, so that the "
      "batch was not begun, 128+N if signal N stopped the run. With --dry-run: 1 if a queue would refuse some.",
      {{"allot run lines.txt", "a shell line per task"},
       {"allot run -j 8 --timeout 10m -- gzip -k {} ::: *.log", "a command per file, 8 at a time"},
       {"find . -name '*.png' -print0 | allot run -0 --each - -- optipng {}", "any file names, safely"},
       {"allot run --array 100 -- ./simulate --seed {#}", "a hundred steps of one command"},
       {"allot run --dry-run tasks.jsonl", "what would be submitted, and would it be taken?"}}};
}

Result<RequestedResources> RunVerb::default_resources() const {
  auto resources = resources_.read();
  if (!resources) return resources;
  if (queue_ && queue_->empty()) return fail(ErrorCode::fix_request, "--queue: the name is empty");
  resources->queue = queue_.value_or("");
  if (pack_) {
    const bool is_number = !pack_->empty() && pack_->find_first_not_of("0123456789") == std::string::npos;
    if (!is_number && *pack_ != "auto") return fail(ErrorCode::fix_request, "--pack: must be a number or auto");
    resources->pass_through["pack"] = *pack_;
  }
  return resources;
}

Result<std::string> RunVerb::batch_path(const std::string& id) const {
  if (batch_dir_) {
    if (batch_dir_->empty()) return fail(ErrorCode::fix_request, "--batch-dir: the path is empty");
    return *batch_dir_;
  }
  auto home = batch_home();
  if (!home) return home;
  return *home + "/" + id;
}

int RunVerb::tell_no_batch(const Error& error, SignalStop& stop, const std::string& empty_json) const {
  if (stop.take() > 0) return 128 + stop.first_signal();
  if (error.code != ErrorCode::not_available) return tell_failure(error);
  if (!allow_empty_) return tell_failure({ErrorCode::fix_request, error.message});
  return driving_.json ? print_or_fail(empty_json) : kSuccess;
}

int RunVerb::run_dry(const BatchInfo& info, const ClusterParts& parts, TaskSource& source, SignalStop& stop) const {
  if (batch_dir_) {
    if (auto free = check_batch_place(*batch_dir_); !free) return tell_failure(free.error());
  }
  const DryRunOptions options{driving_.json, driving_.quiet, all_tasks_, info.begin_ns};
  auto tasks = read_tasks(info, source);
  if (!tasks) return tell_no_batch(tasks.error(), stop, empty_dry_run_json(parts, options));
  if (!driving_.quiet) {
    for (const auto& note : source.notes()) tell("allot: " + note);
  }
  return show_dry_run(parts, *tasks, options, stop);
}

int RunVerb::run(Services& services) {
  SignalStop stop;
  if (driving_.cluster.empty()) driving_.cluster = kDefaultCluster;
  auto grace = parse_grace(driving_.grace);
  if (!grace) return tell_failure(grace.error());
  // A batch that is made for nothing would be left behind.
  const auto idle = parse_idle(idle_);
  if (!idle) return tell_failure(idle.error());
  if (is_submit_ && !dry_run_) {
    // One that could not be left to the background would be left to nobody.
    const auto queue = BackgroundQueue::at(stored_name(driving_.cluster));
    if (!queue) return tell_failure(queue.error());
    if (auto good = queue->check_place(); !good) return tell_failure(good.error());
  }
  auto resources = default_resources();
  if (!resources) return tell_failure(resources.error());
  RetryRules rules;
  for (const auto& text : retry_) {
    if (text.empty()) return tell_failure({ErrorCode::fix_request, "--retry: the rule is empty"});
    auto more = parse_retry_rules(text);
    if (!more) return tell_failure(more.error().with_context("--retry"));
    rules = merged(*more, rules);
  }
  auto source = input_.open(name(), stop.descriptor());
  if (!source) return stop.take() > 0 ? 128 + stop.first_signal() : tell_failure(source.error());
  auto cluster = open_cluster(services, driving_.cluster, driving_.slots);
  if (!cluster) return tell_failure(cluster.error());
  auto parts = make_parts(*cluster);
  if (!parts) return tell_failure(parts.error());
  auto id = new_id_base();
  if (!id) return tell_failure(id.error());
  auto path = batch_path(*id);
  if (!path) return tell_failure(path.error());

  BatchInfo info;
  info.batch_id = *id;
  info.name = name_;
  info.cluster = stored_name(driving_.cluster);
  boost::system::error_code error;
  info.cwd = boost::filesystem::current_path(error).string();
  if (error) return tell_failure({ErrorCode::fix_request, "the current directory is gone: " + error.message()});
  info.default_resources = *resources;
  info.retry = to_text(rules);
  if (!begin_.empty()) {
    const auto begin = parse_begin(begin_, unix_nanoseconds());
    if (!begin) return tell_failure(begin.error().with_context("--begin"));
    info.begin_ns = *begin;
  }
  if (max_running_) {
    if (*max_running_ < 1 || *max_running_ > UINT32_MAX) {
      return tell_failure({ErrorCode::fix_request, fmt::format("--max-running: must be 1 to {}", UINT32_MAX)});
    }
    parts->retry.max_running = info.max_running = static_cast<std::uint32_t>(*max_running_);
  }
  if (priority_) {
    if (*priority_ < INT32_MIN || *priority_ > INT32_MAX) {
      return tell_failure({ErrorCode::fix_request, fmt::format("--priority: must be {} to {}", INT32_MIN, INT32_MAX)});
    }
    info.priority = static_cast<std::int32_t>(*priority_);
  }
  spdlog::debug("reading tasks from {}", (*source)->name());
  if (dry_run_) {
    if (info.max_running) parts->retry.max_running = info.max_running;
    return run_dry(info, *parts, **source, stop);
  }
  auto batch = make_batch(*path, std::move(info), services.environment, **source);
  if (!batch) return tell_no_batch(batch.error(), stop, empty_summary_json());
  spdlog::debug("batch {} made at {}", *id, batch->directory.path());
  if (!driving_.quiet) {
    for (const auto& note : (*source)->notes()) tell("allot: " + note);
  }
  if (is_submit_) return submit(*batch, *idle, stop);
  return drive(*parts, batch->directory, batch->driver, driving_, *grace, stop,
               {[&batch](const DriverContext&) -> Result<BatchState> { return fresh_state(std::move(batch->plan)); }});
}

}  // namespace

std::unique_ptr<Verb> make_run_verb() {
  return std::make_unique<RunVerb>(false);
}
std::unique_ptr<Verb> make_submit_verb() {
  return std::make_unique<RunVerb>(true);
}

}  // namespace allot::cli
