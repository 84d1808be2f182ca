// SPDX-License-Identifier: MIT
#include "worker_node/book_distributor.h"

#include <dirent.h>

#include "ledger/writer_name.h"
#include "process/install_paths.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

bool has_slot_records(const std::string& batch_directory) {
  DIR* directory = ::opendir((batch_directory + "/records").c_str());
  if (directory == nullptr) return false;
  bool found = false;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    found = found || (name[0] != '.' && !is_driver_writer(name));
  }
  ::closedir(directory);
  return found;
}

}  // namespace

BookDistributor::BookDistributor(ClusterConfig config, std::vector<std::unique_ptr<ClusterQueue>> queues)
    : config_(std::move(config)),
      entry_point_(worker_node_program()),
      queues_(std::move(queues)),
      own_batch_(config_.name) {}

Result<void> BookDistributor::check_resources(const Submission& submission) const {
  if (queues_.empty()) return {};  // they come with the start: submit says that it has not been started
  const RequestedResources& resources = submission.resources;
  const ClusterQueue* queue = queues_.front().get();
  if (!resources.queue.empty()) {
    queue = nullptr;
    for (const auto& known : queues_) {
      if (known->queue_name() == resources.queue) queue = known.get();
    }
    if (queue == nullptr) {
      return fail(ErrorCode::fix_request, "cluster " + config_.name + " has no queue \"" + resources.queue + "\"");
    }
  }
  const ResourceValidation checked = queue->validate_resources(resources, true);
  if (!checked.valid) return fail(ErrorCode::fix_request, "queue " + queue->queue_name() + ": " + checked.message);
  return {};
}

Result<std::pair<std::uint32_t, bool>> BookDistributor::take_up(Submission submission) {
  // Only a batch that has been worked on before this distributor saw it can hold anything of this submission.
  const bool is_old = !book_.current_batch(submission.batch_directory) && has_slot_records(submission.batch_directory);
  if (is_old) {
    auto batch = BatchDirectory::open(submission.batch_directory);
    if (!batch) return fail(batch.error());
    auto fold = Fold::load(*batch);
    if (!fold) return fail(fold.error());
    for (const FoldedSubmission& known : fold->submissions()) {
      if (known.intent.token == submission.token && submission.id_base.empty())
        submission.id_base = known.intent.id_base;
    }
    bool some_run = false;
    submission.steps.for_each([&](std::uint64_t step) {
      if (step >= fold->size()) return;
      const FoldedTask& task = fold->task(step);
      some_run = some_run || (task.submission == submission.number && task.state == TaskState::running);
    });
    if (some_run) {
      return fail(ErrorCode::retry_later,
                  "submission \"" + submission.token +
                      "\": an earlier distributor began some of it; reconcile tells what became of it");
    }
  }
  auto added = book_.add(submission);
  if (added && added->second && is_old) {
    if (auto taken = book_.take_ledger(book_.entry(added->first).batch); !taken) {
      book_.take_back(added->first);
      return fail(taken.error());
    }
  }
  return added;
}

Error BookDistributor::gone(const char* what, bool was_started) const {
  return {ErrorCode::gone, std::string(what) + ": the distributor of cluster " + config_.name +
                               (was_started ? " has been stopped" : " has not been started")};
}

Result<std::optional<BookDistributor::Recorded>> BookDistributor::find_recorded(const std::string& batch_directory,
                                                                                const std::string& token,
                                                                                Reconciliation& answer) {
  auto batch = BatchDirectory::open(batch_directory);
  if (!batch) return fail(batch.error());
  auto fold = Fold::load(*batch);
  if (!fold) return fail(fold.error());
  for (const FoldedSubmission& submission : fold->submissions()) {
    if (submission.intent.token != token) continue;
    const IntentRecord intent = submission.intent;
    return Recorded{std::move(*batch), std::move(*fold), intent};
  }
  answer.answer = Reconciliation::Answer::proven_absent;
  answer.evidence = "no intent with this token is in the ledger, and this distributor never saw it";
  return std::optional<Recorded>();
}

bool BookDistributor::take_up_ended(const Recorded& recorded, const std::string& batch_directory,
                                    Reconciliation& answer) {
  const IntentRecord& intent = recorded.intent;
  bool all_ended = true;
  intent.steps.for_each([&](std::uint64_t step) {
    if (step >= recorded.fold.size()) return;
    const FoldedTask& task = recorded.fold.task(step);
    const bool ended = task.state == TaskState::done || task.state == TaskState::failed;
    all_ended = all_ended && ended && task.submission == intent.submission;
  });
  if (!all_ended) return false;
  auto added = book_.add(submission_of(intent, batch_directory));
  if (!added || !book_.take_ledger(book_.entry(added->first).batch)) return false;
  answer.answer = Reconciliation::Answer::found;
  answer.ids = book_.entry(added->first).ids;
  answer.evidence = "every task of it has ended, as the ledger says";
  return true;
}

BookDistributor::Ending BookDistributor::begin_ending(const std::vector<std::string>& ids,
                                                      std::map<std::string, Termination>& answer) {
  Ending ending;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) {
      answer[id] = {TerminationOutcome::unknown_id, "not given out by this distributor"};
      continue;
    }
    RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase == TaskPhase::finished) {
      answer[id] = {TerminationOutcome::already_finished, ""};
      continue;
    }
    cell.flags |= RunBook::kTerminating;
    ending.pins.push_back(book_.pin(book_.entry(found->entry).batch));
    ending.open.emplace_back(id, *found);
  }
  return ending;
}

std::uint64_t BookDistributor::block_batch(std::uint32_t batch, const std::string& why, ExitClass exit_class,
                                           const std::function<bool(const RunBook::Cell&)>& which) {
  book_.batch(batch).blocked = why;
  std::uint64_t ended = 0;
  for (const auto& [submission, number] : book_.batch(batch).entry_of_submission) {
    RunBook::Entry& entry = book_.entry(number);
    const std::uint64_t before = entry.unfinished;
    if (before == 0) continue;
    entry.submission.steps.for_each([&](std::uint64_t step) {
      if (which(entry.cell(step))) book_.drop({number, step}, exit_class);
    });
    ended += before - entry.unfinished;
  }
  return ended;
}

Result<void> BookDistributor::check_blocked(const std::string& batch_directory) const {
  const auto batch = book_.current_batch(batch_directory);
  if (!batch || book_.batch(*batch).blocked.empty()) return {};
  return fail(ErrorCode::gave_up, book_.batch(*batch).blocked);
}

Result<SubmittedIds> BookDistributor::submit_line(const std::string& command, const std::string& name,
                                                  const RequestedResources& resources, std::uint64_t count,
                                                  bool is_array) {
  Submission submission;
  {
    std::lock_guard lock(own_mutex_);
    Submission draft;
    draft.resources = resources;
    {
      std::lock_guard inner(mutex_);
      if (auto fits = check_resources(draft); !fits) return fail(fits.error());
    }
    auto written = own_batch_.write(command, name, resources, count, is_array);
    if (!written) return fail(written.error());
    submission = std::move(*written);
  }
  auto ids = submit(submission);
  std::lock_guard lock(own_mutex_);
  // The intent is on disk: a lost answer is found again by its token, so a full disk does not undo the submission.
  auto recorded = own_batch_.record_answer(submission, ids ? "" : ids.error().message);
  if (ids && !recorded && recorded.error().code != ErrorCode::retry_later) return fail(recorded.error());
  return ids;
}

Result<std::string> BookDistributor::submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                                 const RequestedResources& requested_resources) {
  auto ids = submit_line(command, name, requested_resources, 1, false);
  if (!ids) return fail(ids.error());
  return ids->id_of(ids->steps.front());
}

Result<std::map<std::uint64_t, std::string>> BookDistributor::submit_array_to_batch_distributor(
    const std::string& command, const std::string& name, const RequestedResources& requested_resources,
    std::uint64_t array_length) {
  if (array_length == 0 || array_length > kMaxArrayStep + 1) {
    return fail(ErrorCode::fix_request, "array_length " + std::to_string(array_length) +
                                            " is not between 1 and 10000000; nothing was submitted");
  }
  auto ids = submit_line(command, name, requested_resources, array_length, true);
  if (!ids) return fail(ids.error());
  std::map<std::uint64_t, std::string> map;
  ids->steps.for_each(
      [&](std::uint64_t step) { map.emplace_hint(map.end(), step - ids->step_origin, ids->id_of(step)); });
  return map;
}

Result<Snapshot> BookDistributor::get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) {
  std::lock_guard lock(mutex_);
  return book_.snapshot(ids);
}

Result<std::map<std::string, std::string>> BookDistributor::get_queueing_errors(const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::string> errors;
  if (blocked_.empty()) return errors;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (found && book_.end_place(*found).cell.phase == TaskPhase::queued) errors.emplace(id, blocked_);
  }
  return errors;
}

Result<ExitInfo> BookDistributor::get_remote_exit_info(const std::string& id) {
  std::lock_guard lock(mutex_);
  return book_.exit_info(id);
}

Result<std::vector<std::string>> BookDistributor::build_worker_node_command(const std::string& batch_directory,
                                                                            const StepRanges& steps) {
  if (steps.empty()) return fail(ErrorCode::fix_request, "no steps to run");
  if (batch_directory.empty() || batch_directory[0] != '/') {
    return fail(ErrorCode::fix_request, "batch directory \"" + batch_directory + "\" is no absolute path");
  }
  return std::vector<std::string>{entry_point_, "--batch", batch_directory, "--steps", to_text(steps)};
}

Result<std::map<std::string, UsageStats>> BookDistributor::get_usage_stats(const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  return book_.usage(ids);
}

Result<std::vector<Event>> BookDistributor::wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) {
  return events_of(book_, mutex_, cursor, timeout);
}

Result<int> BookDistributor::event_descriptor() {
  const int fd = book_.events().descriptor();
  if (fd < 0) return fail(ErrorCode::retry_later, "no descriptor could be made for events");
  return fd;
}

}  // namespace allot
