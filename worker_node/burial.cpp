// SPDX-License-Identifier: MIT
#include "worker_node/burial.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <optional>
#include <string_view>

#include "ledger/record_file.h"
#include "process/control_group.h"
#include "process/fault_point.h"
#include "process/identity.h"
#include "process/wait_status.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

constexpr int kLongestBurialMs = 10'000;

std::int64_t real_ns() {
  timespec t;
  ::clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

std::string mark_of(const QueueEntry& entry) {
  const auto step = entry.is_array ? std::optional<std::uint64_t>(entry.step - entry.step_origin) : std::nullopt;
  return "ALLOT_DISTRIBUTOR_ID=" + make_distributor_id(std::string_view(entry.id_base, kIdBaseLength), step);
}

RunKey key_of(const QueueEntry& entry) {
  return {entry.step, entry.submission, entry.restart};
}

bool end_orphans(const Orphans& orphans) {
  // Where there is a group, nothing can have left it; the walk below then only reaps.
  bool all = true;
  if (!orphans.control_group.empty()) {
    all = empty_control_group(orphans.control_group, std::chrono::milliseconds(kLongestBurialMs));
  }
  for (int waited_ms = 0; waited_ms < kLongestBurialMs; waited_ms += 5) {
    std::vector<pid_t> left;
    if (orphans.are_ours) {
      // Below this process are the living guards with their trees, and what the dead one left. One walk sees both: with
      // two, what a living guard spawns in between would pass for an orphan.
      for (pid_t pid : descendants_of(::getpid(), orphans.guards)) {
        int status = 0;
        if (::waitpid(pid, &status, WNOHANG) != pid) left.push_back(pid);
      }
    }
    for (const std::string& mark : orphans.marks) {
      for (pid_t pid : processes_with_environment(mark)) {
        if (process_start_ticks(pid)) left.push_back(pid);
      }
    }
    if (left.empty()) return all;
    for (pid_t pid : left) ::kill(pid, SIGKILL);
    ::poll(nullptr, 0, 5);  // no descriptor tells of another's child
  }
  return false;
}

Result<SessionRuns> runs_of_session(const std::string& record_path, std::uint64_t session_start) {
  SessionRuns runs;
  auto report = scan_record_file(record_path, session_start, [&runs](const DecodedRecord& record, std::uint64_t) {
    if (const auto* begin = std::get_if<StartedRecord>(&record.record)) runs.started.insert(begin->key);
    if (const auto* end = std::get_if<FinishedRecord>(&record.record)) runs.finished.insert(end->key);
    return true;
  });
  if (!report) return fail(std::move(report.error()));
  runs.end = report->valid_end;
  return runs;
}

Result<std::uint64_t> record_loss(const std::string& record_path, const QueueEntry& entry, int guard_status,
                                  bool are_ended) {
  FinishedRecord verdict;
  verdict.key = key_of(entry);
  verdict.attempt = entry.attempt;
  verdict.ended_ns = real_ns();
  verdict.exit_info.exit_class = ExitClass::lost;
  verdict.exit_info.text = "its guard ended: " + describe(decode_wait_status(guard_status)) +
                           "; the worker node (pid " + std::to_string(::getpid()) + ") " +
                           (are_ended ? "ended what was left of its processes" : "cannot end a process that it left") +
                           " and found no end in its records";
  ALLOT_FAULT_POINT("node_before_lost");
  auto writer = RecordWriter::open(record_path);
  Result<void> written = writer ? writer->append(verdict) : Result<void>(fail(writer.error()));
  ALLOT_FAULT_POINT("node_after_lost");
  if (!written) return fail(written.error().with_context("the end of a lost run cannot be recorded"));
  return writer->offset();
}

}  // namespace allot
