// SPDX-License-Identifier: MIT
// The guard: the small process of a slot that spawns, captures, measures, ends and records tasks, one after the other.
#pragma once

#include <sched.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ledger/record_file.h"
#include "ledger/task_table.h"
#include "process/spawn.h"
#include "worker_node/memory_witness.h"
#include "worker_node/output_capture.h"
#include "worker_node/shared_queue.h"
#include "worker_node/task_environment.h"

namespace allot {

/// How a guard is started: NAME=VALUE arguments, in the order of to_arguments.
struct GuardOptions {
  std::uint32_t slot = 0;
  std::string writer;           ///< name of the slot's record and output files, such as "host-0"
  std::string batch_directory;  ///< absolute
  std::string cwd;              ///< default working directory of the tasks
  std::string shell = "/bin/sh";
  std::string scratch;  ///< node-local path prefix for the files a task may write about itself
  std::string host;
  std::string node;             ///< the scheduler's name of the node; empty: none of its own
  std::string cgroup;           ///< control group to join; empty: none
  std::int64_t worker_pid = 0;  ///< told, not asked: getppid(2) names another once the worker node is gone
  std::uint64_t worker_start_ticks = 0;
  std::vector<int> cores;  ///< cores it is pinned to; empty: not pinned
  int shared_fd = -1;      ///< SharedQueue
  int poke_fd = -1;        ///< eventfd: something is there for this guard
  int wake_fd = -1;        ///< eventfd of the worker node
  int lifeline_fd = -1;    ///< end of file: the worker node is gone
  int lock_fd = -1;        ///< held while this guard lives: who has the slot's files
  std::int64_t kill_grace_milliseconds = 5000;
  std::int64_t leftover_grace_milliseconds = 500;
  std::int64_t sample_milliseconds = 1000;
  int umask = -1;  ///< of tasks and of the files that their output goes to; -1: as inherited

  std::vector<std::string> to_arguments() const;
  /// Nothing for arguments that no worker node of this version would pass.
  static std::optional<GuardOptions> from_arguments(int argc, char** argv);
};

class Guard {
 public:
  explicit Guard(GuardOptions options);
  ~Guard();

  /// Runs until drained or until the worker node is gone. Returns the process's exit status: 0, or 1 with a line on
  /// stderr when it could not get ready.
  int run();

 private:
  struct Launch;   // a command made ready for execve
  struct Running;  // what is known of the run in progress
  struct StopOrder;

  bool get_ready();
  void run_entries();
  void close_records();
  void sleep();
  bool run_entry(QueueEntry& entry, std::uint32_t index);
  std::optional<std::string> make_ready(const QueueEntry& entry, const TaskSpec& task, Launch& launch);
  std::optional<std::string> open_streams(const TaskSpec& task, const RunContext& run, Launch& launch);
  SpawnResult spawn(const QueueEntry& entry, Launch& launch);
  void watch(Running& running);
  void act_on_limits(Running& running, std::int64_t now);
  void begin_stop(Running& running, ExitClass reason, std::string text, std::int64_t grace, std::int64_t now);
  void end_leftovers(Running& running);
  std::optional<StopOrder> take_stop_order(const Running& running);
  void hear_about_term(Running& running, int status);
  static bool is_term_pending();
  static void forget_term();
  void tell_death(int status, const Running& running, const Launch& launch);
  void classify(Running& running, int status, const Launch& launch);
  std::uint64_t memory_peak(const Running& running) const;
  bool has_group_alone() const;
  std::string text_of_kernel_kill(const Running& running) const;
  void finish(QueueEntry& entry, FinishedRecord& record);
  bool flush(bool has_end = false);
  void wake_node(bool slot_is_idle);

  GuardOptions options_;
  SharedQueue* queue_ = nullptr;
  SlotLine* line_ = nullptr;
  std::optional<TaskTableReader> table_;
  std::optional<RecordWriter> records_;
  std::unique_ptr<TaskEnvironment> environment_;
  OutputCapture out_, err_;
  Spawner spawner_;
  Fd null_input_;
  TaskSpec task_;
  std::vector<std::string> words_;  // of a plain shell line
  std::vector<char*> argv_;
  std::string pwd_, pwd_cwd_;  // PWD for a working directory, as last asked
  cpu_set_t all_cores_;
  std::optional<KillWitness> kernel_kills_;  // made in the slot's own control group
  std::int64_t sample_cost_ = 0;             // of the latest sample, nanoseconds
  bool direct_lines_ = false;
  bool orphaned_ = false;        // the worker node is gone
  bool has_unkillable_ = false;  // something of an ended task is still below this process
};

}  // namespace allot
