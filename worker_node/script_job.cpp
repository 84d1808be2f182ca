// SPDX-License-Identifier: MIT
#include "worker_node/script_job.h"

#include <fcntl.h>

#include <cerrno>

#include <nlohmann/json.hpp>

#include "ledger/batch_json.h"
#include "ledger/submission_file.h"
#include "process/fd.h"

namespace allot {
namespace {

using nlohmann::json;

std::string text_of(const json& value) {
  auto text = ledger::text_from_json(value);
  if (!text) throw json::other_error::create(0, "not a text", nullptr);
  return std::move(*text);
}

}  // namespace

std::string script_job_path(const std::string& batch_path, std::uint32_t submission) {
  return submission_file_path(batch_path, submission) + ".job";
}

Result<void> write_script_job(const std::string& batch_path, std::uint32_t submission, const ScriptJob& job) {
  const json text = {{"scheduler", job.scheduler},
                     {"cluster", ledger::text_to_json(job.cluster)},
                     {"job_id", job.job_id},
                     {"job_name", ledger::text_to_json(job.job_name)},
                     {"is_array", job.is_array},
                     {"first_id", job.first_id},
                     {"id_step", job.id_step},
                     {"elements", job.elements},
                     {"workers", job.workers},
                     {"worker_pack", job.worker_pack},
                     {"tasks", job.tasks},
                     {"cores", job.cores},
                     {"submitted_at", job.submitted_at},
                     {"source", ledger::text_to_json(job.source)}};
  return write_file_durably(script_job_path(batch_path, submission), text.dump(2) + "\n");
}

Result<ScriptJob> read_script_job(const std::string& batch_path, std::uint32_t submission) {
  const std::string path = script_job_path(batch_path, submission);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return fail(ErrorCode::gone, path + " is not there");
  auto bytes = read_regular_file(path);
  if (!bytes) return fail(bytes.error());
  try {
    const json text = json::parse(*bytes);
    ScriptJob job;
    job.scheduler = text.at("scheduler");
    job.cluster = text_of(text.at("cluster"));
    job.job_id = text.at("job_id");
    job.job_name = text_of(text.at("job_name"));
    job.is_array = text.at("is_array");
    job.first_id = text.at("first_id");
    job.id_step = text.at("id_step");
    job.elements = text.at("elements");
    job.workers = text.at("workers");
    job.worker_pack = text.at("worker_pack");
    job.tasks = text.at("tasks");
    job.cores = text.at("cores");
    job.submitted_at = text.at("submitted_at");
    job.source = text_of(text.at("source"));
    const bool is_sound =
        job.id_step > 0 && job.elements > 0 && job.workers > 0 && job.worker_pack > 0 && job.cores > 0;
    if (!is_sound) throw json::other_error::create(0, "a number in it must not be 0", nullptr);
    return job;
  } catch (const json::exception& error) {
    return fail(ErrorCode::gave_up, path + " is damaged: " + error.what());
  }
}

}  // namespace allot
