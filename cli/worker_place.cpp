// SPDX-License-Identifier: MIT
#include "cli/worker_place.h"

#include <algorithm>
#include <charconv>
#include <string>

#include <fmt/format.h>

namespace allot::cli {
namespace {

// Numbers that Slurm puts into the environment. The first that is none stays as the fault of all.
class Numbers {
 public:
  explicit Numbers(const std::function<const char*(const char*)>& variable) : variable_(variable) {}

  /// Nothing: it is not set.
  template <class T>
  std::optional<T> get(const char* name) {
    const std::string text = given(name);
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_number = error == std::errc() && end == text.data() + text.size();
    if (is_number || text.empty()) return is_number ? std::optional(value) : std::nullopt;
    if (fault_.empty()) fault_ = fmt::format("{}={}: not a number; Slurm sets it in its jobs", name, text);
    return std::nullopt;
  }
  std::string given(const char* name) const {
    const char* value = variable_(name);
    return value == nullptr ? "" : value;
  }
  Result<void> check() const { return fault_.empty() ? Result<void>() : fail(ErrorCode::fix_request, fault_); }

 private:
  const std::function<const char*(const char*)>& variable_;
  std::string fault_;
};

// Which element of an array this is. Slurm tells the least and the largest number and how many there are.
Result<void> find_element(Numbers& numbers, WorkerPlace& place, std::uint64_t& element) {
  const auto id = numbers.get<std::uint64_t>("SLURM_ARRAY_TASK_ID");
  const auto least = numbers.get<std::uint64_t>("SLURM_ARRAY_TASK_MIN");
  const auto most = numbers.get<std::uint64_t>("SLURM_ARRAY_TASK_MAX");
  const auto step = numbers.get<std::uint64_t>("SLURM_ARRAY_TASK_STEP");
  const auto count = numbers.get<std::uint64_t>("SLURM_ARRAY_TASK_COUNT");
  const auto job = numbers.get<std::uint32_t>("SLURM_ARRAY_JOB_ID");
  if (auto good = numbers.check(); !good || !id) return good;
  if (!least || !most || !count || !job) {
    return fail(ErrorCode::fix_request,
                "SLURM_ARRAY_TASK_ID is set, and SLURM_ARRAY_JOB_ID or SLURM_ARRAY_TASK_MIN, _MAX or _COUNT is not: "
                "which part of the array this is cannot be told");
  }
  place.job.is_array = true;
  place.job.job_id = *job;
  place.job.first_id = *least;
  place.job.elements = *count;
  // "0-9:3" has a step; of a list such as "1,2,7" nobody can tell from within which of its elements is which.
  place.job.id_step = *count > 1 ? std::max<std::uint64_t>(1, (*most - *least) / (*count - 1)) : 1;
  const bool is_regular = *id >= *least && *id <= *most && *least + place.job.id_step * (*count - 1) == *most &&
                          (*id - *least) % place.job.id_step == 0 && (!step || *step == place.job.id_step);
  if (!is_regular) {
    return fail(ErrorCode::fix_request,
                fmt::format("the array's {} numbers from {} to {} are not evenly spaced: ask for a range, such as "
                            "--array=0-{}",
                            *count, *least, *most, *count - 1));
  }
  element = (*id - *least) / place.job.id_step;
  return {};
}

}  // namespace

Result<WorkerPlace> find_worker_place(const std::function<const char*(const char*)>& variable, std::uint32_t cores) {
  Numbers numbers(variable);
  const auto job_id = numbers.get<std::uint32_t>("SLURM_JOB_ID");
  if (auto good = numbers.check(); !good) return fail(good.error());
  if (!job_id) {
    return fail(ErrorCode::fix_request,
                "this is no Slurm job (SLURM_JOB_ID is not set): put the line into a script for sbatch, or run the "
                "tasks here with allot run");
  }
  WorkerPlace place;
  place.job.scheduler = "slurm";
  place.job.cluster = numbers.given("SLURM_CLUSTER_NAME");
  place.job.job_id = *job_id;
  place.native_id = std::to_string(*job_id);
  place.job.job_name = numbers.given("SLURM_JOB_NAME");
  place.node = numbers.given("SLURMD_NODENAME");
  std::uint64_t element = 0;
  if (auto found = find_element(numbers, place, element); !found) return fail(found.error());

  // Under srun each of its tasks is a worker node. In the script itself there is one.
  const std::uint64_t workers = numbers.get<std::uint64_t>("SLURM_STEP_NUM_TASKS").value_or(0);
  const std::uint64_t rank = numbers.get<std::uint64_t>("SLURM_PROCID").value_or(0);
  const auto per_task = numbers.get<std::uint32_t>("SLURM_CPUS_PER_TASK");
  const auto on_node = numbers.get<std::uint32_t>("SLURM_CPUS_ON_NODE");
  place.job.submitted_at = numbers.get<std::int64_t>("SLURM_JOB_START_TIME").value_or(0);
  place.ends_at = numbers.get<std::int64_t>("SLURM_JOB_END_TIME");
  if (auto good = numbers.check(); !good) return fail(good.error());
  place.job.workers = std::max<std::uint64_t>(1, workers);
  const std::uint64_t worker = workers > 0 ? rank : 0;
  if (worker >= place.job.workers) {
    return fail(ErrorCode::fix_request, fmt::format("SLURM_PROCID is {}, and the step has {} tasks", worker, workers));
  }
  place.share = element * place.job.workers + worker;

  // Without a plugin that binds tasks to cores the kernel shows all of the node's.
  const std::uint32_t allowed = per_task ? *per_task : workers > 1 ? 1 : on_node.value_or(cores);
  place.cores = std::max(1u, std::min(cores, allowed));
  return place;
}

}  // namespace allot::cli
