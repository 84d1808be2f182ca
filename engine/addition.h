// SPDX-License-Identifier: MIT
// How a task adds tasks to its own batch: files below additions/ in the batch, so that it works from any node and
// outlives a driver.
//
// TOKEN.data and TOKEN.index are a task table of their own, whose steps count from 0. TOKEN.json (renamed into place
// when those are on disk) is the request; the driver takes it by renaming it to TOKEN.taken, and answers with
// TOKEN.answer when the tasks are in the batch, or will never be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/task_source.h"
#include "ledger/batch_directory.h"
#include "ledger/driver_records.h"

namespace allot {

struct AdditionRequest {
  std::string token;
  std::string parent;  ///< distributor id of the run that asks
  std::string name;    ///< what was added once under this name is not added again by the same task; may be empty
  std::string cwd;     ///< of tasks that name none
  bool again = false;
  DependencyKind when = DependencyKind::after_ok;
};

struct AdditionAnswer {
  std::uint64_t first_step = 0;
  std::uint64_t count = 0;
  bool was_there = false;  ///< added by an earlier run, under the same name
};

// --- the task's end

/// Writes the tasks and the request. Errors: as make_batch.
Result<void> post_addition(const BatchDirectory& batch, const AdditionRequest& request, TaskSource& source);
/// The driver's answer, or its error; nothing: there is none yet.
Result<std::optional<AdditionAnswer>> find_answer(const BatchDirectory& batch, const std::string& token);
/// Takes the request back. False: a driver has taken it, and will answer.
bool take_back_addition(const BatchDirectory& batch, const std::string& token);
/// Once it has been answered or taken back.
void remove_addition(const BatchDirectory& batch, const std::string& token);

// --- the driver's end

struct TakenAddition {
  std::string token;
  Result<AdditionRequest> request;  ///< an error: it cannot be read
};
/// Takes what has been asked for, and finds what a driver before took and did not answer. Errors: the directory cannot
/// be read.
Result<std::vector<TakenAddition>> take_requests(const BatchDirectory& batch);
/// Paths of its task table.
std::string addition_data_path(const BatchDirectory& batch, const std::string& token);
std::string addition_index_path(const BatchDirectory& batch, const std::string& token);
Result<void> answer_addition(const BatchDirectory& batch, const std::string& token,
                             const Result<AdditionAnswer>& answer);
/// Nobody is left who could ask for it.
void remove_all_additions(const BatchDirectory& batch);

/// Is this the name of a file of an addition?
bool is_addition_file(std::string_view name);

}  // namespace allot
