// SPDX-License-Identifier: MIT
// What a plugin is asked to run (Submission), what it answers (SubmittedIds), and what it reports later (Event).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/distributor_id.h"
#include "protocol/exit_info.h"
#include "protocol/resources.h"
#include "protocol/step_ranges.h"

namespace allot {

/// Some steps of a batch with equal resources, to be submitted as one. The commands stay in the batch directory's
/// task table; a plugin never parses them.
struct Submission {
  std::string token;  ///< caller's name for this submission; repeating it returns the same ids. 1…64 of [A-Za-z0-9._-]
  std::string batch_directory;  ///< absolute path of the batch
  std::string id_base;          ///< to use for the ids, from new_id_base(), recorded with the intent; empty: made here
  std::uint32_t number = 0;     ///< the submission's number in its batch (1, 2, …): part of the run key
  StepRanges steps;             ///< batch-wide steps, dense in the batch, not necessarily here
  bool is_array = false;        ///< false: one task without an array step
  std::uint64_t step_origin = 0;  ///< array_step_id = step - step_origin
  std::uint32_t attempt = 1;      ///< attempt number of these steps, for ALLOT_ATTEMPT
  RequestedResources resources;
  std::uint32_t round = 0;  ///< how often these tasks have ended well and run again after tasks that they added
  std::string name;         ///< for people and logs
  /// Of tasks that wait, in whatever batch, those with the highest start first. Among equals of a batch the order of
  /// submission counts, and batches share the cluster evenly. What a worker node was given ahead of time may start
  /// before: what ends in about 0.1 s. Nothing that runs is ended. Where submit returns when the tasks are over
  /// (sequential), no submission waits beside another, and this means nothing.
  std::int32_t priority = 0;
  /// Nodes that start none of these tasks, named as in Event::node; together at most 64 KiB.
  std::vector<std::string> excluded_nodes;
};

/// The answer to a submission: the id of every step of it.
struct SubmittedIds {
  std::string base;
  bool is_array = false;
  std::uint64_t step_origin = 0;
  StepRanges steps;  ///< batch-wide

  std::uint64_t size() const { return steps.size(); }
  /// The id of a batch-wide step, which must be one of `steps`.
  std::string id_of(std::uint64_t step) const {
    return make_distributor_id(base, is_array ? std::optional(step - step_origin) : std::nullopt);
  }
};

enum class TaskPhase : std::uint8_t { held, queued, running, finished };
std::string_view to_string(TaskPhase phase);

/// One change of one submitted task. Events of a distributor are numbered 1, 2, 3, … without gaps.
struct Event {
  std::uint64_t sequence = 0;  ///< a repeated delivery carries the same number
  std::string distributor_id;
  std::string batch_directory;
  std::uint32_t submission = 0;  ///< Submission::number
  std::uint64_t step = 0;        ///< batch-wide
  TaskPhase phase = TaskPhase::queued;
  std::chrono::system_clock::time_point at;  ///< of the record (node's clock)
  std::string node;                          ///< where it runs or ran; empty: unknown, or it never ran
  std::optional<ExitInfo> exit_info;         ///< exactly with phase finished
  std::optional<double> wall_seconds;        ///< with finished, if it ran
  std::optional<std::uint64_t> max_rss_bytes;
  bool output_incomplete = false;  ///< with finished: some output could not be kept (evidence in exit_info.text)
};

}  // namespace allot
