// SPDX-License-Identifier: MIT
#include "tests/faults/evidence.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "ledger/record_file.h"
#include "ledger/task_table.h"

namespace allot::faults {
namespace {

namespace fs = std::filesystem;

void take(Evidence& all, const Record& record, const Place& place) {
  if (const auto* started = std::get_if<StartedRecord>(&record)) {
    all.runs[started->key].started.push_back({*started, place});
  } else if (const auto* finished = std::get_if<FinishedRecord>(&record)) {
    all.runs[finished->key].finished.push_back({*finished, place});
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    all.runs[verdict->key].verdicts.push_back({*verdict, place});
  } else if (const auto* retry = std::get_if<RetryRecord>(&record)) {
    all.runs[retry->key].retries.push_back({*retry, place});
  } else if (const auto* added = std::get_if<AddedRecord>(&record)) {
    all.runs[added->parent].additions.push_back({*added, place});
  } else if (const auto* intent = std::get_if<IntentRecord>(&record)) {
    all.submissions[intent->submission].intents.push_back({*intent, place});
  } else if (const auto* submitted = std::get_if<SubmittedRecord>(&record)) {
    if (!submitted->error.empty()) all.submissions[submitted->submission].is_refused = true;
  } else if (const auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    all.withdrawn.push_back({*withdrawn, place});
  } else if (const auto* abandoned = std::get_if<AbandonedRecord>(&record)) {
    all.abandoned.push_back({*abandoned, place});
  }
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A kill may tear the last frame; it damages nothing before it, and no number is left out.
Result<void> read_records(Evidence& all, const BatchDirectory& batch, const std::string& name) {
  std::uint64_t expected = 1;
  auto report = scan_record_file(batch.record_path(name), 0, [&](const DecodedRecord& decoded, std::uint64_t offset) {
    const Place place{name, offset};
    if (decoded.sequence != expected) {
      all.faults.push_back("sequence: " + place.text() + ": number " + std::to_string(decoded.sequence) + " where " +
                           std::to_string(expected) + " was to come");
    }
    expected = decoded.sequence + 1;
    take(all, decoded.record, place);
    return true;
  });
  if (!report) return fail(report.error());
  for (const DamagedRegion& region : report->damaged) {
    all.faults.push_back("damaged: records/" + name + ":" + std::to_string(region.offset) + ": " +
                         std::to_string(region.length) + " bytes");
  }
  return {};
}

void read_effects(Evidence& all, const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  for (std::string text; std::getline(file, text);) {
    ++number;
    if (auto line = parse_effect_line(text)) {
      all.effects[line->step].push_back(std::move(*line));
    } else {
      all.faults.push_back("effects: " + path + ":" + std::to_string(number) + ": not a line of a task: " + text);
    }
  }
}

}  // namespace

Result<Evidence> gather(const BatchDirectory& batch, const std::string& effects_directory) {
  Evidence all;
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  if (!table) return fail(table.error());
  auto size = table->size();
  if (!size) return fail(size.error());
  all.steps = *size;
  for (const std::string& name : names_in(batch.records_directory())) {
    if (auto read = read_records(all, batch, name); !read) return fail(read.error());
  }
  // Rows that a driver wrote for tasks that a task was adding, and was killed before it recorded that: they do not
  // count.
  auto driver = batch.current_driver();
  if (!driver) return fail(driver.error());
  if (*driver && (*driver)->tasks) {
    std::uint64_t counted = *(*driver)->tasks;
    for (const auto& [key, run] : all.runs) {
      for (const auto& added : run.additions) {
        counted = std::max<std::uint64_t>(counted, std::uint64_t{added.record.first_step} + added.record.count);
      }
    }
    all.steps = std::min(all.steps, counted);
  }
  if (effects_directory.empty()) return all;
  for (const std::string& name : names_in(effects_directory)) read_effects(all, effects_directory + "/" + name);
  return all;
}

}  // namespace allot::faults
