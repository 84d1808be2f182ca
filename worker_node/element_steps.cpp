// SPDX-License-Identifier: MIT
#include "worker_node/element_steps.h"

#include <dirent.h>

#include <cerrno>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "ledger/batch_json.h"
#include "ledger/record_codec.h"
#include "ledger/record_file.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::size_t kMaxJsonBytes = 4u << 20;

Result<std::vector<std::string>> names_in(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return fail(errno_error(errno, directory));
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (errno != 0) return fail(errno_error(errno, directory));
  return names;
}

// Takes the facts about one submission's steps from record files.
class RunFinder {
 public:
  RunFinder(std::uint32_t submission, const StepRanges& steps) : submission_(submission), steps_(steps) {}

  PayloadAnswer take(std::string_view payload) {
    using ledger::RecordType;
    const auto type = static_cast<RecordType>(ledger::payload_type(payload));
    if (type == RecordType::started || type == RecordType::finished) {
      const bool is_start = type == RecordType::started;
      const auto glance = is_start ? ledger::glance_at_started(payload) : ledger::glance_at_finished(payload);
      if (!glance) return PayloadAnswer::damaged;
      if (!is_wanted(glance->key)) return PayloadAnswer::next;
      if (is_start) {
        ++starts_[glance->key.step];
      } else {
        ended_.insert(glance->key.step);
        if (glance->exit_class == ExitClass::done) done_.insert(glance->key.step);
      }
    } else if (type == RecordType::verdict || type == RecordType::withdrawn) {
      const auto decoded = decode_payload(payload);
      if (!decoded || !*decoded) return PayloadAnswer::damaged;
      if (const auto* verdict = std::get_if<VerdictRecord>(&(*decoded)->record)) {
        if (is_wanted(verdict->key)) ended_.insert(verdict->key.step);
      } else if (const auto* out = std::get_if<WithdrawnRecord>(&(*decoded)->record)) {
        if (out->submission == submission_) withdraw(out->steps);
      }
    }
    return PayloadAnswer::next;
  }

  EarlierRuns found() {
    EarlierRuns runs;
    for (const std::uint32_t step : ended_) {
      runs.ended.append(step);
      starts_.erase(step);
    }
    runs.starts = std::move(starts_);
    runs.done = done_.size();
    return runs;
  }

 private:
  bool is_wanted(const RunKey& key) const { return key.submission == submission_ && steps_.contains(key.step); }
  void withdraw(const StepRanges& steps) {
    steps_.for_each([&](std::uint64_t step) {
      if (steps.contains(step)) ended_.insert(static_cast<std::uint32_t>(step));
    });
  }

  std::uint32_t submission_;
  const StepRanges& steps_;
  std::set<std::uint32_t> ended_, done_;
  std::map<std::uint32_t, std::uint32_t> starts_;
};

}  // namespace

Result<BatchInfo> read_batch_info(const std::string& batch_path) {
  const std::string path = batch_path + "/batch.json";
  auto text = read_regular_file(path, kMaxJsonBytes);
  if (!text) return fail(text.error().with_context("there is no batch"));
  return ledger::parse_batch_info(*text, path);
}

Result<StepRanges> steps_of_element(const IntentRecord& intent, const ElementOptions& options) {
  const std::uint64_t size = intent.steps.size();
  if (size > 0 && intent.steps.back() > std::numeric_limits<std::uint32_t>::max()) {
    return fail(ErrorCode::gave_up, "submission " + std::to_string(intent.submission) + " names steps beyond 2^32");
  }
  std::uint64_t from = 0;
  const bool is_beyond = __builtin_mul_overflow(options.element, options.pack, &from) || from >= size;
  if (!is_beyond) return intent.steps.part(from, options.pack);
  return fail(ErrorCode::fix_request, "there is no element " + std::to_string(options.element) + " of submission " +
                                          std::to_string(intent.submission) + ": it has " + std::to_string(size) +
                                          " steps, in packs of " + std::to_string(options.pack));
}

Result<EarlierRuns> find_earlier_runs(const std::string& batch_path, std::uint32_t submission,
                                      const StepRanges& steps) {
  const std::string directory = batch_path + "/records";
  auto names = names_in(directory);
  if (!names) return fail(std::move(names.error()));
  RunFinder finder(submission, steps);
  for (const std::string& name : *names) {
    const std::string path = directory + "/" + name;
    const auto report = scan_record_payloads(
        path, 0, [&finder](std::string_view payload, std::uint64_t) { return finder.take(payload); });
    if (!report) return fail(report.error());
    if (!report->damaged.empty() || report->tail_is_damaged || report->unknown_records > 0) {
      return fail(ErrorCode::gave_up, path +
                                          ": a part of it cannot be read, and which tasks have ended before the job "
                                          "was requeued cannot be told; nothing was run");
    }
  }
  return finder.found();
}

}  // namespace allot
