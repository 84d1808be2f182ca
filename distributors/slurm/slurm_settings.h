// SPDX-License-Identifier: MIT
// What a cluster's file says of a Slurm cluster, and what a task may pass through to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "distributors/slurm/slurm_types.h"
#include "protocol/cluster_config.h"
#include "protocol/submission.h"

namespace allot::slurm {

struct SlurmSettings {
  std::string configuration;  ///< a slurm.conf; empty: the environment's, else the site's
  std::string account, qos, constraint, reservation;
  std::string pack = "1";        ///< "auto", or tasks of an element
  std::uint32_t pack_slots = 0;  ///< of which so many run at once; 0: one, with pack "auto" up to four
  std::string shell = "/bin/sh";
  bool checks_paths = true;
  bool control_groups = true;
  std::int32_t priority_base = 0;
  std::uint32_t requests_per_minute = 60;
  std::chrono::milliseconds start_timeout{10'000};
  std::chrono::milliseconds kill_grace{5'000};
  std::chrono::milliseconds sample_interval{1'000};
  std::chrono::milliseconds record_interval{500};  ///< between two looks at the record files
  std::chrono::milliseconds shortest_poll{2'000};  ///< of the controller
  std::chrono::milliseconds longest_poll{60'000};
  std::chrono::milliseconds record_patience{
      10'000};                                       ///< how long records of an element that has ended may take to show
  std::chrono::milliseconds answer_timeout{30'000};  ///< of a call to the controller
  std::chrono::milliseconds ambiguity_window{30'000};  ///< how long a controller may take to accept what it was sent
};

std::vector<ParameterSpec> slurm_parameter_specs();
/// Errors: fix_request for values that do not go together.
Result<SlurmSettings> slurm_settings(const ClusterConfig& config);

inline constexpr std::uint64_t kMegabyte = 1024 * 1024;
/// What an element's own processes need beside its tasks: the element and a guard for each slot, static programs.
inline constexpr std::uint64_t kElementMegabytes = 8;

/// How the tasks of a submission lie in the elements of its job: element e has those at positions [e × pack, …).
struct Layout {
  std::uint64_t pack = 1;
  std::uint32_t slots = 1;  ///< tasks of an element that run at once
  std::uint64_t elements(std::uint64_t tasks) const { return (tasks + pack - 1) / pack; }
};

/// What is known of how long this cluster's tasks take.
struct Pace {
  std::optional<double> mean_seconds;                                ///< of tasks that have ended; nothing: none has
  std::uint64_t cores = 1;                                           ///< that the queue has in all
  std::uint64_t cores_of_a_node = 1;                                 ///< of its largest, or what one job may have of it
  std::optional<std::uint64_t> megabytes_of_a_node, gpus_of_a_node;  ///< as cores_of_a_node
};

/// Errors: fix_request, naming the pass-through key that is wrong.
Result<Layout> layout_of(const SlurmSettings& settings, const Submission& submission, const Pace& pace);

/// The request for a submission, `queue` being the one of tasks that name none; name, script and array are the caller's
/// to set. Errors: fix_request, naming the resource or the pass-through key that Slurm would not take.
Result<JobRequest> job_request(const SlurmSettings& settings, const Submission& submission, const Layout& layout,
                               const std::string& queue);

}  // namespace allot::slurm
