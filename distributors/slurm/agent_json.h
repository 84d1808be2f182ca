// SPDX-License-Identifier: MIT
// The lines between plugin and agent: {"id": 7, "op": "jobs", …} and {"id": 7, "value": …} or {"id": 7, "fault": …}.
#pragma once

#include <nlohmann/json.hpp>

#include "distributors/slurm/slurm_types.h"

namespace nlohmann {

template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& out, const std::optional<T>& value) { out = value ? json(*value) : json(nullptr); }
  static void from_json(const json& in, std::optional<T>& value) {
    if (in.is_null()) {
      value.reset();
    } else {
      value = in.get<T>();
    }
  }
};

}  // namespace nlohmann

namespace allot::slurm {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobRequest, name, script, array, partition, account, qos, constraint, reservation,
                                   excluded_nodes, comment, gres, work_directory, standard_output, standard_error,
                                   environment, cores, memory_megabytes, minutes, nodes, ranks, nice)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Accepted, job_id, message)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobRecord, job_id, array_job_id, element, pending, name, state, reason, description,
                                   wait_status, restarts, submitted, started, ended, nodes, partition, max_rss_bytes,
                                   energy_joules, elapsed_seconds, user_seconds, system_seconds, is_accounted,
                                   cancelled_by)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobFilter, ids, name)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobTable, as_of, jobs)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ControllerInfo, cluster, version, max_array_size, max_job_count, min_job_age_seconds,
                                   message_timeout_seconds, kill_wait_seconds, has_accounting, enforces_limits)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Partition, name, is_default, is_up, max_minutes, max_nodes, nodes, cores_of_a_node,
                                   megabytes_of_a_node, gpus_of_a_node, node_names, qos)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobLimits, minutes, jobs, cores, megabytes, gpus, nodes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Association, account, partition, is_default, default_qos, limits, group)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Qos, id, name, is_over_partition, limits, group)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Policies, associations, qos)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fault, number, text)

}  // namespace allot::slurm
