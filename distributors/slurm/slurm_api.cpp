// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_api.h"

#include <pwd.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <slurm/slurmdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <set>

namespace allot::slurm {
namespace {

// What differs between releases. A template looks a name up when it is used, so the branch that is not taken may name
// what this release does not have.
template <class R>
auto job_id_of(const R& r, int) -> decltype(static_cast<std::uint32_t>(r.job_id)) {
  return r.job_id;
}
template <class R>  // 25.11
auto job_id_of(const R& r, long) -> decltype(static_cast<std::uint32_t>(r.step_id.job_id)) {
  return r.step_id.job_id;
}

// This cluster alone: for its federation libslurm asks a second time, with each call.
constexpr std::uint16_t kShown = SHOW_ALL | SHOW_LOCAL;

// The number is errno's since 24.11, which has no slurm_get_errno; before, errno is what slurm_get_errno reads.
Fault last_fault(int returned) {
  const int number = returned > 0 ? returned : errno;
  return {number, ::slurm_strerror(number)};
}

tl::unexpected<Fault> failed(int returned) {
  return tl::make_unexpected(last_fault(returned));
}

std::string text_of(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

template <class T>
std::optional<T> number_of(T value, T nothing, T unlimited) {
  if (value == nothing || value == unlimited) return std::nullopt;
  return value;
}

std::optional<std::uint32_t> limit_of(std::uint32_t value) {
  return number_of<std::uint32_t>(value, NO_VAL, INFINITE);
}

char* writable(std::string& text) {
  return text.empty() ? nullptr : text.data();
}

// The items of "a,b,c".
template <class F>
void for_each_item(const char* text, F&& take) {
  std::string rest = text_of(text);
  while (!rest.empty()) {
    const std::string item = rest.substr(0, rest.find(','));
    rest.erase(0, std::min(rest.size(), item.size() + 1));
    take(item);
  }
}

std::uint32_t gpus_in(const char* gres) {
  // "gpu:4", "gpu:a100:2(S:0-1),gpu:v100:1": the last number of each.
  std::uint32_t sum = 0;
  for_each_item(gres, [&sum](const std::string& item) {
    if (item.rfind("gpu", 0) != 0) return;
    const std::string body = item.substr(0, item.find('('));
    const std::size_t colon = body.rfind(':');
    const std::string count = colon == std::string::npos ? "1" : body.substr(colon + 1);
    sum += static_cast<std::uint32_t>(std::strtoul(count.c_str(), nullptr, 10));
  });
  return sum;
}

JobRecord record_of(const slurm_job_info_t& job) {
  JobRecord record;
  record.job_id = job_id_of(job, 0);
  record.array_job_id = job.array_job_id;
  if (job.array_job_id != 0 && job.array_task_id != NO_VAL) record.element = job.array_task_id;
  record.pending = text_of(job.array_task_str);
  record.name = text_of(job.name);
  record.state = job.job_state;
  record.reason = static_cast<std::uint32_t>(job.state_reason);
  record.description = text_of(job.state_desc);
  record.wait_status = job.exit_code;
  record.restarts = job.restart_cnt;
  record.submitted = job.submit_time;
  record.started = job.start_time;
  record.ended = job.end_time;
  record.nodes = text_of(job.nodes);
  record.partition = text_of(job.partition);
  return record;
}

// "1=5,2=4096": the value of one tracked resource.
std::optional<std::uint64_t> tres_value(const char* text, int resource) {
  std::optional<std::uint64_t> value;
  for_each_item(text, [&](const std::string& item) {
    char* end = nullptr;
    if (std::strtol(item.c_str(), &end, 10) == resource && *end == '=') value = std::strtoull(end + 1, nullptr, 10);
  });
  return value;
}

JobRecord record_of(const slurmdb_job_rec_t& job) {
  constexpr int kMemory = 2;
  JobRecord record;
  record.job_id = job.jobid;
  record.array_job_id = job.array_job_id;
  if (job.array_job_id != 0 && job.array_task_id != NO_VAL) record.element = job.array_task_id;
  record.pending = text_of(job.array_task_str);
  record.name = text_of(job.jobname);
  record.state = job.state;
  record.wait_status = static_cast<std::uint32_t>(job.exitcode);
  record.submitted = job.submit;
  record.started = job.start;
  record.ended = job.end;
  record.nodes = text_of(job.nodes);
  record.partition = text_of(job.partition);
  record.elapsed_seconds = job.elapsed;
  constexpr double kMicro = 1e-6;
  record.user_seconds = static_cast<double>(job.user_cpu_sec) + kMicro * static_cast<double>(job.user_cpu_usec);
  record.system_seconds = static_cast<double>(job.sys_cpu_sec) + kMicro * static_cast<double>(job.sys_cpu_usec);
  constexpr int kEnergy = 3;
  const auto energy = tres_value(job.tres_alloc_str, kEnergy);
  if (energy) record.energy_joules = number_of<std::uint64_t>(*energy, NO_VAL64, INFINITE64);
  record.is_accounted = true;
  const auto canceller = static_cast<std::uint32_t>(job.requid);
  if (canceller < NO_VAL) record.cancelled_by = canceller;  // -1: nobody
  if (job.steps != nullptr) {
    auto* steps = ::slurm_list_iterator_create(job.steps);
    while (auto* step = static_cast<slurmdb_step_rec_t*>(::slurm_list_next(steps))) {
      const auto peak = tres_value(step->stats.tres_usage_in_max, kMemory);
      if (peak) record.max_rss_bytes = std::max(record.max_rss_bytes.value_or(0), *peak);
    }
    ::slurm_list_iterator_destroy(steps);
  }
  return record;
}

template <class T, class List, class F>
void for_each(List list, F&& take) {
  if (list == nullptr) return;
  auto* iterator = ::slurm_list_iterator_create(list);
  while (const auto* item = static_cast<const T*>(::slurm_list_next(iterator))) take(*item);
  ::slurm_list_iterator_destroy(iterator);
}

// The order in which the controller counts cores, memory and the rest is its own.
class TrackedResources {
 public:
  explicit TrackedResources(const assoc_mgr_info_msg_t& known) {
    for (std::uint32_t i = 0; i < known.tres_cnt; ++i) names_.push_back(text_of(known.tres_names[i]));
  }
  JobLimits limits(const std::uint64_t* counts) const {
    JobLimits limits;
    for (std::size_t i = 0; counts != nullptr && i < names_.size(); ++i) {
      const auto count = number_of<std::uint64_t>(counts[i], NO_VAL64, INFINITE64);
      if (names_[i] == "cpu") limits.cores = count;
      if (names_[i] == "mem") limits.megabytes = count;
      if (names_[i] == "node") limits.nodes = count;
      if (names_[i] == "gres/gpu") limits.gpus = count;
    }
    return limits;
  }

 private:
  std::vector<std::string> names_;
};

}  // namespace

void open_library() {
  ::slurm_init(nullptr);
}

Answer<ControllerInfo> controller_info() {
  slurm_conf_t* conf = nullptr;
  if (const int rc = ::slurm_load_ctl_conf(0, &conf); rc != 0) return failed(rc);
  ControllerInfo info;
  info.cluster = text_of(conf->cluster_name);
  info.version = text_of(conf->version);
  info.max_array_size = conf->max_array_sz;
  info.max_job_count = conf->max_job_cnt;
  info.min_job_age_seconds = conf->min_job_age;
  info.message_timeout_seconds = conf->msg_timeout;
  info.kill_wait_seconds = conf->kill_wait;
  const std::string storage = text_of(conf->accounting_storage_type);
  constexpr std::uint16_t kEnforceLimits = 2;  // no header that is installed names it
  info.enforces_limits = (conf->accounting_storage_enforce & kEnforceLimits) != 0;
  info.has_accounting = storage.find("slurmdbd") != std::string::npos;
  ::slurm_free_ctl_conf(conf);
  return info;
}

bool controller_answers() {
  constexpr int kMostControllers = 4;
  for (int controller = 0; controller < kMostControllers; ++controller) {
    errno = 0;
    if (::slurm_ping(controller) == 0) return true;
    if (errno == EINVAL) break;  // no such backup
  }
  return false;
}

Answer<Accepted> submit_job(const JobRequest& given) {
  JobRequest request = given;
  job_desc_msg_t job;
  ::slurm_init_job_desc_msg(&job);
  std::vector<char*> environment;
  for (std::string& entry : request.environment) environment.push_back(entry.data());
  job.environment = environment.data();
  job.env_size = static_cast<std::uint32_t>(environment.size());
  job.name = writable(request.name);
  job.script = writable(request.script);
  job.array_inx = writable(request.array);
  job.partition = writable(request.partition);
  job.account = writable(request.account);
  job.qos = writable(request.qos);
  job.features = writable(request.constraint);
  job.reservation = writable(request.reservation);
  job.exc_nodes = writable(request.excluded_nodes);
  job.comment = writable(request.comment);
  job.tres_per_node = writable(request.gres);
  job.work_dir = writable(request.work_directory);
  job.std_in = const_cast<char*>("/dev/null");
  job.std_out = writable(request.standard_output);
  job.std_err = writable(request.standard_error);
  job.user_id = ::getuid();
  job.group_id = ::getgid();
  const std::uint32_t ranks = request.ranks.value_or(1);
  job.num_tasks = ranks;
  if (request.cores) {
    job.cpus_per_task = static_cast<std::uint16_t>(std::min<std::uint32_t>(*request.cores, UINT16_MAX - 2));
    job.min_cpus = *request.cores * ranks;
  }
  if (request.nodes) {
    job.min_nodes = *request.nodes;
    job.max_nodes = *request.nodes;
  } else if (ranks == 1) {
    job.min_nodes = 1;  // an element is one process: its cores lie on one node
    job.max_nodes = 1;
  }
  if (request.memory_megabytes) job.pn_min_memory = *request.memory_megabytes;
  if (request.minutes) job.time_limit = *request.minutes;
  if (request.nice) job.nice = NICE_OFFSET + *request.nice;
  job.requeue = 0;  // what runs again is the engine's decision, with a verdict on the run before
  submit_response_msg_t* response = nullptr;
  errno = 0;
  if (const int rc = ::slurm_submit_batch_job(&job, &response); rc != 0) return failed(rc);
  Accepted accepted{job_id_of(*response, 0), text_of(response->job_submit_user_msg)};
  ::slurm_free_submit_response_response_msg(response);
  return accepted;
}

Answer<JobRecord> load_job(std::uint32_t job_id) {
  job_info_msg_t* jobs = nullptr;
  errno = 0;
  if (const int rc = ::slurm_load_job(&jobs, job_id, kShown); rc != 0) return failed(rc);
  JobRecord record;
  bool is_found = false;
  // Asked for an array's first element it answers with all of them.
  for (std::uint32_t i = 0; i < jobs->record_count; ++i) {
    if (jobs->job_array[i].job_id != job_id) continue;
    record = record_of(jobs->job_array[i]);
    is_found = true;
  }
  ::slurm_free_job_info_msg(jobs);
  if (!is_found) return tl::unexpected(Fault{ESLURM_INVALID_JOB_ID, "the controller does not know it"});
  return record;
}

Answer<JobTable> load_jobs(const JobFilter& filter) {
  const std::set<std::uint32_t> ids(filter.ids.begin(), filter.ids.end());
  job_info_msg_t* jobs = nullptr;
  errno = 0;
  if (const int rc = ::slurm_load_job_user(&jobs, ::getuid(), kShown); rc != 0) return failed(rc);
  JobTable table;
  table.as_of = jobs->last_update;
  for (std::uint32_t i = 0; i < jobs->record_count; ++i) {
    const slurm_job_info_t& job = jobs->job_array[i];
    const bool is_named = !filter.name.empty() && job.name != nullptr && filter.name == job.name;
    if (is_named || ids.count(job_id_of(job, 0)) != 0 || ids.count(job.array_job_id) != 0) {
      table.jobs.push_back(record_of(job));
    }
  }
  ::slurm_free_job_info_msg(jobs);
  return table;
}

Answer<bool> signal_job(const std::string& job, int signal, bool only_script) {
  errno = 0;
  const auto number = static_cast<std::uint16_t>(signal);
  const int rc = ::slurm_kill_job2(job.c_str(), number, only_script ? KILL_JOB_BATCH : 0, nullptr);
  if (rc != 0) return failed(rc);
  return true;
}

Answer<bool> cancel_job(const std::string& job) {
  return signal_job(job, SIGKILL, false);
}

Answer<bool> hold_job(const std::string& id, bool hold) {
  job_desc_msg_t job;
  ::slurm_init_job_desc_msg(&job);
  std::string text = id;
  job.job_id_str = text.data();
  job.priority = hold ? 0 : INFINITE;
  if (hold) job.alloc_sid = ALLOC_SID_USER_HOLD;
  job_array_resp_msg_t* response = nullptr;
  errno = 0;
  const int rc = ::slurm_update_job2(&job, &response);
  int element_fault = 0;
  if (response != nullptr) {
    for (std::uint32_t i = 0; i < response->job_array_count; ++i) {
      const int code = static_cast<int>(response->error_code[i]);
      // One that runs or has ended is no concern of a hold.
      if (code != 0 && code != ESLURM_JOB_NOT_PENDING && code != ESLURM_ALREADY_DONE) element_fault = code;
    }
    ::slurm_free_job_array_resp(response);
  }
  if (rc != 0 && errno != ESLURM_JOB_NOT_PENDING) return failed(rc);
  if (element_fault != 0) return failed(element_fault);
  return true;
}

Answer<std::vector<Partition>> load_partitions() {
  partition_info_msg_t* partitions = nullptr;
  errno = 0;
  if (const int rc = ::slurm_load_partitions(0, &partitions, SHOW_LOCAL); rc != 0) return failed(rc);
  node_info_msg_t* nodes = nullptr;
  if (const int rc = ::slurm_load_node(0, &nodes, kShown); rc != 0) {
    const auto fault = failed(rc);
    ::slurm_free_partition_info_msg(partitions);
    return fault;
  }
  std::vector<Partition> answer;
  for (std::uint32_t i = 0; i < partitions->record_count; ++i) {
    const partition_info_t& known = partitions->partition_array[i];
    Partition partition;
    partition.name = text_of(known.name);
    partition.is_default = (known.flags & PART_FLAG_DEFAULT) != 0;
    partition.is_up = known.state_up == PARTITION_UP;
    partition.max_minutes = limit_of(known.max_time);
    partition.max_nodes = limit_of(known.max_nodes);
    partition.nodes = known.total_nodes;
    partition.qos = text_of(known.qos_char);
    // Pairs of first and last index into the table of nodes; a negative one ends them.
    for (const std::int32_t* pair = known.node_inx; pair != nullptr && pair[0] >= 0; pair += 2) {
      for (std::int32_t at = pair[0]; at <= pair[1] && at < static_cast<std::int32_t>(nodes->record_count); ++at) {
        const node_info_t& node = nodes->node_array[at];
        partition.cores_of_a_node = std::max<std::uint32_t>(partition.cores_of_a_node, node.cpus);
        partition.megabytes_of_a_node = std::max<std::uint64_t>(partition.megabytes_of_a_node, node.real_memory);
        partition.gpus_of_a_node = std::max(partition.gpus_of_a_node, gpus_in(node.gres));
        partition.node_names.push_back(text_of(node.name));
      }
    }
    answer.push_back(std::move(partition));
  }
  ::slurm_free_node_info_msg(nodes);
  ::slurm_free_partition_info_msg(partitions);
  return answer;
}

Answer<Policies> load_policies() {
  assoc_mgr_info_request_msg_t request{};
  request.flags = ASSOC_MGR_INFO_FLAG_ASSOC | ASSOC_MGR_INFO_FLAG_QOS;
  std::array<char, 4096> buffer;
  struct passwd entry {};
  struct passwd* user = nullptr;
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &user) != 0 || user == nullptr) {
    return tl::make_unexpected(Fault{kNoAgent, "user " + std::to_string(::getuid()) + " has no name on this host"});
  }
  request.user_list = ::slurm_list_create(nullptr);
  ::slurm_list_append(request.user_list, user->pw_name);
  assoc_mgr_info_msg_t* known = nullptr;
  errno = 0;
  const int rc = ::slurm_load_assoc_mgr_info(&request, &known);
  ::slurm_list_destroy(request.user_list);
  if (rc != 0) return failed(rc);
  const TrackedResources tracked(*known);
  Policies policies;
  for_each<slurmdb_assoc_rec_t>(known->assoc_list, [&](const slurmdb_assoc_rec_t& assoc) {
    if (assoc.user == nullptr || text_of(assoc.user) != user->pw_name) return;
    Association one;
    one.account = text_of(assoc.acct);
    one.partition = text_of(assoc.partition);
    one.is_default = assoc.is_def == 1;
    one.default_qos = limit_of(assoc.def_qos_id).value_or(0);
    one.limits = tracked.limits(assoc.max_tres_ctld);
    one.limits.minutes = limit_of(assoc.max_wall_pj);
    one.limits.jobs = limit_of(assoc.max_submit_jobs);
    one.group = tracked.limits(assoc.grp_tres_ctld);
    one.group.jobs = limit_of(assoc.grp_submit_jobs);
    policies.associations.push_back(std::move(one));
  });
  for_each<slurmdb_qos_rec_t>(known->qos_list, [&](const slurmdb_qos_rec_t& qos) {
    Qos one;
    one.id = qos.id;
    one.name = text_of(qos.name);
    one.is_over_partition = (qos.flags & QOS_FLAG_OVER_PART_QOS) != 0;
    one.limits = tracked.limits(qos.max_tres_pj_ctld);
    one.limits.minutes = limit_of(qos.max_wall_pj);
    one.limits.jobs = limit_of(qos.max_submit_jobs_pu);
    one.group = tracked.limits(qos.grp_tres_ctld);
    one.group.jobs = limit_of(qos.grp_submit_jobs);
    policies.qos.push_back(std::move(one));
  });
  ::slurm_free_assoc_mgr_info_msg(known);
  return policies;
}

Answer<std::vector<JobRecord>> accounted_jobs(const std::vector<std::string>& names, std::int64_t since) {
  // A connection for each query: a slurmdbd that was restarted in between costs one query, not all that follow.
  std::uint16_t flags = 0;
  errno = 0;
  void* connection = ::slurmdb_connection_get(&flags);
  if (connection == nullptr) return tl::make_unexpected(Fault{kControllerDown, "there is no accounting database"});
  slurmdb_job_cond_t condition{};
  condition.flags = JOBCOND_FLAG_DUP;
  condition.db_flags = SLURMDB_JOB_FLAG_NOTSET;
  condition.usage_start = since;
  condition.jobname_list = ::slurm_list_create(nullptr);
  std::vector<std::string> kept = names;
  for (std::string& name : kept) ::slurm_list_append(condition.jobname_list, name.data());
  condition.userid_list = ::slurm_list_create(nullptr);
  std::string user = std::to_string(::getuid());
  ::slurm_list_append(condition.userid_list, user.data());
  auto* jobs = ::slurmdb_jobs_get(connection, &condition);
  std::vector<JobRecord> records;
  const Fault fault = jobs == nullptr ? last_fault(0) : Fault{};
  if (jobs != nullptr) {
    auto* iterator = ::slurm_list_iterator_create(jobs);
    while (auto* job = static_cast<slurmdb_job_rec_t*>(::slurm_list_next(iterator))) records.push_back(record_of(*job));
    ::slurm_list_iterator_destroy(iterator);
    ::slurm_list_destroy(jobs);
  }
  ::slurm_list_destroy(condition.jobname_list);
  ::slurm_list_destroy(condition.userid_list);
  ::slurmdb_connection_close(&connection);
  if (jobs == nullptr) return tl::make_unexpected(fault);
  return records;
}

}  // namespace allot::slurm
