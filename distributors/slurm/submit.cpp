// SPDX-License-Identifier: MIT
// How a submission is handed to Slurm, and how one is settled whose answer did not come.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "distributors/slurm/element_set.h"
#include "distributors/slurm/slurm_distributor.h"
#include "distributors/slurm/slurm_queue.h"
#include "ledger/submission_file.h"
#include "process/fault_point.h"
#include "process/fd.h"
#include "process/identity.h"
#include "process/install_paths.h"

namespace allot::slurm {
namespace {

// As long as sbatch itself would wait, and a little.
constexpr std::chrono::seconds kSettleTimeout{8};
constexpr std::int64_t kClocksApart = 86'400;  // seconds: clocks of two hosts, and a time zone that one has wrong

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}
std::int64_t unix_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// For a script of /bin/sh.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string fault_text(const Fault& fault) {
  return fault.text + " (Slurm error " + std::to_string(fault.number) + ")";
}

std::string advice_for(const Fault& fault) {
  switch (fault.number) {
    case 2000:
      return "; `allot clusters --json` lists the queues there are";
    case 2045:
      return "; name an account that is yours";
    case kPolicyLimit:
      return "; a limit of the account or QOS is reached: it is tried again as room appears";
    case 2081:
      return "; the array is longer than the cluster takes";
    case 2002:
      return "; the queue is not open to you";
    default:
      return "";
  }
}

}  // namespace

std::string SlurmDistributor::script_of(const Submission& submission, const Sending& sending,
                                        const JobRequest& request) const {
  const auto term_grace = std::max<std::int64_t>(500, std::int64_t{site_.info.kill_wait_seconds} * 1000 - 2'000);
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  return "#!/bin/sh\nexec " + quoted(element_program_) + " batch=" + quoted(submission.batch_directory) +
         " submission=" + number(submission.number) + " try=" + number(sending.try_number) +
         " pack=" + number(static_cast<std::int64_t>(sending.layout.pack)) + " slots=" + number(sending.layout.slots) +
         " element=\"${SLURM_ARRAY_TASK_ID:-0}\"" +
         " restart=\"${SLURM_RESTART_COUNT:-0}\" node=\"${SLURMD_NODENAME:-}\"" +
         " why=" + quoted(agent_program("slurm")) + " job=\"${SLURM_JOB_ID:-}\"" + " shell=" + quoted(settings_.shell) +
         " kill_grace_ms=" + number(settings_.kill_grace.count()) +
         " allocation_ms=" + number(std::int64_t{request.minutes.value_or(0)} * 60'000) +
         " term_grace_ms=" + number(std::min<std::int64_t>(term_grace, 20'000)) +
         " sample_ms=" + number(settings_.sample_interval.count()) +
         " cgroup=" + (settings_.control_groups ? "auto" : "none") + "\n";
}

void SlurmDistributor::take_job(std::uint32_t entry, Sending sending) {
  NativeJob job;
  job.entry = entry;
  job.sending = std::move(sending);
  job.accepted_at = Clock::now();
  job.is_answered = job.sending.job_id.has_value();
  jobs_.insert_or_assign(entry, std::move(job));
}

const Partition* SlurmDistributor::partition_of(const Submission& submission) const {
  const std::string& asked = submission.resources.queue;
  const std::string& name = asked.empty() ? queues_.front()->queue_name() : asked;
  const auto found = std::find_if(site_.partitions.begin(), site_.partitions.end(),
                                  [&name](const Partition& partition) { return partition.name == name; });
  return found == site_.partitions.end() ? nullptr : &*found;
}

// What the account and the QOS that a task is for let one job have in a partition.
JobLimits SlurmDistributor::job_limits(const RequestedResources& asked, const Partition& partition) const {
  if (!site_.policies) return {};
  const auto qos = asked.pass_through.find("qos");
  return policy_limits(*site_.policies, asked.account.empty() ? settings_.account : asked.account,
                       qos == asked.pass_through.end() ? settings_.qos : qos->second, partition)
      .limits;
}

// Excluding every node that the queue has would leave it pending for ever.
Result<void> SlurmDistributor::check_nodes(const Submission& submission) const {
  const Partition* partition = partition_of(submission);
  if (submission.excluded_nodes.empty() || partition == nullptr) return {};
  const auto is_excluded = [&submission](const std::string& node) {
    return std::find(submission.excluded_nodes.begin(), submission.excluded_nodes.end(), node) !=
           submission.excluded_nodes.end();
  };
  if (!std::all_of(partition->node_names.begin(), partition->node_names.end(), is_excluded)) return {};
  constexpr std::size_t kMostNamed = 10;
  std::string names;
  for (std::size_t i = 0; i < std::min(kMostNamed, partition->node_names.size()); ++i) {
    names += (i > 0 ? ", " : "") + partition->node_names[i];
  }
  return fail(ErrorCode::fix_request, "queue " + partition->name +
                                          " has no node that the submission does not exclude (" + names +
                                          (partition->node_names.size() > kMostNamed ? ", …" : "") +
                                          "); name another queue, or do not exclude all of them");
}

Result<SubmittedIds> SlurmDistributor::submit(const Submission& submission) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("submit"); !good) return fail(good.error());
  if (auto known = book_.find_token(submission.batch_directory, submission.token)) {
    const auto pin = book_.pin(book_.entry(*known).batch);
    const SubmittedIds ids = book_.entry(*known).ids;
    NativeJob* job = job_of(*known);
    if (job == nullptr || !job->is_ambiguous) return ids;
    Sending sending = job->sending;
    const std::uint32_t number = book_.entry(*known).submission.number;
    lock.unlock();
    const Settled settled = settle(submission.batch_directory, submission.token, number, sending);
    if (settled.answer == Reconciliation::Answer::found) {
      if (auto accepted = accept(*known, *sending.job_id); !accepted) return fail(accepted.error());
      return ids;
    }
    if (settled.answer == Reconciliation::Answer::unknown) {
      return fail(ErrorCode::retry_later, "submission \"" + submission.token + "\": " + settled.evidence);
    }
    // It never took effect, and what may still come of it runs nothing: sent once more, as a new try.
    lock.lock();
    if (NativeJob* again = job_of(*known)) again->sending = sending;
    lock.unlock();
    if (auto sent = send(*known); !sent) return fail(sent.error());
    return ids;
  }
  if (auto fit = check_resources(submission); !fit) return fail(fit.error());
  if (auto some = check_nodes(submission); !some) return fail(some.error());
  if (submission.steps.empty()) return fail(book_.add(submission).error());  // it says what is wrong with that
  Pace pace;
  if (ended_tasks_ > 0) pace.mean_seconds = ended_seconds_ / static_cast<double>(ended_tasks_);
  if (const Partition* partition = partition_of(submission)) {
    const JobLimits allowed = job_limits(submission.resources, *partition);
    const auto lesser = [](std::uint64_t there, const std::optional<std::uint64_t>& allowed_of_it) {
      return std::min(there, allowed_of_it.value_or(there));
    };
    pace.cores_of_a_node = std::max<std::uint64_t>(1, lesser(partition->cores_of_a_node, allowed.cores));
    pace.megabytes_of_a_node = lesser(partition->megabytes_of_a_node, allowed.megabytes);
    pace.gpus_of_a_node = lesser(partition->gpus_of_a_node, allowed.gpus);
    pace.cores = std::max<std::uint64_t>(1, std::uint64_t{partition->nodes} * partition->cores_of_a_node);
  }
  auto layout = layout_of(settings_, submission, pace);
  if (!layout) return fail(layout.error());
  if (auto request = job_request(settings_, submission, *layout, queues_.front()->queue_name()); !request)
    return fail(request.error());
  const std::uint64_t most = std::max<std::uint32_t>(site_.info.max_array_size, 1);
  if (submission.is_array && layout->elements(submission.steps.size()) > most) {
    return fail(ErrorCode::fix_request, "submission \"" + submission.token +
                                            "\": " + std::to_string(layout->elements(submission.steps.size())) +
                                            " elements are more than this cluster takes as one array (" +
                                            std::to_string(most) + ", MaxArraySize)");
  }
  auto added = take_up(submission);
  if (!added) return fail(added.error());
  const std::uint32_t entry = added->first;
  const auto pin = book_.pin(book_.entry(entry).batch);
  const SubmittedIds ids = book_.entry(entry).ids;
  if (book_.entry(entry).unfinished == 0) return ids;  // an earlier distributor ran it
  Sending sending;
  sending.tasks = submission.steps.size();
  sending.layout = *layout;
  sending.is_array = submission.is_array;
  sending.job_name = job_name_of(submission.token, sending.try_number);
  take_job(entry, std::move(sending));
  lock.unlock();
  if (auto sent = send(entry); !sent) return fail(sent.error());
  return ids;
}

// Sends the job of an entry. An error that leaves it open whether Slurm has taken it is retry_later, and the entry
// stays; after any other one nothing was submitted, and the entry is forgotten.
Result<void> SlurmDistributor::send(std::uint32_t entry) {
  std::unique_lock lock(mutex_);
  NativeJob* job = job_of(entry);
  if (job == nullptr) return fail(ErrorCode::gone, "the submission was forgotten meanwhile");
  Submission submission = book_.entry(entry).submission;
  submission.id_base = book_.entry(entry).ids.base;
  job->sending.sent_at = unix_seconds();
  const Sending sending = job->sending;
  const std::string batch_path = book_.batch(book_.entry(entry).batch).directory.path();
  const std::string cwd = book_.batch(book_.entry(entry).batch).directory.info().cwd;
  const std::string queue = queues_.front()->queue_name();
  // A name that Slurm does not know would be refused, and nothing can run there anyhow.
  std::erase_if(submission.excluded_nodes, [this](const std::string& node) {
    return std::none_of(site_.partitions.begin(), site_.partitions.end(), [&node](const Partition& partition) {
      return std::find(partition.node_names.begin(), partition.node_names.end(), node) != partition.node_names.end();
    });
  });
  lock.unlock();

  const auto take_back = [&](Error error) -> Result<void> {
    std::lock_guard inner(mutex_);
    forget_job(entry);
    book_.take_back(entry);
    return fail(std::move(error));
  };
  // What Slurm takes in silence and fails with later, or runs somewhere else.
  struct stat info {};
  if (::stat(cwd.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return take_back(
        {ErrorCode::fix_request, "the tasks' working directory " + cwd + " is not there; nothing was submitted"});
  }
  if (::access(element_program_.c_str(), X_OK) != 0) {
    return take_back({ErrorCode::fix_request, element_program_ + " is missing; install allot again"});
  }
  auto request = job_request(settings_, submission, sending.layout, queue);
  if (!request) return take_back(request.error());
  request->name = sending.job_name;
  lock.lock();
  request->script = script_of(submission, sending, *request);
  lock.unlock();
  if (sending.is_array) {
    const std::uint64_t count = sending.layout.elements(sending.tasks);
    request->array = count == 1 ? "0" : "0-" + std::to_string(count - 1);
  }
  // The tasks' environment is the batch's own; Slurm adds what it sets itself, and this is what sbatch would add. No
  // SLURM_EXPORT_ENV: an srun in a task passes on what the task has.
  request->environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "SLURM_JOB_NAME=" + request->name,
                          "SLURM_SUBMIT_DIR=" + cwd, "SLURM_SUBMIT_HOST=" + host_name()};
  if (submission.resources.cores) {
    request->environment.push_back("SLURM_CPUS_PER_TASK=" + std::to_string(*submission.resources.cores));
  }
#ifdef ALLOT_FAULT_POINTS
  for (const char* name : {"ALLOT_FAULT", "ALLOT_FAULT_FLAG", "ALLOT_FAULT_ROLE"}) {
    if (const char* value = std::getenv(name)) request->environment.push_back(std::string(name) + "=" + value);
  }
#endif
  if (request->standard_output != "/dev/null") {
    const std::string folder = request->standard_output.substr(0, request->standard_output.rfind('/') + 1);
    if (::access(folder.c_str(), W_OK) != 0) {
      return take_back({ErrorCode::fix_request, "pass-through option output: nothing can be written into " + folder});
    }
  }
  if (auto written = write_submission_file(batch_path, intent_of(submission, unix_nanoseconds())); !written) {
    return take_back(written.error());
  }
  if (auto written = write_sending(batch_path, submission.number, sending); !written) return take_back(written.error());
  ALLOT_FAULT_POINT("slurm_before_send");
  // A stop that has begun knows every job that there is to end.
  lock.lock();
  if (life_ != Life::running) {
    lock.unlock();
    static_cast<void>(::unlink((submission_file_path(batch_path, submission.number) + ".slurm").c_str()));
    return take_back(gone("submit", true));
  }
  ++sends_;
  lock.unlock();
  auto accepted = agent_.submit(*request, settings_.answer_timeout);
  ALLOT_FAULT_POINT("slurm_after_send");
  const Result<void> kept = accepted ? accept(entry, accepted->job_id) : Result<void>();
  lock.lock();
  if (NativeJob* sent = job_of(entry); sent != nullptr && accepted && kept && sent->sending.is_array) {
    // The answer is the first look, if there was none since: all of it waits.
    if (!sent->looked_at) {
      sent->looked_at = sent->accepted_at;
      sent->waiting = StepRanges(0, sent->element_count());
    }
  }
  --sends_;
  changed_.notify_all();
  lock.unlock();
  if (accepted) return kept;
  const Fault& fault = accepted.error();
  const std::string head = "Slurm did not take submission \"" + submission.token + "\": ";
  if (!is_ambiguous(fault.number)) {
    ErrorCode code = is_request_fault(fault.number) ? ErrorCode::fix_request : ErrorCode::retry_later;
    if (fault.number == kPolicyLimit) {
      code = ErrorCode::no_room;
      std::lock_guard inner(mutex_);
      learn_room(sending.layout.elements(sending.tasks));
    }
    // Nothing was taken, and nobody must think so later.
    static_cast<void>(::unlink((submission_file_path(batch_path, submission.number) + ".slurm").c_str()));
    return take_back({code, head + fault_text(fault) + advice_for(fault)});
  }
  lock.lock();
  if (NativeJob* sent = job_of(entry)) sent->is_ambiguous = true;
  return fail(ErrorCode::retry_later,
              "whether Slurm has taken submission \"" + submission.token + "\" is not known: " + fault_text(fault));
}

// The ids are on disk before anyone is told.
Result<void> SlurmDistributor::accept(std::uint32_t entry, std::uint32_t job_id) {
  std::unique_lock lock(mutex_);
  NativeJob* job = job_of(entry);
  if (job == nullptr) return fail(ErrorCode::gone, "the submission was forgotten meanwhile");
  Sending sending = job->sending;
  sending.job_id = job_id;
  const std::string batch_path = book_.batch(book_.entry(entry).batch).directory.path();
  const std::uint32_t number = book_.entry(entry).submission.number;
  lock.unlock();
  auto written = write_sending(batch_path, number, sending);
  lock.lock();
  job = job_of(entry);
  if (job == nullptr) return fail(ErrorCode::gone, "the submission was forgotten meanwhile");
  if (!written) {
    // Found again by its name.
    job->is_ambiguous = true;
    return fail(written.error());
  }
  job->sending = sending;
  job->is_ambiguous = false;
  job->is_answered = true;
  job->accepted_at = Clock::now();
  poll_interval_ = settings_.shortest_poll;
  wake_poll();
  return {};
}

// Looks a submission up by its name, in the controller's table and in the database. Absent is what no answer shows
// once the controller has had its time, and after a fence was put up behind which it could not run anything any more.
SlurmDistributor::Settled SlurmDistributor::settle(const std::string& batch_directory, const std::string& token,
                                                   std::uint32_t submission, Sending& sending) {
  using Answer = Reconciliation::Answer;
  if (sending.job_id) return {Answer::found, "its job id was recorded: " + std::to_string(*sending.job_id)};
  const auto of_job = [&sending](const JobRecord& record) { return record.name == sending.job_name; };
  const auto id_of = [](const JobRecord& record) {
    return record.array_job_id != 0 ? record.array_job_id : record.job_id;
  };
  const auto take = [&](const std::vector<JobRecord>& records, const char* where) -> std::optional<Settled> {
    const auto found = std::find_if(records.begin(), records.end(), of_job);
    if (found == records.end()) return std::nullopt;
    sending.job_id = id_of(*found);
    return Settled{Answer::found, std::string(where) + " has job " + std::to_string(*sending.job_id) + " of this name"};
  };
  if (auto up = agent_.ping(kSettleTimeout); !up || !*up) {
    return {Answer::unknown, "the controller does not answer; whether it has taken the submission is not known"};
  }
  auto table = agent_.jobs({{}, sending.job_name}, kSettleTimeout);
  if (!table) return {Answer::unknown, "the controller's table cannot be read: " + fault_text(table.error())};
  if (auto found = take(table->jobs, "the controller")) return *found;
  if (site_.info.has_accounting) {
    auto accounted = agent_.accounted({sending.job_name}, sending.sent_at - kClocksApart, kSettleTimeout);
    if (!accounted) {
      return {Answer::unknown,
              "the controller does not know it, and the accounting does not answer: " + fault_text(accounted.error())};
    }
    if (auto found = take(*accounted, "the accounting")) return *found;
  }
  const auto waited = std::chrono::seconds(unix_seconds() - sending.sent_at);
  const auto window = std::max<std::chrono::milliseconds>(settings_.ambiguity_window,
                                                          std::chrono::seconds(2 * site_.info.message_timeout_seconds));
  if (waited < window) {
    return {Answer::unknown, "Slurm does not know it, but may still take it (" + std::to_string(waited.count()) +
                                 " of " + std::to_string(window.count() / 1000) + " s have passed since it was sent)"};
  }
  if (auto fenced = write_fence(batch_directory, submission, sending.try_number + 1); !fenced) {
    return {Answer::unknown, fenced.error().message};
  }
  sending.job_name = job_name_of(token, ++sending.try_number);  // no job of an earlier try is ever taken for it
  auto batch = BatchDirectory::open(batch_directory);
  if (!batch) return {Answer::unknown, batch.error().message};
  auto fold = Fold::load(*batch);
  if (!fold) return {Answer::unknown, fold.error().message};
  for (std::uint64_t step = 0; step < fold->size(); ++step) {
    const FoldedTask& task = fold->task(step);
    if (task.submission == submission && task.started_offset != 0) {
      return {Answer::unknown, "step " + std::to_string(step) + " of it has begun, and Slurm knows no job of its name"};
    }
  }
  return {
      Answer::proven_absent,
      "neither the controller nor the accounting knows a job of its name, and what may still come of it runs nothing"};
}

Result<Reconciliation> SlurmDistributor::reconcile(const std::string& batch_directory, const std::string& token) {
  Reconciliation answer;
  std::unique_lock lock(mutex_);
  if (auto good = usable("reconcile"); !good) return fail(good.error());
  if (auto known = book_.find_token(batch_directory, token)) {
    NativeJob* job = job_of(*known);
    if (job == nullptr || !job->is_ambiguous) {
      answer.answer = Reconciliation::Answer::found;
      answer.ids = book_.entry(*known).ids;
      answer.evidence = "this distributor has it";
      return answer;
    }
  }
  lock.unlock();
  auto recorded = find_recorded(batch_directory, token, answer);
  if (!recorded) return fail(recorded.error());
  if (!*recorded) return answer;
  const BatchDirectory& batch = (*recorded)->batch;
  const IntentRecord& intent = (*recorded)->intent;
  {
    std::lock_guard inner(mutex_);
    if (take_up_ended(**recorded, batch_directory, answer)) return answer;
  }
  auto sending = read_sending(batch.path(), intent.submission);
  if (!sending) {
    if (sending.error().code != ErrorCode::gone) return fail(sending.error());
    answer.answer = Reconciliation::Answer::proven_absent;
    answer.evidence = "it was not sent to Slurm";
    return answer;
  }
  if (sending->tasks != intent.steps.size() || sending->layout.pack == 0) {
    return fail(ErrorCode::gave_up, batch.path() + ": what was written of the Slurm job of submission " +
                                        std::to_string(intent.submission) + " does not fit its steps: damaged");
  }
  const Settled settled = settle(batch.path(), token, intent.submission, *sending);
  answer.answer = settled.answer;
  answer.evidence = settled.evidence;
  if (settled.answer == Reconciliation::Answer::unknown) return answer;
  lock.lock();
  if (settled.answer == Reconciliation::Answer::proven_absent) {
    if (const auto known = book_.find_token(batch_directory, token)) {
      forget_job(*known);
      book_.take_back(*known);
    }
    return answer;
  }
  auto added = book_.find_token(batch_directory, token)
                   ? Result<std::pair<std::uint32_t, bool>>(std::pair(*book_.find_token(batch_directory, token), false))
                   : book_.add(submission_of(intent, batch_directory));
  if (!added) return fail(added.error());
  answer.ids = book_.entry(added->first).ids;
  const std::uint32_t id = *sending->job_id;
  take_job(added->first, std::move(*sending));
  // What was told of this batch before this submission was known here was told to nobody.
  read_again_.insert(batch.info().batch_id);
  lock.unlock();
  if (auto accepted = accept(added->first, id); !accepted) return fail(accepted.error());
  return answer;
}

}  // namespace allot::slurm
