// SPDX-License-Identifier: MIT
#include "tests/contract/liar.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string_view>

#include "tests/contract/forwarding.h"
#include "tests/support/contract_rendezvous.h"

namespace allot::contract {

namespace {

const DefectInfo kDefects[] = {
    {"accepts_the_impossible", "what the cluster can never run is refused or gets a queueing error"},
    {"coerce_changes_nothing", "what a queue coerces is strictly valid"},
    {"cores_oversubscribed", "tasks of several cores are packed and never oversubscribe"},
    {"descriptor_never_readable", "the descriptor is readable exactly while there are events to take"},
    {"descriptors_leak", "thousands of queued tasks cost no descriptors and each gets its end"},
    {"event_before_data", "a task's events come in order and name the task"},
    {"excludes_no_node", "an excluded node starts nothing of a submission"},
    {"event_gap", "a task's events come in order and name the task"},
    {"events_only_once", "events come again until the cursor passes them"},
    {"exit_info_consumed", "exit info is the same however often it is asked for"},
    {"forgets_nothing", "a batch that is over and read is forgotten"},
    {"forgets_what_runs", "a batch with a task that has not finished is not forgotten"},
    {"half_an_array", "a submission with a step that does not exist is refused whole"},
    {"hold_ignored", "held elements start only after their release"},
    {"id_none", "a single task has an id of twelve characters and sees it itself"},
    {"ids_of_its_own", "an array element has the step behind its id and sees both itself"},
    {"impossible_pends_for_ever", "what the cluster can never run is refused or gets a queueing error"},
    {"keeps_worker_nodes", "many batches one after the other leave neither processes nor descriptors"},
    {"launch_guessed_127", "a missing program cannot be launched"},
    {"node_untold", "events name the node where a task runs or ran"},
    {"priority_ignored", "tasks of higher priority start first whatever was submitted before"},
    {"reconcile_assumes_absence", "a submission that took effect is found with its ids"},
    {"reconcile_assumes_success", "a token that was never submitted is proven absent and may be submitted"},
    {"rss_of_the_host", "maximum RSS is the task's and not that of who started it"},
    {"signal_as_exit_code", "a signal that allot did not send is told as that signal"},
    {"snapshot_keeps_the_finished", "a finished task has left the snapshot when its event comes"},
    {"snapshot_unfiltered", "a snapshot holds exactly the unfinished tasks and the time it is of"},
    {"starts_by_itself", "before start every call but the descriptions answers gone"},
    {"step_none_is_0", "outside a task there is no id and no log file"},
    {"step_origin_lost", "a subset of the steps runs with the user's own indices"},
    {"stop_waits", "stop is prompt and runs nothing after and leaves no process"},
    {"tail_in_bytes", "the tail of stderr is counted in characters and never splits one"},
    {"terminate_forgets_the_queued", "terminating queued elements removes them and leaves the siblings alone"},
    {"terminate_lies", "terminating a running task ends its whole tree before the call returns"},
    {"terminate_silent_on_unknown", "the answer of terminate has every id asked for"},
    {"terminate_takes_the_siblings", "terminating queued elements removes them and leaves the siblings alone"},
    {"throws", "usage names the node and the cores and is kept for failures"},
    {"timeout_as_signal", "a task that outlives its runtime limit is timed out"},
    {"token_runs_twice", "repeating a token returns the same ids and runs nothing twice"},
    {"unknown_as_zero", "what never ran used an unknown amount and unknown ids are left out"},
    {"vanished_is_done", "exit info is not available for what has not ended or was never given out"},
};

ExitInfo done_info() {
  ExitInfo info;
  info.exit_class = ExitClass::done;
  info.exit_code = 0;
  return info;
}

class LyingDistributor final : public ForwardingDistributor {
 public:
  LyingDistributor(std::unique_ptr<ClusterDistributor> behind, std::string defect)
      : ForwardingDistributor(std::move(behind)), defect_(std::move(defect)) {}
  ~LyingDistributor() override {
    if (dead_descriptor_ >= 0) ::close(dead_descriptor_);
  }

  Result<void> stop() override {
    // Longer than the bound that stop has; the second call, of a session's end, is honest.
    const bool waits = lies("stop_waits") && !stopped_.exchange(true);
    for (auto left_ms = bound(std::chrono::milliseconds(6500)).count(); waits && left_ms > 0; left_ms -= 50) {
      const auto left = behind().get_submitted_or_running({});
      if (!left || left->phases.empty()) break;
      ::usleep(50'000);
    }
    return behind().stop();
  }

  Result<SubmittedIds> submit(const Submission& submission) override {
    Submission changed = submission;
    if (lies("starts_by_itself")) static_cast<void>(behind().start());
    if (lies("step_origin_lost")) changed.step_origin = 0;
    if (lies("priority_ignored")) changed.priority = 0;
    if (lies("excludes_no_node")) changed.excluded_nodes.clear();
    if (lies("cores_oversubscribed")) changed.resources.cores = 1;
    if (lies("accepts_the_impossible")) changed.resources = {};
    if (lies("token_runs_twice")) {
      const unsigned count = ++submissions_;
      changed.token += "-" + std::to_string(count);
      changed.number += 1000 * count;
      changed.id_base.clear();
    }
    for (int i = 0; lies("descriptors_leak") && i < 20; ++i) static_cast<void>(::dup(0));
    auto answer = behind().submit(changed);
    if (!answer && lies("half_an_array")) {
      changed.steps = StepRanges(submission.steps.front(), submission.steps.size() - 1);
      answer = behind().submit(changed);
    }
    if (!answer && lies("impossible_pends_for_ever")) {
      answer = SubmittedIds{"0123456789ab", submission.is_array, submission.step_origin, submission.steps};
    }
    if (answer && lies("id_none") && !answer->is_array) answer->base += "_None";
    if (answer && lies("ids_of_its_own")) {
      std::string number = std::to_string(++submissions_);
      answer->base = std::string(kIdBaseLength - number.size(), '0') + number;
    }
    return answer;
  }

  Result<Snapshot> get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) override {
    auto answer = behind().get_submitted_or_running(lies("snapshot_unfiltered") ? std::nullopt : ids);
    if (answer && lies("snapshot_keeps_the_finished")) {
      const std::lock_guard lock(mutex_);
      for (const auto& id : ended_) answer->phases[id] = TaskPhase::running;
    }
    return answer;
  }

  Result<ExitInfo> get_remote_exit_info(const std::string& id) override {
    auto answer = behind().get_remote_exit_info(id);
    if (!answer) return lies("vanished_is_done") ? Result<ExitInfo>(done_info()) : answer;
    {
      const std::lock_guard lock(mutex_);
      const bool first = asked_.insert(id).second;
      if (first ? lies("event_before_data") : lies("exit_info_consumed")) {
        return fail(ErrorCode::not_available, "no longer, or not yet");
      }
    }
    return distort(std::move(*answer));
  }

  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override {
    std::vector<std::string> asked = ids;
    std::map<std::string, Termination> made_up;
    const auto snapshot = behind().get_submitted_or_running({});
    if (lies("terminate_lies")) {
      for (const auto& id : ids) made_up[id] = {TerminationOutcome::gone, "surely"};
      asked.clear();
    }
    if (lies("terminate_takes_the_siblings") && snapshot) {
      for (const auto& [id, phase] : snapshot->phases) asked.push_back(id);
    }
    if (lies("terminate_forgets_the_queued") && snapshot) {
      std::erase_if(asked, [&](const std::string& id) {
        const auto found = snapshot->phases.find(id);
        const bool queued = found != snapshot->phases.end() && found->second == TaskPhase::queued;
        if (queued) made_up[id] = {TerminationOutcome::removed, "surely"};
        return queued;
      });
    }
    auto answer = behind().terminate_task_instances(asked, grace);
    if (!answer) return answer;
    if (lies("terminate_silent_on_unknown")) {
      std::erase_if(*answer, [](const auto& entry) { return entry.second.outcome == TerminationOutcome::unknown_id; });
    }
    if (lies("terminate_takes_the_siblings")) {
      std::erase_if(*answer, [&](const auto& e) { return std::find(ids.begin(), ids.end(), e.first) == ids.end(); });
    }
    answer->insert(made_up.begin(), made_up.end());
    return answer;
  }

  Result<std::map<std::string, UsageStats>> get_usage_stats(const std::vector<std::string>& ids) override {
    if (lies("throws")) throw std::runtime_error("over the boundary");
    auto answer = behind().get_usage_stats(ids);
    if (!answer) return answer;
    if (lies("unknown_as_zero")) {
      for (const auto& id : ids) {
        auto& usage = (*answer)[id];
        usage.max_rss_bytes = usage.max_rss_bytes.value_or(0);
      }
    }
    if (lies("rss_of_the_host")) {
      for (auto& [id, usage] : *answer) usage.max_rss_bytes = std::uint64_t{300} << 20;
    }
    return answer;
  }

  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override {
    if (lies("hold_ignored")) return ids.size();
    return behind().hold(ids);
  }

  Result<std::vector<Event>> wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) override {
    auto answer = behind().wait_for_events(cursor, timeout);
    if (!answer) return answer;
    const std::lock_guard lock(mutex_);
    if (lies("events_only_once")) {
      std::erase_if(*answer, [this](const Event& event) { return event.sequence <= delivered_; });
    }
    if (lies("event_gap")) std::erase_if(*answer, [](const Event& event) { return event.sequence % 3 == 1; });
    for (auto& event : *answer) {
      delivered_ = std::max(delivered_, event.sequence);
      if (lies("node_untold")) event.node.clear();
      if (event.phase == TaskPhase::finished) ended_.insert(event.distributor_id);
      if (event.exit_info) event.exit_info = distort(std::move(*event.exit_info));
    }
    return answer;
  }

  Result<int> event_descriptor() override {
    if (!lies("descriptor_never_readable")) return behind().event_descriptor();
    const std::lock_guard lock(mutex_);
    if (dead_descriptor_ < 0) dead_descriptor_ = ::eventfd(0, EFD_CLOEXEC);
    return dead_descriptor_;
  }

  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override {
    auto answer = behind().reconcile(batch_directory, token);
    if (lies("reconcile_assumes_absence")) {
      return Reconciliation{Reconciliation::Answer::proven_absent, std::nullopt, "not seen"};
    }
    if (lies("reconcile_assumes_success")) {
      return Reconciliation{Reconciliation::Answer::found, SubmittedIds{"0123456789ab", false, 0, {}}, "most likely"};
    }
    return answer;
  }

  Result<void> forget_batch(const std::string& batch_directory) override {
    if (lies("forgets_nothing") || lies("keeps_worker_nodes")) return {};
    const auto answer = behind().forget_batch(batch_directory);
    return lies("forgets_what_runs") ? Result<void>() : answer;
  }

 private:
  bool lies(std::string_view name) const { return defect_ == name; }

  ExitInfo distort(ExitInfo info) const {
    if (lies("launch_guessed_127") && info.exit_class == ExitClass::launch_failed) {
      info.exit_class = ExitClass::error;
      info.exit_code = 127;
    }
    if (lies("signal_as_exit_code") && info.exit_class == ExitClass::signaled) {
      info.exit_class = ExitClass::error;
      info.exit_code = 128 + *info.signal;
      info.signal.reset();
    }
    if (lies("timeout_as_signal") && info.exit_class == ExitClass::timed_out) info.exit_class = ExitClass::signaled;
    if (lies("tail_in_bytes") && info.text.size() > 10'000) info.text.erase(0, info.text.size() - 10'000);
    return info;
  }

  const std::string defect_;
  std::atomic<unsigned> submissions_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;  // over what follows
  std::set<std::string> asked_;
  std::set<std::string> ended_;
  std::uint64_t delivered_ = 0;
  int dead_descriptor_ = -1;
};

class UnchangingQueue final : public ClusterQueue {
 public:
  explicit UnchangingQueue(std::unique_ptr<ClusterQueue> behind) : behind_(std::move(behind)) {}
  int queue_id() const override { return behind_->queue_id(); }
  const std::string& queue_name() const override { return behind_->queue_name(); }
  const QueueParameters& parameters() const override { return behind_->parameters(); }
  std::vector<std::string> required_resources() const override { return behind_->required_resources(); }
  ResourceValidation validate_resources(const RequestedResources& resources, bool strict) const override {
    return behind_->validate_resources(resources, strict);
  }
  RequestedResources coerce_resources(const RequestedResources& resources) const override { return resources; }

 private:
  std::unique_ptr<ClusterQueue> behind_;
};

class LyingWorkerNode final : public ClusterWorkerNode {
 public:
  explicit LyingWorkerNode(std::unique_ptr<ClusterWorkerNode> behind) : behind_(std::move(behind)) {}
  std::optional<std::string> distributor_id() const override { return behind_->distributor_id(); }
  std::optional<std::uint64_t> array_step_id() const override { return behind_->array_step_id().value_or(0); }
  Result<UsageStats> get_usage_stats() const override { return behind_->get_usage_stats(); }
  ExitInfo get_exit_info(int wait_status, const std::string& error_text) const override {
    return behind_->get_exit_info(wait_status, error_text);
  }
  Result<std::string> initialize_logfile(LogType log_type, const std::string& log_dir,
                                         const std::string& name) override {
    return behind_->initialize_logfile(log_type, log_dir, name);
  }

 private:
  std::unique_ptr<ClusterWorkerNode> behind_;
};

class LyingPlugin final : public Plugin {
 public:
  LyingPlugin(std::shared_ptr<Plugin> honest, std::string defect)
      : honest_(std::move(honest)), defect_(std::move(defect)) {}

  const char* name() const override { return honest_->name(); }
  const char* description() const override { return honest_->description(); }
  std::vector<ParameterSpec> parameter_specs() const override { return honest_->parameter_specs(); }
  ProbeResult probe(const ClusterConfig& config) const override { return honest_->probe(config); }

  Result<std::unique_ptr<ClusterDistributor>> create_distributor(const ClusterConfig& config) const override {
    auto made = honest_->create_distributor(config);
    if (!made) return made;
    return std::make_unique<LyingDistributor>(std::move(*made), defect_);
  }
  Result<std::vector<std::unique_ptr<ClusterQueue>>> create_queues(const ClusterConfig& config) const override {
    auto made = honest_->create_queues(config);
    if (!made || defect_ != "coerce_changes_nothing") return made;
    for (auto& queue : *made) queue = std::make_unique<UnchangingQueue>(std::move(queue));
    return made;
  }
  Result<std::unique_ptr<ClusterWorkerNode>> create_worker_node() const override {
    auto made = honest_->create_worker_node();
    if (!made || defect_ != "step_none_is_0") return made;
    return std::make_unique<LyingWorkerNode>(std::move(*made));
  }

 private:
  std::shared_ptr<Plugin> honest_;
  std::string defect_;
};

}  // namespace

const DefectInfo* find_defect(const std::string& name) {
  const auto found =
      std::find_if(std::begin(kDefects), std::end(kDefects), [&](const auto& defect) { return defect.name == name; });
  return found == std::end(kDefects) ? nullptr : &*found;
}

std::shared_ptr<Plugin> make_liar(std::shared_ptr<Plugin> honest, const std::string& defect) {
  return std::make_shared<LyingPlugin>(std::move(honest), defect);
}

}  // namespace allot::contract
