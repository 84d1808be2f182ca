// SPDX-License-Identifier: MIT
#include "worker_node/local_distributor.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "process/control_group.h"
#include "process/identity.h"
#include "process/install_paths.h"
#include "process/machine.h"
#include "protocol/distributor_id.h"
#include "worker_node/node_slot.h"
#include "worker_node/step_claim.h"

namespace allot {
LocalDistributor::LocalDistributor(ClusterConfig config, LocalSettings settings)
    : BookDistributor(config, local_queues(config, settings)), settings_(std::move(settings)) {}

Result<void> LocalDistributor::check_resources(const Submission& submission) const {
  const auto& excluded = submission.excluded_nodes;
  if (std::find(excluded.begin(), excluded.end(), host_name()) != excluded.end()) {
    return fail(ErrorCode::fix_request, "cluster " + config_.name + " has no node but " + host_name() +
                                            ", which the submission excludes; run it on another cluster, or do not "
                                            "exclude this node");
  }
  return BookDistributor::check_resources(submission);
}

Result<Sessions> sessions_of(const BatchDirectory& batch, const std::vector<std::int64_t>& except,
                             std::optional<std::uint32_t> submission) {
  auto fold = Fold::load(batch);
  if (!fold) return fail(fold.error());
  std::vector<bool> has_open_run(fold->record_files().size());
  for (std::uint64_t step = 0; step < fold->size(); ++step) {
    const FoldedTask& task = fold->task(step);
    const bool is_asked_for = !submission || task.submission == *submission;
    if (task.state == TaskState::running && is_asked_for) has_open_run[task.file] = true;
  }
  Sessions sessions;
  if (has_claimed_steps(batch.path())) {
    sessions.state = Sessions::State::alive;
    sessions.text = "some of its steps are being run without a driver (allot worker, or allot-worker-node --steps)";
    return sessions;
  }
  for (std::size_t i = 0; i < fold->sessions().size(); ++i) {
    const auto& session = fold->sessions()[i];
    if (!session || session->worker_pid == 0) continue;
    if (std::find(except.begin(), except.end(), session->worker_pid) != except.end()) continue;
    const std::string& writer = fold->record_files()[i];
    if (session->host != host_name()) {
      // Only a run without an end is anybody's concern there: what never started on a host that is not driven from any
      // more does not start there.
      if (sessions.state == Sessions::State::gone && has_open_run[i]) {
        sessions.state = Sessions::State::elsewhere;
        sessions.text = "a run without an end is in " + writer + ", which was written on host " + session->host;
      }
      continue;
    }
    if (session->boot_id != boot_id()) continue;
    const bool guard = is_alive({static_cast<pid_t>(session->pid), session->start_ticks});
    // Where the worker node is part of this process (sequential) its guard alone is the question.
    const bool worker = session->worker_pid != ::getpid() &&
                        is_alive({static_cast<pid_t>(session->worker_pid), session->worker_start_ticks});
    if (!guard && !worker) continue;
    sessions.state = Sessions::State::alive;
    sessions.text = writer + ": its " + (guard ? "guard" : "worker node") + " (pid " +
                    std::to_string(guard ? session->pid : session->worker_pid) + ") lives";
    return sessions;
  }
  return sessions;
}

Result<std::string> record_ends(const BatchDirectory& batch, const std::vector<FinishedRecord>& ends) {
  const std::string runtime = runtime_directory();
  if (runtime.empty()) return fail(ErrorCode::fix_request, "no private directory for locks; set XDG_RUNTIME_DIR");
  NodeSlot slot;
  if (auto claimed = claim_slot_files(slot, batch, runtime); !claimed) return fail(claimed.error());
  auto records = RecordWriter::open(batch.record_path(slot.writer));
  if (!records) return fail(records.error());
  for (const FinishedRecord& end : ends) records->add(end);
  if (auto written = records->write(); !written) return fail(written.error());
  if (auto synced = records->sync(); !synced) return fail(synced.error());
  const std::string writer = slot.writer;
  release_slot_files(slot);
  return writer;
}

Result<std::string> record_lost(const BatchDirectory& batch, const std::vector<RunKey>& keys, const std::string& text) {
  std::vector<FinishedRecord> ends;
  for (const RunKey& key : keys) {
    FinishedRecord record;
    record.key = key;
    record.ended_ns =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    record.exit_info.exit_class = ExitClass::lost;
    record.exit_info.text = text;
    ends.push_back(std::move(record));
  }
  return record_ends(batch, ends);
}

bool end_groups(const BatchDirectory& batch) {
  auto fold = Fold::load(batch);
  if (!fold) return false;
  bool all = true;
  for (const auto& session : fold->sessions()) {
    if (!session || session->cgroup.empty() || session->host != host_name() || session->boot_id != boot_id()) continue;
    if (is_alive({static_cast<pid_t>(session->pid), session->start_ticks}) ||
        is_alive({static_cast<pid_t>(session->worker_pid), session->worker_start_ticks})) {
      continue;
    }
    // Whatever a damaged record says, only a group that allot made for this batch is ended.
    const std::string name = session->cgroup.substr(session->cgroup.rfind('/') + 1);
    if (name.rfind("allot-" + batch.info().batch_id + "-", 0) != 0) continue;
    all = empty_control_group(session->cgroup, std::chrono::seconds(10)) && all;
    remove_control_group(session->cgroup);
  }
  return all;
}

namespace {

// Whoever started this process, and what was started together with it (a pipeline), is the user's and no task's, even
// where the user has exported a task's variables.
class Bystanders {
 public:
  Bystanders() : ancestors_(ancestors_of(::getpid())) {}
  bool include(pid_t pid) const {
    return pid == ::getpid() || ::getpgid(pid) == ::getpgrp() ||
           std::find(ancestors_.begin(), ancestors_.end(), pid) != ancestors_.end();
  }

 private:
  std::vector<pid_t> ancestors_;
};

// KILLs what `look` finds until it finds nothing.
template <class Look>
bool end_all(Look&& look) {
  const Bystanders bystanders;
  for (int waited_ms = 0; waited_ms < 10'000; waited_ms += 5) {
    bool some = false;
    for (pid_t pid : look()) {
      if (bystanders.include(pid) || !process_start_ticks(pid)) continue;
      ::kill(pid, SIGKILL);
      some = true;
    }
    if (!some) return true;
    ::poll(nullptr, 0, 5);  // no descriptor tells of processes that are nobody's children here
  }
  return false;
}

// When the batch's first session on this host in this boot began; nothing for none.
std::optional<std::uint64_t> first_session_ticks(const Fold& fold) {
  std::optional<std::uint64_t> first;
  for (const auto& session : fold.sessions()) {
    if (!session || session->host != host_name() || session->boot_id != boot_id()) continue;
    const bool is_slot = session->worker_pid != 0;
    const std::uint64_t ticks =
        is_slot ? std::min(session->start_ticks, session->worker_start_ticks) : session->start_ticks;
    first = std::min(first.value_or(ticks), ticks);
  }
  return first;
}

}  // namespace

Strays end_strays(const BatchDirectory& batch, const std::vector<std::int64_t>& spared) {
  Strays strays;
  auto fold = Fold::load(batch);
  strays.ended = fold && end_groups(batch);
  if (!strays.ended) return strays;
  std::unordered_set<std::string> bases;
  for (const FoldedSubmission& submission : fold->submissions()) bases.insert(submission.intent.id_base);
  const auto is_of_batch = [&bases](std::string_view id) {
    const auto parsed = parse_distributor_id(id);
    return parsed && bases.count(parsed->base) != 0;
  };
  EnvironmentScan scan;
  strays.ended = end_all([&] {
    scan = scan_environments("ALLOT_DISTRIBUTOR_ID", is_of_batch);
    // After the look at the marks: what a living worker node starts in between is below it.
    std::vector<pid_t> kept;
    for (std::int64_t pid : spared) {
      const auto below = descendants_of(static_cast<pid_t>(pid));
      kept.insert(kept.end(), below.begin(), below.end());
      kept.push_back(static_cast<pid_t>(pid));
    }
    std::vector<pid_t> found;
    for (pid_t pid : scan.found) {
      if (std::find(kept.begin(), kept.end(), pid) == kept.end()) found.push_back(pid);
    }
    return found;
  });
  for (const auto& session : fold->sessions()) {
    const bool is_slot_here = session && session->worker_pid != 0 && session->host == host_name();
    if (is_slot_here && session->boot_id == boot_id() && session->cgroup.empty()) strays.all_grouped = false;
  }
  if (const auto first = first_session_ticks(*fold); first) {
    for (pid_t pid : scan.unreadable) {
      const auto ticks = process_start_ticks(pid);
      if (ticks && *ticks >= *first) ++strays.unreadable;
    }
  }
  return strays;
}

std::string Strays::reservation() const {
  std::string text;
  if (!all_grouped) {
    text = "; without a control group, a process that has left its session and emptied its environment is not seen";
  }
  if (unreadable == 0) return text;
  return text + "; " + std::to_string(unreadable) + (unreadable == 1 ? " process" : " processes") +
         " of other users began since, and whether a task has become one of them cannot be seen";
}

bool end_marked(const std::vector<std::string>& distributor_ids) {
  if (distributor_ids.empty()) return true;
  const std::unordered_set<std::string> wanted(distributor_ids.begin(), distributor_ids.end());
  return end_all([&wanted] {
    return scan_environments("ALLOT_DISTRIBUTOR_ID",
                             [&wanted](std::string_view id) { return wanted.count(std::string(id)) != 0; })
        .found;
  });
}

}  // namespace allot
