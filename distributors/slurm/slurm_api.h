// SPDX-License-Identifier: MIT
// libslurm, wrapped: all that differs between its releases (22.05 to 26.05) is behind this. Only the agent uses it,
// because slurm_init ends the process that calls it where the configuration is bad, its calls block for up to 18 s
// while the controller is down, and it prints on stderr.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "distributors/slurm/slurm_types.h"

namespace allot::slurm {

template <class T>
using Answer = tl::expected<T, Fault>;

/// Reads the configuration (SLURM_CONF, else the site's). Ends the process if there is none, after 60 s.
void open_library();

// Every call is one RPC to slurmctld, or one query to slurmdbd. Thread rule: any thread.
Answer<ControllerInfo> controller_info();
bool controller_answers();  ///< slurm_ping: at once, where other calls wait 9 s
Answer<Accepted> submit_job(const JobRequest& request);
/// One job, or one element of an array by the id of its own.
Answer<JobRecord> load_job(std::uint32_t job_id);
/// This user's jobs that the filter wants.
Answer<JobTable> load_jobs(const JobFilter& filter);
/// `job`: "12", "12_3" or "12_[3-5,9]". With `only_script` nothing but the element's own process gets the signal.
Answer<bool> signal_job(const std::string& job, int signal, bool only_script);
/// Ends it, wherever it is.
Answer<bool> cancel_job(const std::string& job);
Answer<bool> hold_job(const std::string& job, bool hold);
Answer<std::vector<Partition>> load_partitions();
/// What the controller has of this user's associations, and all QOS.
Answer<Policies> load_policies();
/// What slurmdbd knows of this user's jobs of these names, submitted since then (Unix seconds); each run of a requeued
/// job is a record of its own.
Answer<std::vector<JobRecord>> accounted_jobs(const std::vector<std::string>& names, std::int64_t since);

}  // namespace allot::slurm
