// SPDX-License-Identifier: MIT
#include "ledger/fold.h"

#include <algorithm>
#include <tuple>

#include "ledger/detail_reader.h"
#include "ledger/fold_builder.h"

namespace allot {

std::string_view to_string(TaskState state) {
  switch (state) {
    case TaskState::waiting:
      return "waiting";
    case TaskState::queued:
      return "queued";
    case TaskState::running:
      return "running";
    case TaskState::done:
      return "done";
    case TaskState::failed:
      return "failed";
    case TaskState::abandoned:
      return "abandoned";
  }
  return "waiting";
}

Result<Fold> Fold::load(const BatchDirectory& batch) {
  return FoldBuilder(batch).build();
}

std::uint64_t Fold::count(TaskState state) const {
  return counts_[static_cast<std::size_t>(state)];
}

void Fold::reopen(const std::function<bool(const FoldedTask&)>& is_to_run_again) {
  for (FoldedTask& task : tasks_) {
    if (!is_to_run_again(task)) continue;
    --counts_[static_cast<std::size_t>(task.state)];
    task.state = TaskState::waiting;
    ++counts_[static_cast<std::size_t>(task.state)];
    if (task.is_held) ++held_;
  }
}

const FoldedSubmission* Fold::submission(std::uint32_t number) const {
  auto it = std::lower_bound(
      submissions_.begin(), submissions_.end(), number,
      [](const FoldedSubmission& submission, std::uint32_t n) { return submission.intent.submission < n; });
  return it != submissions_.end() && it->intent.submission == number ? &*it : nullptr;
}

// All records of a step, oldest run first; of one run in the order of RefKind.
std::vector<Fold::RecordRef> Fold::refs_of(std::uint64_t step) const {
  auto below = [](const RecordRef& ref, std::uint64_t s) { return ref.step < s; };
  auto begin = std::lower_bound(other_records_.begin(), other_records_.end(), step, below);
  auto end = std::lower_bound(begin, other_records_.end(), step + 1, below);
  std::vector<RecordRef> refs(begin, end);
  const FoldedTask& task = tasks_[step];
  RecordRef ref{static_cast<std::uint32_t>(step), task.submission, task.restart, 0, RefKind::started, 0};
  if (task.started_offset != 0) {
    ref.file = task.file;
    ref.offset = task.started_offset;
    refs.push_back(ref);
  }
  if (task.end_kind != EndKind::none) {
    ref.kind = ref_kind(task.end_kind);
    ref.file = task.end_file;
    ref.offset = task.end_offset;
    refs.push_back(ref);
  }
  std::sort(refs.begin(), refs.end(), [](const RecordRef& a, const RecordRef& b) {
    return std::tie(a.submission, a.restart, a.kind, a.file, a.offset) <
           std::tie(b.submission, b.restart, b.kind, b.file, b.offset);
  });
  return refs;
}

Result<TaskDetail> Fold::detail(std::uint64_t step) const {
  return DetailReader(*this).detail(step);
}

}  // namespace allot
