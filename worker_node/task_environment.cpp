// SPDX-License-Identifier: MIT
#include "worker_node/task_environment.h"

#include <algorithm>
#include <cstring>

namespace allot {
namespace {

// Is `entry` "NAME=…"?
bool names(const char* entry, const char* name, std::size_t length) {
  return std::strncmp(entry, name, length) == 0 && entry[length] == '=';
}

}  // namespace

TaskEnvironment::TaskEnvironment(const Environment& batch, char* const* own) {
  // What allot sets for each task never comes from outside: an outer task's id would name the wrong one.
  const auto is_set_per_task = [](const std::string& name) {
    return name.rfind("ALLOT_", 0) == 0 || name == "JOB_ID" || name == "ARRAY_STEP_ID";
  };
  for (const auto& [name, value] : batch) {
    if (!is_set_per_task(name)) base_.push_back(name + "=" + value);
  }
  for (; own != nullptr && *own != nullptr; ++own) {
    const char* equals = std::strchr(*own, '=');
    if (equals == nullptr) continue;
    const std::string name(*own, static_cast<std::size_t>(equals - *own));
    if (is_set_per_task(name) || !(is_secret(name, equals + 1) || is_node_name(name))) continue;
    // Whether a value is a secret may have changed since the batch was made: the batch's own counts.
    const auto is_same = [&](const std::string& entry) { return names(entry.c_str(), name.c_str(), name.size()); };
    if (std::any_of(base_.begin(), base_.end(), is_same)) continue;
    base_.emplace_back(*own);
  }
}

void TaskEnvironment::set(const char* name, const std::string& value) {
  if (extra_used_ == extra_.size()) extra_.emplace_back();
  std::string& entry = extra_[extra_used_++];
  entry.assign(name);
  entry += '=';
  entry += value;
}

char* const* TaskEnvironment::build(const TaskSpec& task, const RunContext& run, const std::string& pwd) {
  extra_used_ = 0;
  if (!pwd.empty()) set("PWD", pwd);
  for (const auto& [name, value] : task.env) set(name.c_str(), value);
  set("ALLOT_DISTRIBUTOR_ID", run.distributor_id);
  set("ALLOT_TASK_NAME", run.task_name);
  set("ALLOT_ATTEMPT", std::to_string(run.attempt));
  set("ALLOT_ROUND", std::to_string(run.round));
  set("ALLOT_BATCH_DIR", run.batch_directory);
  set("ALLOT_ERROR_FILE", run.error_file);
  set("ALLOT_PROGRESS_FILE", run.progress_file);
  set("JOB_ID", run.id_base);
  if (run.array_step) {
    set("ALLOT_ARRAY_STEP_ID", std::to_string(*run.array_step));
    set("ARRAY_STEP_ID", std::to_string(*run.array_step));
  }
  pointers_.clear();
  // Only PWD and the task's own names can be in the base as well; of two of the task's own the later one counts.
  const std::size_t own_names = (pwd.empty() ? 0 : 1) + task.env.size();
  const auto overridden = [&](const char* entry, std::size_t from) {
    for (std::size_t i = from; i < own_names; ++i) {
      const std::size_t length = extra_[i].find('=');
      if (names(entry, extra_[i].c_str(), length)) return true;
    }
    return false;
  };
  for (std::string& entry : base_) {
    if (own_names == 0 || !overridden(entry.c_str(), 0)) pointers_.push_back(entry.data());
  }
  for (std::size_t i = 0; i < extra_used_; ++i) {
    if (i < own_names && overridden(extra_[i].c_str(), i + 1)) continue;
    pointers_.push_back(extra_[i].data());
  }
  pointers_.push_back(nullptr);
  return pointers_.data();
}

char* const* TaskEnvironment::arrange() {
  arranged_.assign(pointers_.begin(), pointers_.end() - 1);
  if (!order_.arrange(arranged_)) return nullptr;
  arranged_.push_back(nullptr);
  return arranged_.data();
}

const char* TaskEnvironment::find(const char* name) const {
  const std::size_t length = std::strlen(name);
  for (const char* entry : pointers_) {
    if (entry != nullptr && names(entry, name, length)) return entry + length + 1;
  }
  return nullptr;
}

const char* TaskEnvironment::find_base(const char* name) const {
  const std::size_t length = std::strlen(name);
  for (const std::string& entry : base_) {
    if (names(entry.c_str(), name, length)) return entry.c_str() + length + 1;
  }
  return nullptr;
}

}  // namespace allot
