// SPDX-License-Identifier: MIT
#include <algorithm>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_list.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "engine/batch_home.h"

namespace allot::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostShown = 20;
// About two seconds of reading where the records are in the page cache.
constexpr std::uint64_t kMostRecordBytes = std::uint64_t{1} << 30;
constexpr std::size_t kNameCharacters = 40;

class ListVerb final : public Verb {
 public:
  std::string name() const override { return "list"; }
  std::string summary() const override { return "List batches: what runs, and what was cut short"; }
  VerbText text() const override {
    return {{"list [OPTIONS]"},
            "Lists the batches of the batch home ($XDG_STATE_HOME/allot/batches, else ~/.local/state/allot/batches), "
            "newest first. Those that lie elsewhere (--batch-dir) are not among them. LEFT is how many tasks have not "
            "ended, FAILED counts abandoned ones, too. DRIVER says who drives the batch: \"alive\" is a process of "
            "this host, \"elsewhere\" one of a host that cannot be seen from here; \"left\" has ended in order, "
            "\"gone\" without a word; \"waiting\" is a batch that was left to the background, where its turn has not "
            "come; of \"none\" there never was one. Where LEFT is not 0 and the driver has left or "
            "is gone, the batch was cut short, and allot resume finishes it.\n\n"
            "Without --all, no more is read than the newest 20 batches need, and at most 1 GiB of records: of batches "
            "beyond that it is not counted what became of their tasks (\"?\"). What cannot be read of a batch stands "
            "in its line.\n\n"
            "Exit status: 0 if the home could be listed, whatever is in it; 2 for wrong usage; 3 if it cannot.",
            {{"allot list", "the newest 20"},
             {"allot list --state gone --state left --all", "all that nobody drives"},
             {"allot list --all --json", "a JSON object per batch and line"}}};
  }

  void describe(CLI::App& app) override {
    app.add_flag("--all", all_, "All of them, counted however large");
    app.add_option("--state", states_,
                   "Only those whose driver is so (may be repeated): alive, left, waiting, gone, elsewhere, none")
        ->type_name("DRIVER")
        ->expected(1)
        ->take_all();
    app.add_flag("--json", json_, "A JSON object per batch and line (docs/json.md)");
  }

  int run(Services&) override {
    std::vector<Holder::State> wanted;
    for (const auto& name : states_) {
      const auto state = holder_state_from_string(name);
      if (!state) {
        return tell_failure(
            {ErrorCode::fix_request, "--state " + name + ": must be alive, left, waiting, gone, elsewhere or none"});
      }
      wanted.push_back(*state);
    }
    auto home = batch_home();
    if (!home) return tell_failure(home.error());
    auto paths = batches_in(*home);
    if (!paths) return tell_failure(paths.error());

    StandardOutput out;
    if (!json_) out.write(heading());
    std::size_t shown = 0, more = 0;
    std::uint64_t bytes_left = kMostRecordBytes;
    for (std::size_t i = 0; i < paths->size() && !out.is_closed(); ++i) {
      if (!all_ && shown == kMostShown && wanted.empty()) {
        more = paths->size() - i;
        break;
      }
      ListedBatch listed = look_at((*paths)[i]);
      const bool is_wanted =
          wanted.empty() ||
          (listed.trouble.empty() && std::find(wanted.begin(), wanted.end(), listed.holder.state) != wanted.end());
      if (!is_wanted) continue;
      if (!all_ && shown == kMostShown) {
        ++more;
        continue;
      }
      ++shown;
      if (listed.trouble.empty()) count(listed, bytes_left);
      out.write(json_ ? one_line(json_of(listed)) : line_of(listed));
    }
    const int status = out.close(kSuccess);
    if (paths->empty()) tell("allot: there are no batches in " + printable(*home));
    if (more > 0)
      tell(fmt::format("allot: {} more {}; allot list --all lists all", more, more == 1 ? "batch" : "batches"));
    return status;
  }

 private:
  void count(ListedBatch& listed, std::uint64_t& bytes_left) const {
    if (!all_) {
      const std::uint64_t bytes = record_bytes(listed);
      if (bytes > bytes_left) return;
      bytes_left -= bytes;
    }
    count_tasks(listed);
  }

  static std::string heading() {
    return fmt::format("{:<12}  {:<20}  {:<9} {:>9} {:>9} {:>9} {:>9}  {:<14}  {}\n", "ID", "CREATED", "DRIVER",
                       "TASKS", "DONE", "FAILED", "LEFT", "CLUSTER", "NAME");
  }

  static std::string line_of(const ListedBatch& listed) {
    // The directory's name is what the other commands take; for most it is the id.
    const std::string name = printable(listed.name);
    if (!listed.batch) return fmt::format("{:<12}  {}\n", name, printable(listed.trouble));
    const BatchInfo& info = listed.batch->info();
    const auto& counts = listed.counts;
    const auto number = [&counts](std::uint64_t value) { return counts ? std::to_string(value) : std::string("?"); };
    const TaskCounts known = counts.value_or(TaskCounts{});
    std::string line =
        fmt::format("{:<12}  {:<20}  {:<9} {:>9} {:>9} {:>9} {:>9}  {:<14}  {}", name,
                    time_text(info.created_ns).substr(0, 19) + "Z", to_string(listed.holder.state), listed.tasks,
                    number(known.done), number(known.failed + known.abandoned), number(known.unfinished),
                    printable(info.cluster), shorten(printable(info.name), kNameCharacters));
    while (line.ends_with(' ')) line.pop_back();
    if (!listed.trouble.empty()) line += "\n              " + printable(listed.trouble);
    return line + "\n";
  }

  static Json json_of(const ListedBatch& listed) {
    Json json;
    json["batch"] = listed.path;
    if (!is_utf8(listed.path)) json["batch_base64"] = base64(listed.path);
    const BatchInfo* info = listed.batch ? &listed.batch->info() : nullptr;
    json["id"] = info != nullptr ? Json(info->batch_id) : Json(nullptr);
    json["name"] = info != nullptr ? Json(info->name) : Json(nullptr);
    json["cluster"] = info != nullptr ? Json(info->cluster) : Json(nullptr);
    json["created"] = info != nullptr ? Json(time_text(info->created_ns)) : Json(nullptr);
    const bool is_looked_at = info != nullptr && (listed.trouble.empty() || listed.counts);
    json["tasks"] = is_looked_at ? Json(listed.tasks) : Json(nullptr);
    const auto& counts = listed.counts;
    json["done"] = counts ? Json(counts->done) : Json(nullptr);
    json["failed"] = counts ? Json(counts->failed) : Json(nullptr);
    json["abandoned"] = counts ? Json(counts->abandoned) : Json(nullptr);
    json["unfinished"] = counts ? Json(counts->unfinished) : Json(nullptr);
    json["driver"] = is_looked_at ? driver_json(listed.holder) : Json(nullptr);
    json["error"] = listed.trouble.empty() ? Json(nullptr) : Json(listed.trouble);
    return json;
  }

  bool all_ = false, json_ = false;
  std::vector<std::string> states_;
};

}  // namespace

std::unique_ptr<Verb> make_list_verb() {
  return std::make_unique<ListVerb>();
}

}  // namespace allot::cli
