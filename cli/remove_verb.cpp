// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_list.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "engine/batch_home.h"
#include "engine/batch_removal.h"
#include "engine/driver_log.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

// As find_batch; also what a removal that was cut short has left.
Result<std::string> find_remains(const std::string& name) {
  if (name.find('/') == std::string::npos && exists(name + "/" + kRemovalMark)) return name;
  return find_batch(name);
}

class RemoveVerb final : public Verb {
 public:
  std::string name() const override { return "remove"; }
  std::string summary() const override { return "Delete batches with all that is known of them"; }
  VerbText text() const override {
    return {
        {"remove [OPTIONS] BATCH...", "remove [OPTIONS] --older-than TIME"},
        "Deletes the directories of batches: records, outputs, everything. Each is judged by itself. One is left "
        "alone, "
        "and it is told why, while its driver lives, while its driver is on another host and has not left in order, "
        "while a guard or worker node of it lives, and if it is no batch. A batch whose driver is gone may be removed, "
        "although allot resume could still finish it.\n\n"
        "Only files that are a batch's are deleted, and symbolic links are not followed: what else lies in the "
        "directory is told and stays there. A removal that is cut short leaves nothing that could be resumed; the same "
        "command ends it.\n\n"
        "--older-than removes the batches of the batch home that ended longer ago than that: all tasks have ended, and "
        "the driver has left in order. It passes over the others.\n\n"
        "Exit status: 0 if all of them were removed; 1 if some were left alone, or could not be removed; 2 for wrong "
        "usage; 3 if the batch home cannot be listed.",
        {{"allot remove 06ecx1 ./batch", "two batches"},
         {"allot remove --older-than 7d --dry-run", "what would go of the batches that ended a week ago or earlier"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", names_, "Directories of batches, or their ids, or the beginnings of these")
        ->type_name("BATCH");
    app.add_option("--older-than", older_than_, "Instead of BATCH: those that ended so long ago (7d, 12h)")
        ->type_name("TIME");
    app.add_flag("-n,--dry-run", dry_run_, "Only say what would be removed");
    app.add_flag("--json", json_, "A JSON object per batch and line (docs/json.md)");
    app.add_flag("-q,--quiet", quiet_, "Say nothing of what was removed");
  }

  int run(Services&) override {
    if (names_.empty() == older_than_.empty()) {
      return tell_failure({ErrorCode::fix_request, names_.empty()
                                                       ? "nothing to remove: name a BATCH, or give --older-than"
                                                       : "a BATCH and --older-than exclude each other"});
    }
    StandardOutput out;
    int status = kSuccess;
    if (!names_.empty()) {
      for (const auto& name : names_) {
        auto path = find_remains(name);
        status = std::max(status, path ? remove(out, *path) : refuse(out, name, path.error()));
      }
      return out.close(status);
    }
    const auto age = parse_duration(older_than_);
    if (!age) return tell_failure(age.error().with_context("--older-than"));
    auto home = batch_home();
    if (!home) return tell_failure(home.error());
    auto paths = batches_in(*home);
    if (!paths) return tell_failure(paths.error());
    // In milliseconds: an age beyond all time is no overflow.
    const std::int64_t before_ms = unix_nanoseconds() / 1'000'000 - *age;
    for (const auto& path : *paths) {
      auto is_old = ended_before(path, before_ms);
      if (!is_old) {
        status = std::max(status, refuse(out, path, is_old.error()));
      } else if (*is_old) {
        status = std::max(status, remove(out, path));
      }
    }
    return out.close(status);
  }

 private:
  // Errors: it cannot be read.
  static Result<bool> ended_before(const std::string& path, std::int64_t before_ms) {
    if (exists(path + "/" + kRemovalMark)) return true;  // it had been judged
    auto batch = BatchDirectory::open(path);
    if (!batch) return fail(batch.error());
    DriverWatch watch(*batch);
    const auto holder = watch.look();
    if (!holder) return fail(holder.error());
    const bool has_left = holder->state == Holder::State::left && !watch.is_handed_over();
    if (!has_left || watch.left_ns() / 1'000'000 >= before_ms) return false;
    ListedBatch listed;
    listed.path = path;
    listed.batch = *batch;
    listed.holder = *holder;
    count_tasks(listed);
    if (!listed.trouble.empty()) return fail(ErrorCode::gave_up, listed.trouble);
    return listed.counts->unfinished == 0;
  }

  // A batch that was handed over, or whose driver is gone, may be about to be driven, unless there is nobody to do it.
  static Result<std::optional<BackgroundQueue>> queue_of(const std::string& path) {
    const auto batch = BatchDirectory::open(path);
    if (!batch) return std::optional<BackgroundQueue>();  // remove_batch tells what it is
    DriverWatch watch(*batch);
    const auto holder = watch.look();
    if (!holder) return std::optional<BackgroundQueue>();
    const bool is_gone = holder->state == Holder::State::gone;
    if (!is_gone && !watch.is_handed_over()) return std::optional<BackgroundQueue>();
    auto queue = BackgroundQueue::find(batch->info().cluster);
    if (!queue || !queue->contains(batch->info().batch_id)) return std::optional<BackgroundQueue>();
    if (const auto driver = queue->driver()) {
      return fail(ErrorCode::fix_request,
                  fmt::format("{}: is about to be driven by the background driver (process {}); "
                              "allot cancel ends it",
                              path, driver->pid));
    }
    return std::optional(std::move(*queue));
  }

  int remove(StandardOutput& out, const std::string& path) const {
    auto queue = queue_of(path);
    if (!queue) return refuse(out, path, queue.error());
    const auto batch = *queue ? BatchDirectory::open(path) : Result<BatchDirectory>(fail(ErrorCode::gone, ""));
    auto removal = remove_batch(path, dry_run_);
    if (!removal) return refuse(out, path, removal.error());
    if (*queue && batch && !dry_run_) (*queue)->remove(batch->info().batch_id);
    if (json_) {
      out.write(one_line(json_of(path, &*removal, nullptr)));
    } else if (!quiet_) {
      out.write(fmt::format("{} {}: {}, {}\n", dry_run_ ? "would remove" : "removed", printable(path),
                            plural(removal->files, "file"), format_size_rounded(removal->bytes)));
    }
    if (removal->foreign.empty()) return kSuccess;
    out.flush();
    std::string text = path + ": not all in it is the batch's, and is left there:";
    for (const auto& foreign : removal->foreign) text += " " + foreign;
    tell_error(printable(text));
    return kSuccess;
  }

  int refuse(StandardOutput& out, const std::string& path, const Error& error) const {
    if (json_) out.write(one_line(json_of(path, nullptr, &error)));
    out.flush();
    tell_error(printable(error.message));
    return kNotAll;
  }

  Json json_of(const std::string& path, const Removal* removal, const Error* error) const {
    Json json;
    json["batch"] = path;
    if (!is_utf8(path)) json["batch_base64"] = base64(path);
    json["removed"] = removal != nullptr && !dry_run_;
    json["dry_run"] = dry_run_;
    json["files"] = removal != nullptr ? Json(removal->files) : Json(nullptr);
    json["bytes"] = removal != nullptr ? Json(removal->bytes) : Json(nullptr);
    json["left"] = removal != nullptr ? Json(removal->foreign) : Json::array();
    json["error"] = error != nullptr ? Json(error->message) : Json(nullptr);
    return json;
  }

  std::vector<std::string> names_;
  std::string older_than_;
  bool dry_run_ = false, json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_remove_verb() {
  return std::make_unique<RemoveVerb>();
}

}  // namespace allot::cli
