// SPDX-License-Identifier: MIT
// allot worker: a worker node in a Slurm job of the user's own.
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>
#include <cstdlib>
#include <ctime>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/cluster_access.h"
#include "cli/console.h"
#include "cli/driving.h"
#include "cli/resource_options.h"
#include "cli/task_input.h"
#include "cli/verb.h"
#include "cli/worker_place.h"
#include "engine/batch_home.h"
#include "engine/script_batch.h"
#include "process/install_paths.h"
#include "protocol/distributor_id.h"
#include "worker_node/shared_queue.h"

namespace allot::cli {
namespace {

constexpr std::int64_t kRequestsMs = 3000;  // nobody can signal worker nodes in a script without ending the script

std::uint32_t cores_here() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<std::uint32_t>(CPU_COUNT(&set));
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<std::uint32_t>(online) : 1;
}

class WorkerVerb final : public Verb {
 public:
  std::string name() const override { return "worker"; }
  std::string summary() const override { return "In a Slurm script of your own: run a share of the tasks"; }
  VerbText text() const override {
    return {
        {"worker [OPTIONS] FILE", "worker [OPTIONS] -- COMMAND... ::: ARGUMENT... [::: ARGUMENT...]",
         "worker [OPTIONS] --each FILE [-0] -- COMMAND...", "worker [OPTIONS] --array N -- COMMAND..."},
        "The worker nodes of a job, one for each element of its array and each task of srun, divide the tasks among "
        "them, in "
        "order and in blocks of one size, and run them, as many at a time as each has cores. The first of them makes "
        "the batch: allot status slurm-JOBID shows it, allot output its outputs. There is no driver: nothing is run "
        "again by itself, and tasks cannot wait for others.\n\n"
        "Once the job is over, allot resume slurm-JOBID runs what it has not (as a job array of allot's own), and "
        "allot "
        "retry --failed what has failed. Before that, resume follows the job to its end.\n\n"
        "Exit status: 0 if all tasks of this share are done, 1 if some are not or something could not be run, 2 for "
        "wrong usage or bad input, 3 if the batch cannot be made.",
        {{"srun allot worker tasks.txt", "in a script with #SBATCH --array=0-99: a hundredth of the lines in each"},
         {"exec allot worker --slots 8 -- gzip {} ::: *.log",
          "in a script without srun, as its last line: eight at a time. Without exec it does not hear that Slurm ends "
          "the job"}}};
  }
  bool takes_command() const override { return true; }
  void take_command(std::vector<std::string>&& words) override { input_.take_command(std::move(words)); }

  void describe(CLI::App& app) override {
    input_.describe(app);
    app.add_option(
           "--batch-dir", batch_dir_,
           "Directory for the batch, the same for all worker nodes of the job and seen by all of them; default: "
           "slurm-JOBID below $XDG_STATE_HOME/allot")
        ->type_name("DIR");
    app.add_option("-j,--slots", slots_, "Tasks at once; default: as many as the cores here are enough for")
        ->type_name("N");
    resources_.describe(app);
    app.add_option("--cluster", cluster_, "The cluster that allot resume and allot retry use later; default: slurm")
        ->type_name("NAME")
        ->capture_default_str();
  }

  int run(Services& services) override;

 private:
  Result<std::string> describe_source() const;
  Result<std::string> batch_path(const ScriptJob& job) const;
  int start(const WorkerPlace& place, const ScriptBatch& batch, std::uint32_t slots) const;

  TaskInput input_;
  ResourceOptions resources_;
  std::optional<std::string> batch_dir_;
  std::optional<std::int64_t> slots_;
  std::string cluster_ = "slurm";
};

// What tells one set of tasks from another without reading them: whoever comes later does not.
Result<std::string> WorkerVerb::describe_source() const {
  const std::optional<std::string>& file = input_.file ? input_.file : input_.each;
  if (file == "-") {
    return fail(ErrorCode::fix_request,
                "the tasks are to come from a file: all worker nodes of a job read them, and standard input is not the "
                "same for each");
  }
  if (!file && input_.words.empty()) {
    return fail(ErrorCode::fix_request, "nothing to run: name a FILE of tasks or a command behind --");
  }
  std::string text;
  if (file) {
    struct stat status {};
    if (::stat(file->c_str(), &status) != 0) return fail(errno_error(errno, *file));
    boost::system::error_code error;
    text = fmt::format("{}, {} bytes of {}.{:09}", boost::filesystem::absolute(*file).lexically_normal().string(),
                       status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
  if (input_.array) text += fmt::format("{}{} times", text.empty() ? "" : ", ", *input_.array);
  for (const std::string& word : input_.words) text += (text.empty() ? "" : " ") + word;
  for (const auto& [name, value] :
       {std::pair("--memory", resources_.memory), std::pair("--timeout", resources_.timeout)}) {
    if (value) text += fmt::format(" ({} {})", name, *value);
  }
  if (resources_.cores) text += fmt::format(" (--cores {})", *resources_.cores);
  return text;
}

Result<std::string> WorkerVerb::batch_path(const ScriptJob& job) const {
  if (batch_dir_) {
    if (batch_dir_->empty()) return fail(ErrorCode::fix_request, "--batch-dir: the path is empty");
    return *batch_dir_;
  }
  auto home = batch_home();
  if (!home) return home;
  return fmt::format("{}/{}-{}", *home, job.scheduler, job.job_id);
}

// Becomes the element: whatever Slurm sends reaches it alone.
int WorkerVerb::start(const WorkerPlace& place, const ScriptBatch& batch, std::uint32_t slots) const {
  auto restart = count_begin(batch.path, place.share);
  if (!restart) {
    tell_error(restart.error().message);
    return kEnvironment;
  }
  const std::string program = element_program();
  std::vector<std::string> words = {program,
                                    "batch=" + batch.path,
                                    fmt::format("submission={}", kScriptSubmission),
                                    fmt::format("pack={}", batch.job.worker_pack),
                                    fmt::format("slots={}", slots),
                                    fmt::format("element={}", place.share),
                                    fmt::format("restart={}", *restart),
                                    fmt::format("requests_ms={}", kRequestsMs),
                                    "why=" + agent_program(place.job.scheduler),
                                    "job=" + place.native_id,
                                    "alone=yes"};
  if (!place.node.empty()) words.push_back("node=" + place.node);
  if (place.ends_at) {
    const std::int64_t left = (*place.ends_at - static_cast<std::int64_t>(std::time(nullptr))) * 1000;
    if (left > 0) words.push_back(fmt::format("allocation_ms={}", left));
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
  tell_error(errno_error(errno, program).message);
  return kEnvironment;
}

int WorkerVerb::run(Services& services) {
  auto asked = resources_.read();
  if (!asked) return tell_failure(asked.error());
  auto source = describe_source();
  if (!source) return tell_failure(source.error());
  auto place = find_worker_place(::getenv, cores_here());
  if (!place) return tell_failure(place.error());
  auto path = batch_path(place->job);
  if (!path) return tell_failure(path.error());
  place->job.source = *source;
  if (place->job.submitted_at == 0) place->job.submitted_at = static_cast<std::int64_t>(std::time(nullptr));

  BatchInfo info;
  auto id = new_id_base();
  if (!id) return tell_failure(id.error());
  info.batch_id = *id;
  info.name = place->job.job_name;
  info.cluster = stored_name(cluster_);
  boost::system::error_code error;
  info.cwd = boost::filesystem::current_path(error).string();
  if (error) return tell_failure({ErrorCode::fix_request, "the current directory is gone: " + error.message()});
  info.default_resources = *asked;

  if (slots_ && (*slots_ < 1 || *slots_ > kMaxSlots)) {
    return tell_failure({ErrorCode::fix_request, fmt::format("--slots: must be 1 to {}", kMaxSlots)});
  }
  // Signals end this process until the batch is there; the next one to come removes what is left of the attempt.
  auto batch = find_or_make_script_batch(*path, std::move(info), services.environment, place->job,
                                         [this] { return input_.open(name(), -1); });
  if (!batch) return tell_failure(batch.error());
  if (batch->is_made_here) {
    tell(fmt::format("allot worker: {} in {}; allot status {} shows what becomes of them",
                     plural(batch->job.tasks, "task"), plural(batch->job.shares(), "share"),
                     batch_dir_ ? batch->path : fmt::format("slurm-{}", batch->job.job_id)));
  }
  if (place->share * batch->job.worker_pack >= batch->job.tasks) {
    tell(fmt::format("allot worker (share {}): nothing to do: the {} of the batch are in the shares before it",
                     place->share, plural(batch->job.tasks, "task")));
    return kSuccess;
  }
  const std::uint32_t wide = batch->job.cores;
  const std::uint32_t slots =
      slots_ ? static_cast<std::uint32_t>(*slots_) : std::min(place->cores / wide, std::uint32_t{kMaxSlots});
  if (slots == 0) {
    return tell_failure({ErrorCode::fix_request,
                         fmt::format("each task asks for {} cores, and there are {} here: ask Slurm for more (-c {}; "
                                     "under srun, too), or say with --slots how many tasks to run at once",
                                     wide, place->cores, wide)});
  }
  return start(*place, *batch, slots);
}

}  // namespace

std::unique_ptr<Verb> make_worker_verb() {
  return std::make_unique<WorkerVerb>();
}

}  // namespace allot::cli
