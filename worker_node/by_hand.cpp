// SPDX-License-Identifier: MIT
#include "worker_node/by_hand.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstdio>
#include <map>

#include "ledger/fold.h"
#include "ledger/record_file.h"
#include "ledger/writer_name.h"
#include "process/identity.h"
#include "protocol/distributor_id.h"
#include "worker_node/step_claim.h"

namespace allot {
namespace {

int complain(int status, const std::string& text) {
  std::fprintf(stderr, "allot-worker-node: %s\n", text.c_str());
  return status;
}

wire::SubmissionInfo info_of(const IntentRecord& intent) {
  wire::SubmissionInfo info;
  info.number = intent.submission;
  info.id_base = intent.id_base;
  info.is_array = intent.is_array;
  info.step_origin = intent.step_origin;
  info.attempt = intent.attempt;
  info.round = intent.round;
  info.cores = intent.resources.cores.value_or(1);
  info.memory_limit_bytes = intent.resources.memory_bytes.value_or(0);
  info.runtime_limit_milliseconds = intent.resources.runtime_milliseconds.value_or(0);
  return info;
}

bool left_in_order(const BatchDirectory& batch, std::uint64_t epoch) {
  bool has_ended = false;
  const auto report = scan_record_file(batch.record_path(driver_writer_name(epoch)), 0,
                                       [&has_ended](const DecodedRecord& record, std::uint64_t) {
                                         has_ended = std::holds_alternative<EndedRecord>(record.record);
                                         return true;
                                       });
  return report && has_ended;
}

}  // namespace

Result<void> check_undriven(const BatchDirectory& batch) {
  auto driver = batch.current_driver();
  if (!driver) return fail(driver.error());
  if (!*driver || left_in_order(batch, (*driver)->epoch)) return {};
  const DriverIdentity& holder = **driver;
  const std::string who = batch.path() + " is driven by process " + std::to_string(holder.pid) + " on " + holder.host;
  if (holder.host != host_name()) {
    return fail(ErrorCode::fix_request, who +
                                            ", and it cannot be seen from here whether that one still runs its steps; "
                                            "end it there, or resume the batch instead; nothing was run");
  }
  const bool lives = holder.boot_id == boot_id() && is_alive({static_cast<pid_t>(holder.pid), holder.start_ticks});
  const auto above = ancestors_of(::getpid());
  const bool asked_for_it = std::find(above.begin(), above.end(), holder.pid) != above.end();
  if (!lives || holder.pid == ::getpid() || asked_for_it) return {};
  return fail(ErrorCode::fix_request, who + ", which runs its steps itself; nothing was run");
}

int run_by_hand(const WorkerNodeOptions& options, const std::string& text) {
  auto steps = parse_steps(text);
  if (!steps) return complain(2, steps.error().message);
  auto batch = BatchDirectory::open(options.batch_directory);
  if (!batch) return complain(2, batch.error().message);
  // Claimed before anything is looked at: what is queued then is nobody else's, until this process ends. And before a
  // driver is looked for: one that comes later sees the claim (sessions_of).
  auto claim = claim_steps(batch->path(), *steps);
  if (!claim) return complain(1, claim.error().message);
  if (auto undriven = check_undriven(*batch); !undriven) return complain(1, undriven.error().message);
  auto fold = Fold::load(*batch);
  if (!fold) return complain(1, fold.error().message);
  if (steps->back() >= fold->size()) {
    return complain(2, "step " + std::to_string(steps->back()) + " is not in " + batch->path() + ", which has " +
                           std::to_string(fold->size()) + " steps");
  }
  std::map<std::uint32_t, StepRanges> todo;
  std::uint64_t unsubmitted = 0;
  steps->for_each([&](std::uint64_t step) {
    const FoldedTask& task = fold->task(step);
    if (task.state == TaskState::queued) {
      todo[task.submission].append(step);
    } else if (task.state == TaskState::waiting) {
      ++unsubmitted;
    } else {
      complain(0, "step " + std::to_string(step) + " is " + std::string(to_string(task.state)) + ": left alone");
    }
  });
  if (unsubmitted > 0)
    return complain(2, std::to_string(unsubmitted) + " of the steps were never submitted: nothing was run");
  if (todo.empty()) return 0;

  boost::asio::io_context io(1);
  std::uint64_t open = 0;
  std::string trouble;
  std::unique_ptr<WorkerNode> node;
  WorkerNodeHandler handler;
  handler.records = [&](const wire::Records& records) {
    scan_frames(records.bytes, records.offset, [&](const DecodedRecord& record, std::uint64_t) {
      if (std::holds_alternative<FinishedRecord>(record.record)) --open;
      return true;
    });
    if (open == 0) node->leave(std::chrono::milliseconds(-1));
  };
  handler.returned = [&](const wire::Returned& returned) {
    trouble = "some steps could not be started";
    for (const StepRange& range : returned.steps) open -= range.count;
    if (open == 0) node->leave(std::chrono::milliseconds(-1));
  };
  handler.notice = [&](const wire::Notice& notice) {
    complain(0, notice.text);
    if (notice.kind == wire::Notice::Kind::space_again) return;
    trouble = notice.text;
    node->leave(options.kill_grace);
  };
  handler.left = [&] { io.stop(); };
  node = std::make_unique<WorkerNode>(io, options, std::move(handler));
  if (auto started = node->start(); !started) return complain(1, started.error().message);
  for (const auto& [number, ranges] : todo) {
    open += ranges.size();
    node->add_submission(info_of(fold->submission(number)->intent));
  }
  for (const auto& [number, ranges] : todo) node->hand({number, ranges.ranges()});
  io.run();
  return trouble.empty() ? 0 : 1;
}

}  // namespace allot
