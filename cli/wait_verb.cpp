// SPDX-License-Identifier: MIT
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/batch_list.h"
#include "cli/console.h"
#include "cli/driver_watch.h"
#include "cli/file_watch.h"
#include "cli/summary.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "ledger/writer_name.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

// What no descriptor tells of (another host's driver, a network file system) is looked at so often.
constexpr milliseconds kFirstPause{1000};
constexpr milliseconds kLongestPause{5000};
// A driver that writes all the time must not be followed word by word.
constexpr milliseconds kShortestPause{100};
constexpr int kMostFaults = 5;

enum class Outcome { open, done, not_done, cut_short, never_driven, error };

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::open:
      return "timeout";
    case Outcome::done:
      return "done";
    case Outcome::not_done:
      return "not_done";
    case Outcome::cut_short:
      return "cut_short";
    case Outcome::never_driven:
      return "never_driven";
    case Outcome::error:
      break;
  }
  return "error";
}

// One batch that is waited for.
struct Waited {
  explicit Waited(BatchDirectory batch) : watch(std::move(batch)) {}

  DriverWatch watch;
  Holder holder;
  Outcome outcome = Outcome::open;
  std::optional<TaskCounts> counts;
  std::uint64_t tasks = 0;
  std::string text;      // what a person is told when it is over, or why it cannot be read
  bool is_gone = false;  // the directory
  int faults = 0;        // looks in a row that failed
  bool has_told = false;
  Fd exit;  // pidfd of the driver
  std::uint64_t exit_epoch = 0;
};

class WaitVerb final : public Verb {
 public:
  std::string name() const override { return "wait"; }
  std::string summary() const override { return "Wait until batches have ended"; }
  VerbText text() const override;
  void describe(CLI::App& app) override {
    app.add_option("BATCH", names_, "Directories of batches, or their ids, or the beginnings of these")
        ->type_name("BATCH")
        ->required();
    app.add_option("--timeout", timeout_, "Wait no longer than this (10m, 1h30m, or seconds)")->type_name("TIME");
    app.add_flag("--json", json_, "A JSON object per batch and line, in the order in which they end (docs/json.md)");
    app.add_flag("-q,--quiet", quiet_, "Say nothing of a batch whose tasks are all done");
  }
  int run(Services&) override;

 private:
  void look(Waited& waited);
  void settle(Waited& waited) const;
  void take_fault(Waited& waited, const Error& error) const;
  void watch_driver(Waited& waited);
  void pause(std::vector<Waited>& all, std::optional<Clock::time_point> deadline);
  int tell_of(StandardOutput& out, const Waited& waited) const;

  std::vector<std::string> names_;
  std::optional<std::string> timeout_;
  bool json_ = false, quiet_ = false;
  FileWatch files_;
  milliseconds pause_ = kFirstPause;
};

VerbText WaitVerb::text() const {
  return {
      {"wait [OPTIONS] BATCH..."},
      "Waits until each of the batches has ended: all of its tasks have, or its driver has left it. A batch that its "
      "driver hands over to the background, or leaves to the next driver there, goes on, and it is said if none lives. "
      "One whose driver is gone without a word (a crash, kill -9) is not "
      "waited for: what is left of it waits for allot resume. A batch that has no driver yet is waited for.\n\n"
      "A driver on this host is seen at once. One on another host is looked at every few seconds, by the records that "
      "it writes: should that host fail, it can only be waited for in vain, or with --timeout.\n\n"
      "Exit status: of several batches the highest one; 0 if every task is done; 1 if some are not, or the batch was "
      "cut "
      "short (then allot resume finishes it); 2 for wrong usage, no such batch, or one that was removed meanwhile; 3 "
      "if "
      "a batch cannot be read; 124 if the time was over first.",
      {{"allot wait 06ecx1", "until it has ended"},
       {"allot wait -q --timeout 1h 06ecx1 06ecx2 && make report", "both are done, within an hour"}}};
}

void WaitVerb::take_fault(Waited& waited, const Error& error) const {
  struct stat status {};
  const std::string& path = waited.watch.batch().path();
  waited.is_gone = ::stat((path + "/batch.json").c_str(), &status) != 0 && errno == ENOENT;
  if (!waited.is_gone && ++waited.faults < kMostFaults) return;
  waited.outcome = Outcome::error;
  waited.text = waited.is_gone ? path + ": was removed" : error.message;
}

// A driver's end shows at once where its process can be seen.
void WaitVerb::watch_driver(Waited& waited) {
  const BatchDirectory& batch = waited.watch.batch();
  files_.add(batch.path() + "/epochs");
  if (!waited.holder.driver) return;
  const std::uint64_t epoch = waited.holder.driver->epoch;
  files_.add(batch.record_path(driver_writer_name(epoch)));
  if (waited.exit_epoch == epoch) return;
  waited.exit.reset();
  if (waited.holder.state != Holder::State::alive) return;
  Fd exit(static_cast<int>(::syscall(SYS_pidfd_open, waited.holder.process().pid, 0)));
  // The pid may be another's by now.
  if (!exit || !is_alive(waited.holder.process())) return;
  waited.exit = std::move(exit);
  waited.exit_epoch = epoch;
}

void WaitVerb::look(Waited& waited) {
  auto holder = waited.watch.look();
  if (!holder) return take_fault(waited, holder.error());
  waited.faults = 0;
  waited.holder = std::move(*holder);
  const BatchInfo& info = waited.watch.batch().info();
  switch (waited.holder.state) {
    case Holder::State::alive:
    case Holder::State::elsewhere:
      return watch_driver(waited);
    case Holder::State::none:
      if (info.host == host_name() && info.boot_id != boot_id()) {
        waited.outcome = Outcome::never_driven;
        waited.text = waited.watch.batch().path() + ": its tasks were never read to the end; none was started";
        return;
      }
      if (!waited.has_told)
        tell("allot: " + printable(waited.watch.batch().path()) + ": has no driver yet; waiting for one");
      waited.has_told = true;
      return watch_driver(waited);
    case Holder::State::waiting:
      if (waited.holder.is_in_queue && !waited.holder.background && !waited.has_told) {
        const BatchDirectory& batch = waited.watch.batch();
        tell(fmt::format("allot: {}: {}", printable(batch.path()), waiting_text(batch, waited.holder)));
        waited.has_told = true;
      }
      return watch_driver(waited);
    case Holder::State::left:
      return settle(waited);
    case Holder::State::gone:
      return settle(waited);
  }
}

// Nobody drives it any more: what has become of its tasks?
void WaitVerb::settle(Waited& waited) const {
  ListedBatch listed;
  listed.batch = waited.watch.batch();
  listed.path = listed.batch->path();
  listed.holder = waited.holder;
  count_tasks(listed);
  waited.counts = listed.counts;
  waited.tasks = listed.tasks;
  if (!listed.trouble.empty()) {
    waited.outcome = Outcome::error;
    waited.text = listed.trouble;
    return;
  }
  waited.outcome = listed.counts->unfinished > 0        ? Outcome::cut_short
                   : listed.counts->done < listed.tasks ? Outcome::not_done
                                                        : Outcome::done;
  if (waited.outcome != Outcome::cut_short) return;
  const std::string driver = cli::describe(*waited.holder.driver);
  const std::string what = waited.holder.state == Holder::State::gone
                               ? fmt::format("its driver ({}) is gone", driver)
                               : fmt::format("its driver ({}) has left it ({})", driver, waited.watch.reason());
  waited.text =
      fmt::format("{}: {}, and {} not ended; {}", listed.path, what,
                  plural(listed.counts->unfinished, "task") + (listed.counts->unfinished == 1 ? " has" : " have"),
                  resume_text(*listed.batch, waited.holder));
}

void WaitVerb::pause(std::vector<Waited>& all, std::optional<Clock::time_point> deadline) {
  std::vector<pollfd> polled{{files_.descriptor(), POLLIN, 0}};
  for (const Waited& waited : all) {
    if (waited.outcome == Outcome::open && waited.exit) polled.push_back({waited.exit.get(), POLLIN, 0});
  }
  const auto left = [&](milliseconds most) {
    if (!deadline) return static_cast<int>(most.count());
    const auto until = std::chrono::ceil<milliseconds>(*deadline - Clock::now());
    return static_cast<int>(std::clamp(until, milliseconds(0), most).count());
  };
  ::poll(polled.data(), polled.size(), left(pause_));
  // What goes on: a little later there is more of it. The end of a driver is not waited for any longer.
  const bool has_exit =
      std::any_of(polled.begin() + 1, polled.end(), [](const pollfd& one) { return one.revents != 0; });
  if (polled[0].revents != 0 && !has_exit) {
    ::poll(polled.data() + 1, polled.size() - 1, left(kShortestPause));
  }
  files_.clear();
  for (Waited& waited : all) {
    if (!waited.exit) continue;
    pollfd exit{waited.exit.get(), POLLIN, 0};
    if (::poll(&exit, 1, 0) > 0) waited.exit.reset();  // it has told what it can
  }
  pause_ = std::min(pause_ * 3 / 2, kLongestPause);
}

int WaitVerb::tell_of(StandardOutput& out, const Waited& waited) const {
  const std::string& path = waited.watch.batch().path();
  const auto& counts = waited.counts;
  if (json_) {
    Json json;
    json["batch"] = path;
    if (!is_utf8(path)) json["batch_base64"] = base64(path);
    json["id"] = waited.watch.batch().info().batch_id;
    json["outcome"] = to_string(waited.outcome);
    json["tasks"] = counts ? Json(waited.tasks) : Json(nullptr);
    json["done"] = counts ? Json(counts->done) : Json(nullptr);
    json["failed"] = counts ? Json(counts->failed) : Json(nullptr);
    json["abandoned"] = counts ? Json(counts->abandoned) : Json(nullptr);
    json["unfinished"] = counts ? Json(counts->unfinished) : Json(nullptr);
    json["driver"] = driver_json(waited.holder);
    json["text"] = waited.text.empty() ? Json(nullptr) : Json(waited.text);
    out.write(one_line(json));
  } else if (counts && !(quiet_ && waited.outcome == Outcome::done)) {
    std::string line = fmt::format("{}: {}: {} done", shown_name(path), plural(waited.tasks, "task"), counts->done);
    if (counts->failed > 0) line += fmt::format(", {} failed", counts->failed);
    if (counts->abandoned > 0) line += fmt::format(", {} abandoned", counts->abandoned);
    if (counts->unfinished > 0) line += fmt::format(", {} not ended", counts->unfinished);
    out.write(line + "\n");
  }
  out.flush();
  if (waited.outcome == Outcome::open) {
    tell_error(fmt::format("{}: has not ended after {}", printable(path), *timeout_));
  } else if (!waited.text.empty()) {
    tell_error(printable(waited.text));
  }
  switch (waited.outcome) {
    case Outcome::open:
      return kTimeIsOver;
    case Outcome::done:
      return kSuccess;
    case Outcome::not_done:
    case Outcome::cut_short:
    case Outcome::never_driven:
      return kNotAll;
    case Outcome::error:
      break;
  }
  return waited.is_gone ? kMisuse : kEnvironment;
}

int WaitVerb::run(Services&) {
  std::optional<Clock::time_point> deadline;
  if (timeout_) {
    const auto duration = parse_duration(*timeout_);
    if (!duration) return tell_failure(duration.error().with_context("--timeout"));
    // Further away than anyone waits, and no overflow.
    constexpr std::int64_t kMost = std::int64_t{1} << 42;
    deadline = Clock::now() + milliseconds(std::min(*duration, kMost));
  }
  std::vector<Waited> all;
  for (const auto& name : names_) {
    auto batch = open_batch(name);
    if (!batch) return tell_failure(batch.error());
    all.emplace_back(std::move(*batch));
  }
  StandardOutput out;
  int status = kSuccess;
  for (;;) {
    std::size_t open = 0;
    for (Waited& waited : all) {
      if (waited.outcome != Outcome::open) continue;
      look(waited);
      if (waited.outcome == Outcome::open) {
        ++open;
      } else {
        status = std::max(status, tell_of(out, waited));
      }
    }
    if (open == 0) return out.close(status);
    if (deadline && Clock::now() >= *deadline) break;
    pause(all, deadline);
  }
  for (const Waited& waited : all) {
    if (waited.outcome == Outcome::open) status = std::max(status, tell_of(out, waited));
  }
  return out.close(status);
}

}  // namespace

std::unique_ptr<Verb> make_wait_verb() {
  return std::make_unique<WaitVerb>();
}

}  // namespace allot::cli
