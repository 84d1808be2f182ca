// SPDX-License-Identifier: MIT
#include "cli/worker_place.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>

namespace allot::cli {
namespace {

using Variable = std::function<const char*(const char*)>;

template <class T>
Result<std::optional<T>> number(const Variable& variable, const char* name) {
  const char* given = variable(name);
  if (given == nullptr || *given == '\0') return std::optional<T>();
  const std::string_view text(given);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::fix_request, fmt::format("{}={}: not a number; Slurm sets it in its jobs", name, text));
  }
  return std::optional<T>(value);
}

std::string text_of(const Variable& variable, const char* name) {
  const char* value = variable(name);
  return value == nullptr ? "" : value;
}

// Which element of an array this is. Slurm tells the least and the largest number and how many there are.
Result<void> find_element(const Variable& variable, WorkerPlace& place, std::uint64_t& element) {
  const auto id = number<std::uint64_t>(variable, "SLURM_ARRAY_TASK_ID");
  const auto least = number<std::uint64_t>(variable, "SLURM_ARRAY_TASK_MIN");
  const auto most = number<std::uint64_t>(variable, "SLURM_ARRAY_TASK_MAX");
  const auto step = number<std::uint64_t>(variable, "SLURM_ARRAY_TASK_STEP");
  const auto count = number<std::uint64_t>(variable, "SLURM_ARRAY_TASK_COUNT");
  const auto job = number<std::uint32_t>(variable, "SLURM_ARRAY_JOB_ID");
  for (const auto* value : {&id, &least, &most, &step, &count}) {
    if (!*value) return fail(value->error());
  }
  if (!job) return fail(job.error());
  if (!*id) return {};  // no array
  if (!*least || !*most || !*count || !*job) {
    return fail(ErrorCode::fix_request,
                "SLURM_ARRAY_TASK_ID is set, and SLURM_ARRAY_JOB_ID or SLURM_ARRAY_TASK_MIN, _MAX or _COUNT is not: "
                "which part of the array this is cannot be told");
  }
  place.job.is_array = true;
  place.job.job_id = **job;
  place.job.first_id = **least;
  place.job.elements = **count;
  // "0-9:3" has a step; of a list such as "1,2,7" nobody can tell from within which of its elements is which.
  place.job.id_step = **count > 1 ? std::max<std::uint64_t>(1, (**most - **least) / (**count - 1)) : 1;
  const bool is_regular = **id >= **least && **id <= **most && **least + place.job.id_step * (**count - 1) == **most &&
                          (**id - **least) % place.job.id_step == 0 && (!*step || **step == place.job.id_step);
  if (!is_regular) {
    return fail(ErrorCode::fix_request,
                fmt::format("the array's {} numbers from {} to {} are not evenly spaced: ask for a range, such as "
                            "--array=0-{}",
                            **count, **least, **most, **count - 1));
  }
  element = (**id - **least) / place.job.id_step;
  return {};
}

}  // namespace

Result<WorkerPlace> find_worker_place(const Variable& variable, std::uint32_t cores) {
  const auto job_id = number<std::uint32_t>(variable, "SLURM_JOB_ID");
  if (!job_id) return fail(job_id.error());
  if (!*job_id) {
    return fail(ErrorCode::fix_request,
                "this is no Slurm job (SLURM_JOB_ID is not set): put the line into a script for sbatch, or run the "
                "tasks here with allot run");
  }
  WorkerPlace place;
  place.job.scheduler = "slurm";
  place.job.cluster = text_of(variable, "SLURM_CLUSTER_NAME");
  place.job.job_id = **job_id;
  place.native_id = std::to_string(**job_id);
  place.job.job_name = text_of(variable, "SLURM_JOB_NAME");
  place.node = text_of(variable, "SLURMD_NODENAME");
  std::uint64_t element = 0;
  if (auto found = find_element(variable, place, element); !found) return fail(found.error());

  // Under srun each of its tasks is a worker node. In the script itself there is one.
  const auto workers = number<std::uint64_t>(variable, "SLURM_STEP_NUM_TASKS");
  const auto rank = number<std::uint64_t>(variable, "SLURM_PROCID");
  const auto per_task = number<std::uint32_t>(variable, "SLURM_CPUS_PER_TASK");
  const auto on_node = number<std::uint32_t>(variable, "SLURM_CPUS_ON_NODE");
  const auto begun = number<std::int64_t>(variable, "SLURM_JOB_START_TIME");
  const auto ends = number<std::int64_t>(variable, "SLURM_JOB_END_TIME");
  if (!workers) return fail(workers.error());
  if (!rank) return fail(rank.error());
  if (!per_task) return fail(per_task.error());
  if (!on_node) return fail(on_node.error());
  if (!begun) return fail(begun.error());
  if (!ends) return fail(ends.error());
  const bool is_step = *workers && **workers > 0;
  place.job.workers = is_step ? **workers : 1;
  const std::uint64_t worker = is_step ? rank->value_or(0) : 0;
  if (worker >= place.job.workers) {
    return fail(ErrorCode::fix_request,
                fmt::format("SLURM_PROCID is {}, and the step has {} tasks", worker, **workers));
  }
  place.share = element * place.job.workers + worker;
  place.job.submitted_at = begun->value_or(0);
  place.ends_at = *ends;

  // Without a plugin that binds tasks to cores the kernel shows all of the node's.
  place.cores = cores;
  if (*per_task) {
    place.cores = std::min(place.cores, **per_task);
  } else if (*on_node) {
    place.cores = std::min(place.cores, is_step && place.job.workers > 1 ? 1u : **on_node);
  }
  place.cores = std::max(1u, place.cores);
  return place;
}

}  // namespace allot::cli
