// SPDX-License-Identifier: MIT
#include "ledger/driver_records.h"

namespace allot {

IntentRecord intent_of(const Submission& submission, std::int64_t at_ns) {
  IntentRecord intent;
  intent.submission = submission.number;
  intent.token = submission.token;
  intent.id_base = submission.id_base;
  intent.is_array = submission.is_array;
  intent.step_origin = submission.step_origin;
  intent.steps = submission.steps;
  intent.attempt = submission.attempt;
  intent.resources = submission.resources;
  intent.name = submission.name;
  intent.at_ns = at_ns;
  intent.priority = submission.priority;
  intent.excluded_nodes = submission.excluded_nodes;
  intent.round = submission.round;
  return intent;
}

Submission submission_of(const IntentRecord& intent, const std::string& batch_directory) {
  Submission submission;
  submission.token = intent.token;
  submission.batch_directory = batch_directory;
  submission.id_base = intent.id_base;
  submission.number = intent.submission;
  submission.steps = intent.steps;
  submission.is_array = intent.is_array;
  submission.step_origin = intent.step_origin;
  submission.attempt = intent.attempt;
  submission.resources = intent.resources;
  submission.name = intent.name;
  submission.priority = intent.priority;
  submission.excluded_nodes = intent.excluded_nodes;
  submission.round = intent.round;
  return submission;
}

}  // namespace allot
