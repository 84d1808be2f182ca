// SPDX-License-Identifier: MIT
// What plugin and agent tell each other, as plain values: nothing of libslurm is in here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace allot::slurm {

/// What sbatch would be told. Empty texts and missing numbers: the site's default.
struct JobRequest {
  std::string name;
  std::string script;
  std::string array;  ///< such as "0-99,105%8"; empty: no array
  std::string partition, account, qos, constraint, reservation, excluded_nodes, comment;
  std::string gres;  ///< such as "gres:gpu:2"
  std::string work_directory = "/";
  std::string standard_output = "/dev/null", standard_error = "/dev/null";
  std::vector<std::string> environment;           ///< NAME=VALUE
  std::optional<std::uint32_t> cores;             ///< of the task; a task is the element
  std::optional<std::uint64_t> memory_megabytes;  ///< of the element on its node
  std::optional<std::uint32_t> minutes;
  std::optional<std::uint32_t> nodes, ranks;
  std::optional<std::uint32_t> nice;  ///< 0 … 2147483645, above: later
};

/// What the controller said of a submission.
struct Accepted {
  std::uint32_t job_id = 0;
  std::string message;  ///< of the site's submit plugin, for people
};

/// One record of slurmctld or of slurmdbd. Pending elements of an array share one (`pending`).
struct JobRecord {
  std::uint32_t job_id = 0;
  std::uint32_t array_job_id = 0;        ///< 0: no array
  std::optional<std::uint32_t> element;  ///< of an array
  std::string pending;                   ///< the elements that share this record, such as "4-9%4"
  std::string name;
  std::uint32_t state = 0;  ///< base state and flags, in Slurm's numbers
  std::uint32_t reason = 0;
  std::string description;        ///< Slurm's own text to the reason
  std::uint32_t wait_status = 0;  ///< of the element's script
  std::uint32_t restarts = 0;
  std::int64_t submitted = 0, started = 0, ended = 0;  ///< Unix seconds; 0: has not
  std::string nodes;
  std::string partition;
  // Of slurmdbd's alone: what the job used.
  std::optional<std::uint64_t> max_rss_bytes, energy_joules;
  std::optional<std::uint32_t> elapsed_seconds;
  std::optional<double> user_seconds, system_seconds;
  bool is_accounted = false;                  ///< it is slurmdbd's
  std::optional<std::uint32_t> cancelled_by;  ///< the user's number; slurmdbd only
};

/// Which of the user's jobs are wanted: those with one of these ids (of the job, or of its array), and those of this
/// name. A job may be given another name while it runs.
struct JobFilter {
  std::vector<std::uint32_t> ids;
  std::string name;  ///< empty: none
};

struct JobTable {
  std::int64_t as_of = 0;  ///< the controller's clock, Unix seconds
  std::vector<JobRecord> jobs;
};

struct ControllerInfo {
  std::string cluster, version;
  std::uint32_t max_array_size = 0;  ///< the largest index is one below it
  std::uint32_t max_job_count = 0;
  std::uint32_t min_job_age_seconds = 0;
  std::uint32_t message_timeout_seconds = 0;
  std::uint32_t kill_wait_seconds = 30;  ///< from TERM to KILL when Slurm ends a job
  bool has_accounting = false;
  bool enforces_limits = false;  ///< of accounts and QOS
};

struct Partition {
  std::string name;
  bool is_default = false;
  bool is_up = true;
  std::optional<std::uint32_t> max_minutes;  ///< nothing: no limit
  std::optional<std::uint32_t> max_nodes;
  std::uint32_t nodes = 0;
  std::uint32_t cores_of_a_node = 0;      ///< of its largest
  std::uint64_t megabytes_of_a_node = 0;  ///< of its largest
  std::uint32_t gpus_of_a_node = 0;
  std::vector<std::string> node_names;
  std::string qos;  ///< whose limits hold for every job of the partition
};

/// What one job may have, and how many jobs a user may have in the queue. Nothing: no limit.
struct JobLimits {
  std::optional<std::uint32_t> minutes, jobs;
  std::optional<std::uint64_t> cores, megabytes, gpus, nodes;
};

/// What this user may charge to an account, in one partition or (empty) in all.
struct Association {
  std::string account, partition;
  bool is_default = false;
  std::uint32_t default_qos = 0;  ///< its id; 0: none is named
  JobLimits limits;
  JobLimits group;  ///< of all jobs of the association together: no single one can have more
};

struct Qos {
  std::uint32_t id = 0;
  std::string name;
  bool is_over_partition = false;  ///< its limits go before those of the partition's QOS
  JobLimits limits, group;
};

struct Policies {
  std::vector<Association> associations;
  std::vector<Qos> qos;
};

/// A call that failed: Slurm's number and its words.
struct Fault {
  int number = 0;  ///< errno of libslurm; -1: the agent could not be asked
  std::string text;
};

/// Numbers of Slurm's that decide what is to be done, the same in every release since 22.05.
inline constexpr int kNoAgent = -1;
inline constexpr int kNoChange = 1900;
inline constexpr int kControllerDown = 1800;
inline constexpr int kTimedOut = 5004;
inline constexpr int kNoSuchJob = 2017;
inline constexpr int kAlreadyDone = 2021;
inline constexpr int kTryAgain = 11;

}  // namespace allot::slurm
