// SPDX-License-Identifier: MIT
// What a job script tells allot-element: NAME=VALUE arguments in any order.
#pragma once

#include <cstdint>
#include <string>

#include "protocol/result.h"

namespace allot {

struct ElementOptions {
  std::string batch;             ///< batch=: absolute path of the batch directory
  std::uint32_t submission = 0;  ///< submission=: its number
  std::uint32_t try_number = 0;  ///< try=: how often the submission had been handed to the scheduler before this time
  std::uint64_t element = 0;     ///< element=: which one of the submission
  std::uint64_t pack = 1;        ///< pack=: steps of an element
  std::uint32_t slots = 1;       ///< slots=: of these at once
  std::uint16_t restart = 0;     ///< restart=: how often the scheduler has requeued the job by itself
  std::string node;              ///< node=: the scheduler's name of this node; empty: it is called as its host
  std::string shell = "/bin/sh";
  /// why=: absolute path of a program that says for what reason the scheduler ends a job: PROGRAM --why JOB prints an
  /// exit class (exit_info.h), or nothing
  std::string why;
  std::string job;             ///< job=: by that name
  bool control_groups = true;  ///< cgroup=auto, or cgroup=none
  bool is_alone = false;       ///< alone=yes, or alone=no: no driver looks after the steps (Element::run)
  std::int64_t kill_grace_ms = 5000;
  std::int64_t term_grace_ms = 20'000;  ///< the most that a task gets once the scheduler has said that the job ends
  std::int64_t leftover_grace_ms = 500;
  std::int64_t sample_ms = 1000;
  std::int64_t commit_ms = 20;
  std::int64_t allocation_ms = 0;     ///< how long the job may run; 0: unknown
  std::int64_t space_ms = 600'000;    ///< so long to wait for room on the disk and the like before giving up
  std::int64_t requests_ms = 30'000;  ///< how often to look for requests to stop without being told to

  /// Errors: fix_request, quoting the argument that is wrong, or naming the one that is missing.
  static Result<ElementOptions> from_arguments(int argc, char** argv);
};

}  // namespace allot
