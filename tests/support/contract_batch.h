// SPDX-License-Identifier: MIT
// A batch directory for a contract test: made through the ledger, and read back as a witness that owes the plugin
// nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/fold.h"
#include "ledger/output_store.h"
#include "ledger/task_table.h"
#include "protocol/submission.h"
#include "tests/support/contract_files.h"

namespace allot::contract {

/// One batch in a directory of its own, driven by this process. Declare it before the Session that runs it. Thread
/// rule: the test's thread.
class Batch {
 public:
  /// `extra_environment` is set beside PATH, HOME and CONTRACT_MARK=batch for all tasks.
  explicit Batch(const std::vector<std::pair<std::string, std::string>>& extra_environment = {});

  /// Each returns the first step of the rows that it added.
  std::uint64_t add(const TaskSpec& task, std::uint64_t count = 1);
  std::uint64_t add_line(std::string_view shell_line, std::uint64_t count = 1);
  std::uint64_t add_argv(std::vector<std::string> argv);

  /// A submission of `steps` with a token, a number and an id base of its own.
  Submission submission(StepRanges steps, bool is_array);
  Submission array(std::uint64_t first, std::uint64_t count);  ///< step_origin is `first`
  Submission single(std::uint64_t step) { return submission(StepRanges(step, 1), false); }
  /// Adds the line and submits it as a single.
  Submission single_line(std::string_view shell_line) { return single(add_line(shell_line)); }

  std::string path() const { return directory_.path(); }
  std::string cwd() const { return cwd_.path(); }  ///< default working directory of the tasks, empty at first
  std::uint64_t size() const { return steps_; }

  /// What the records say now. Each fails the test when the ledger cannot be read.
  Fold fold() const;
  TaskDetail detail(std::uint64_t step) const;
  std::string output(std::uint64_t step, OutputStream stream = OutputStream::standard_output) const;
  std::string error_output(std::uint64_t step) const { return output(step, OutputStream::standard_error); }

 private:
  TempDir root_;
  TempDir cwd_;
  BatchDirectory directory_;
  std::uint64_t steps_ = 0;
  std::uint32_t submissions_ = 0;
};

/// What a driver owes the ledger around a submit: the intent, durable before the plugin is asked, and the answer after.
/// A token's intent is recorded once. Nothing happens for batches that do not exist. Thread rule: any thread.
void record_intent(const Submission& submission);
void record_answer(const Submission& submission, const Result<SubmittedIds>& answer);

/// Makes a token that no other test of this or another run uses.
std::string unique_token();

}  // namespace allot::contract
