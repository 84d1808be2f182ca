// SPDX-License-Identifier: MIT
#include "engine/script_batch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>
#include <cerrno>
#include <cstdio>
#include <limits>

#include <fmt/format.h>

#include "engine/batch_maker.h"
#include "engine/driver_log.h"
#include "ledger/submission_file.h"
#include "process/fd.h"
#include "process/identity.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

// The name of what is beside the batch while it is made: not shown as a batch.
std::string beside(const std::string& path, const std::string& suffix) {
  const fs::path place(path);
  return (place.parent_path() / ("." + place.filename().string() + suffix)).string();
}

// Those who come while the batch is made wait here; the file is gone when it is there. Where the file system has no
// locks, several may make it at once, and one of them is the first to rename.
class MakingLock {
 public:
  explicit MakingLock(const std::string& path) : path_(beside(path, ".lock")) {}
  MakingLock(const MakingLock&) = delete;
  MakingLock& operator=(const MakingLock&) = delete;
  ~MakingLock() {
    if (is_exclusive_) ::unlink(path_.c_str());
  }

  Result<void> take() {
    boost::system::error_code error;
    fs::create_directories(fs::path(path_).parent_path(), error);
    for (;;) {
      file_ = open_private(path_, O_RDWR);
      if (!file_) return fail(errno_error(errno, path_));
      struct flock lock {};
      lock.l_type = F_WRLCK;
      lock.l_whence = SEEK_SET;
      int locked = 0;
      do {
        locked = ::fcntl(file_.get(), F_OFD_SETLKW, &lock);
      } while (locked != 0 && errno == EINTR);
      if (locked != 0) return {};
      is_exclusive_ = has_its_name();
      if (is_exclusive_) return {};  // else whoever had it has removed it: the one of that name now is the lock
    }
  }
  bool is_exclusive() const { return is_exclusive_; }

 private:
  bool has_its_name() const {
    struct stat own {};
    struct stat named {};
    return ::fstat(file_.get(), &own) == 0 && ::stat(path_.c_str(), &named) == 0 && own.st_ino == named.st_ino &&
           own.st_dev == named.st_dev;
  }

  std::string path_;
  Fd file_;
  bool is_exclusive_ = false;
};

// Drafts of processes that were killed as they made this batch.
void remove_drafts(const std::string& path) {
  const std::string start = fs::path(beside(path, ".making.")).filename().string();
  boost::system::error_code error;
  for (fs::directory_iterator it(fs::path(path).parent_path(), error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with(start)) continue;
    boost::system::error_code ignored;
    fs::remove_all(it->path(), ignored);
  }
}

// Removes a draft unless it has become the batch.
struct Draft {
  explicit Draft(std::string where) : path(std::move(where)) {}
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() {
    boost::system::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  std::string path;
};

bool is_batch(const std::string& path) {
  struct stat status {};
  return ::stat((path + "/batch.json").c_str(), &status) == 0;
}

Result<void> check_plan(const BatchPlan& plan) {
  const auto refuse = [](const std::string& what) {
    return fail(ErrorCode::fix_request,
                what +
                    ": that takes a driver, and worker nodes in a script of one's own have none; give the tasks to "
                    "allot submit --cluster slurm instead");
  };
  if (!plan.graph.empty()) return refuse("some tasks wait for others (after)");
  if (!plan.begins.empty()) return refuse("some tasks begin at a time (begin)");
  if (!plan.max_parallel.empty()) return refuse("some tasks have a max_parallel");
  if (plan.groups.size() > 1) return refuse("the tasks do not all ask for the same resources and priority");
  const RequestedResources& asked = plan.groups.front().resources;
  const auto is_many = [](const auto& number) { return number && *number > 1; };
  if (!asked.queue.empty() || (asked.gpus && *asked.gpus > 0) || is_many(asked.nodes) || is_many(asked.ranks) ||
      !asked.account.empty() || !asked.constraint.empty() || !asked.pass_through.empty()) {
    return fail(
        ErrorCode::fix_request,
        "the tasks ask for a queue, an account, a constraint, gpus, nodes, ranks or options, and the job has what it "
        "was given: ask in its own #SBATCH lines, or give the tasks to allot submit --cluster slurm");
  }
  return {};
}

// The one submission, as a driver would have recorded it, and that this driver has left.
Result<void> record_submission(const MadeBatch& made, ScriptJob& job) {
  const BatchDirectory& batch = made.directory;
  auto base = new_id_base();
  if (!base) return fail(base.error());
  job.tasks = made.plan.task_count;
  job.cores = made.plan.groups.front().resources.cores.value_or(1);
  job.worker_pack = (job.tasks + job.shares() - 1) / job.shares();
  Submission submission;
  submission.number = kScriptSubmission;
  submission.id_base = *base;
  submission.token = batch.info().batch_id + "-" + std::to_string(kScriptSubmission);
  submission.batch_directory = batch.path();
  submission.steps = made.plan.groups.front().steps;
  submission.is_array = made.plan.is_array;
  submission.resources = made.plan.groups.front().resources;
  submission.name = batch.info().name;
  const IntentRecord intent = intent_of(submission, unix_nanoseconds());
  if (auto written = write_submission_file(batch.path(), intent); !written) return written;
  if (auto written = write_script_job(batch.path(), kScriptSubmission, job); !written) return written;
  auto log = DriverLog::open(batch, made.driver);
  if (!log) return fail(log.error());
  if (auto committed = log->commit(intent); !committed) return committed;
  const std::string native = std::to_string(job.job_id);
  log->note(SubmittedRecord{kScriptSubmission, native, {}, unix_nanoseconds()});
  log->note(EndedRecord{"left to the worker nodes of " + job.scheduler + " job " + native, unix_nanoseconds()});
  return log->sync();
}

Result<ScriptBatch> make(const std::string& path, BatchInfo info, char* const* environment, ScriptJob job,
                         TaskSource& source) {
  Draft draft(beside(path, fmt::format(".making.{}.{}", host_name(), ::getpid())));
  auto made = make_batch(draft.path, std::move(info), environment, source);
  if (!made) return fail(made.error());
  if (auto good = check_plan(made->plan); !good) return fail(good.error());
  if (auto recorded = record_submission(*made, job); !recorded) return fail(recorded.error());
  if (::rename(draft.path.c_str(), path.c_str()) != 0) {
    const int error = errno;
    if (is_batch(path)) return ScriptBatch{path, job, false};  // another one was first
    if (error == EEXIST || error == ENOTEMPTY || error == ENOTDIR) {
      return fail(ErrorCode::fix_request, path + " is there and is no batch; name a directory that is empty or new");
    }
    return fail(errno_error(error, path));
  }
  draft.path.clear();
  if (auto synced = sync_directory(fs::path(path).parent_path().string()); !synced) return fail(synced.error());
  return ScriptBatch{path, std::move(job), true};
}

Result<ScriptBatch> find(const std::string& path, const ScriptJob& wanted) {
  auto batch = BatchDirectory::open(path);
  if (!batch) return fail(batch.error());
  auto job = script_job_of(*batch);
  if (!job) return fail(job.error());
  const auto refuse = [&path](const std::string& why) {
    return fail(ErrorCode::fix_request, path + " " + why + "; nothing was run");
  };
  if (!*job) return refuse("is a batch that a driver runs; name another directory with --batch-dir");
  const ScriptJob& there = **job;
  if (there.scheduler != wanted.scheduler || there.job_id != wanted.job_id || there.cluster != wanted.cluster) {
    return refuse(
        fmt::format("is the batch of job {}{}, and this is job {}; name another directory with --batch-dir, "
                    "or let allot resume finish that batch",
                    there.job_id, there.cluster.empty() ? "" : " of cluster " + there.cluster, wanted.job_id));
  }
  if (there.source != wanted.source) {
    return refuse(
        fmt::format("was made by this job of other tasks ({}, now {}); give each allot worker of a job a "
                    "directory of its own with --batch-dir",
                    there.source, wanted.source));
  }
  if (there.elements != wanted.elements || there.workers != wanted.workers || there.first_id != wanted.first_id ||
      there.id_step != wanted.id_step) {
    return refuse(
        fmt::format("was divided among {} worker nodes, and this is one of {}; start all of them in the same "
                    "way",
                    there.shares(), wanted.shares()));
  }
  return ScriptBatch{path, there, false};
}

}  // namespace

Result<ScriptBatch> find_or_make_script_batch(const std::string& given, BatchInfo info, char* const* environment,
                                              ScriptJob job,
                                              const std::function<Result<std::unique_ptr<TaskSource>>()>& open_source) {
  boost::system::error_code error;
  fs::path absolute = fs::absolute(given).lexically_normal();
  if (absolute.filename() == ".") absolute = absolute.parent_path();
  const std::string path = absolute.string();
  if (is_batch(path)) return find(path, job);
  MakingLock lock(path);
  if (auto taken = lock.take(); !taken) return fail(taken.error());
  if (is_batch(path)) return find(path, job);
  if (lock.is_exclusive()) remove_drafts(path);
  auto source = open_source();
  if (!source) return fail(source.error());
  auto made = make(path, std::move(info), environment, job, **source);
  if (made && !made->is_made_here) return find(path, job);
  return made;
}

Result<std::optional<ScriptJob>> script_job_of(const BatchDirectory& batch) {
  auto job = read_script_job(batch.path(), kScriptSubmission);
  if (job) return std::optional(std::move(*job));
  if (job.error().code == ErrorCode::gone) return std::optional<ScriptJob>();
  return fail(job.error());
}

Result<std::uint16_t> count_begin(const std::string& batch_path, std::uint64_t share) {
  const std::string start =
      submission_file_path(batch_path, kScriptSubmission) + ".begun." + std::to_string(share) + ".";
  for (std::uint32_t count = 0; count <= std::numeric_limits<std::uint16_t>::max(); ++count) {
    const std::string path = start + std::to_string(count);
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file && errno == EEXIST) continue;
    if (!file) return fail(errno_error(errno, path));
    if (::fsync(file.get()) != 0) return fail(errno_error(errno, path));
    if (auto synced = sync_directory(fs::path(path).parent_path().string()); !synced) return fail(synced.error());
    return static_cast<std::uint16_t>(count);
  }
  return fail(ErrorCode::gave_up, start + "*: begun too often");
}

}  // namespace allot
