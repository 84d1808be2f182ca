// SPDX-License-Identifier: MIT
#include "distributors/slurm/native_job.h"

#include <fcntl.h>

#include <cerrno>

#include <nlohmann/json.hpp>

#include "distributors/slurm/element_set.h"
#include "ledger/submission_file.h"
#include "process/fd.h"
#include "worker_node/script_job.h"

namespace allot::slurm {

using nlohmann::json;

namespace {

std::string sending_path(const std::string& batch_path, std::uint32_t submission) {
  return submission_file_path(batch_path, submission) + ".slurm";
}

Result<Sending> sending_of_script(const std::string& batch_path, std::uint32_t submission) {
  auto job = read_script_job(batch_path, submission);
  if (!job) return fail(job.error());
  if (job->scheduler != "slurm") {
    return fail(ErrorCode::gave_up, "a job of " + job->scheduler + " runs submission " + std::to_string(submission) +
                                        " of " + batch_path + ", and this cluster is not of that scheduler");
  }
  Sending sending;
  sending.is_users_own = true;
  sending.tasks = job->tasks;
  sending.layout = {job->element_pack(), 1};
  sending.is_array = job->is_array;
  sending.job_name = job->job_name;
  sending.sent_at = job->submitted_at;
  sending.job_id = job->job_id;
  sending.first_id = job->first_id;
  sending.id_step = job->id_step;
  return sending;
}

}  // namespace

Result<void> write_sending(const std::string& batch_path, std::uint32_t submission, const Sending& sending) {
  json text = {{"try", sending.try_number},     {"tasks", sending.tasks},       {"pack", sending.layout.pack},
               {"slots", sending.layout.slots}, {"is_array", sending.is_array}, {"job_name", sending.job_name},
               {"sent_at", sending.sent_at}};
  if (sending.job_id) text["job_id"] = *sending.job_id;
  if (sending.submitted_at != 0) text["submitted_at"] = sending.submitted_at;
  return write_file_durably(sending_path(batch_path, submission), text.dump() + "\n");
}

Result<Sending> read_sending(const std::string& batch_path, std::uint32_t submission) {
  const std::string path = sending_path(batch_path, submission);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return sending_of_script(batch_path, submission);
  auto bytes = read_regular_file(path);
  if (!bytes) return fail(bytes.error());
  try {
    const json text = json::parse(*bytes);
    Sending sending;
    sending.try_number = text.at("try");
    sending.tasks = text.at("tasks");
    sending.layout.pack = text.at("pack");
    sending.layout.slots = text.at("slots");
    sending.is_array = text.at("is_array");
    sending.job_name = text.at("job_name");
    sending.sent_at = text.at("sent_at");
    sending.submitted_at = text.value("submitted_at", std::int64_t{0});
    if (text.contains("job_id")) sending.job_id = text.at("job_id").get<std::uint32_t>();
    if (sending.layout.pack == 0 || sending.layout.slots == 0) throw json::other_error::create(0, "no pack", nullptr);
    return sending;
  } catch (const json::exception& error) {
    return fail(ErrorCode::gave_up, path + " is damaged: " + error.what());
  }
}

std::string job_name_of(const std::string& token, std::uint32_t try_number) {
  return kJobNamePrefix + token + (try_number > 1 ? "+" + std::to_string(try_number) : "");
}

std::string NativeJob::native_id(const StepRanges& wanted) const {
  if (!sending.is_array) return std::to_string(*sending.job_id);
  if (wanted.size() == element_count() && !sending.is_users_own) return std::to_string(*sending.job_id);
  StepRanges numbers;
  wanted.for_each([&](std::uint64_t element) { numbers.append(number_of(element)); });
  return elements_of_job(*sending.job_id, numbers);
}

StepRanges NativeJob::elements_numbered(const StepRanges& numbers) const {
  StepRanges known;
  numbers.for_each([&](std::uint64_t number) {
    if (const auto element = element_numbered(number)) known.append(*element);
  });
  return known;
}

// Slurm gives ids again after it lost its state, so an id is not enough. The name tells one job from another, or, of
// one that was given another name, the time of its submission.
bool NativeJob::is_told_by(const JobRecord& record) const {
  const std::uint32_t id = *sending.job_id;
  if (record.array_job_id != id && record.job_id != id) return false;
  if (record.name == sending.job_name) return true;
  if (sending.submitted_at != 0) return record.submitted == sending.submitted_at;
  return sending.is_users_own && record.submitted <= sending.sent_at;  // which is when it began, by the same clock
}

const JobRecord* NativeJob::pending_record(std::uint64_t element) const {
  if (waiting_record && waiting.contains(element)) return &*waiting_record;
  const auto view = elements.find(element);
  const bool waits =
      view != elements.end() && !view->second.is_gone && view->second.state.phase == NativePhase::pending;
  return waits ? &view->second.record : nullptr;
}

std::optional<std::uint64_t> NativeJob::element_numbered(std::uint64_t number) const {
  if (number < sending.first_id || (number - sending.first_id) % sending.id_step != 0) return std::nullopt;
  const std::uint64_t element = (number - sending.first_id) / sending.id_step;
  return element < element_count() ? std::optional(element) : std::nullopt;
}

}  // namespace allot::slurm
