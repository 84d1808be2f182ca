// SPDX-License-Identifier: MIT
// What the engine costs above the bare distributor, and what a dependency costs: `engine_bench MODE COUNT` prints the
// seconds from the first submission until every task of a new batch has ended. MODE: bare (the distributor alone, one
// array), engine (driven), chain (driven; each task waits for the one before), diamonds (driven; one, two, one, two, …
// each waiting for the ones before).
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>
#include <boost/filesystem.hpp>

#include "engine/batch_plan.h"
#include "engine/cluster_config_file.h"
#include "engine/driver.h"
#include "ledger/environment.h"
#include "process/install_paths.h"
#include "protocol/plugin_loader.h"

using namespace allot;

extern char** environ;

namespace {

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "engine_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class Silent final : public BatchObserver {
 public:
  void progress(const BatchProgress&) override {}
  void failed(std::uint64_t, const ExitInfo&, bool) override {}
  void notice(const std::string& text) override { std::fprintf(stderr, "%s\n", text.c_str()); }
};

class NeverStop final : public StopSignal {
 public:
  int descriptor() const override { return -1; }
  int take() override { return 0; }
};

BatchPlan make_tasks(const BatchDirectory& batch, const std::string& mode, std::uint64_t count) {
  TaskCollector tasks(must(TaskTableWriter::open(batch.task_data_path(), batch.task_index_path())), {});
  TaskSpec task;
  task.argv = {"/bin/true"};
  if (mode == "bare" || mode == "engine") {
    must(tasks.add(task, count));
    return must(tasks.finish(true));
  }
  for (std::uint32_t step = 0; step < count; ++step) {
    task.after.clear();
    const auto after = [&](std::uint32_t cause) { task.after.push_back({cause, DependencyKind::after_ok}); };
    const std::uint32_t place = step % 3;  // of a diamond: its tip, and its two sides
    if (mode == "chain") {
      if (step > 0) after(step - 1);
    } else if (place == 0) {
      if (step > 0) after(step - 2), after(step - 1);
    } else {
      after(step - place);
    }
    must(tasks.add(task));
  }
  return must(tasks.finish(true));
}

void follow(ClusterDistributor& distributor, const BatchDirectory& batch, std::uint64_t count) {
  Submission submission;
  submission.number = 1;
  submission.token = batch.info().batch_id + "-1";
  submission.batch_directory = batch.path();
  submission.steps = StepRanges(0, count);
  submission.is_array = true;
  must(distributor.submit(submission));
  std::uint64_t ended = 0, cursor = 0;
  while (ended < count) {
    for (const Event& event : must(distributor.wait_for_events(cursor, std::chrono::seconds(10)))) {
      cursor = event.sequence;
      ended += event.phase == TaskPhase::finished ? 1 : 0;
    }
  }
  must(distributor.stop());
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode, place;
  std::uint64_t count = 0;
  CLI::App app("What the engine costs above the bare distributor, and what a dependency costs.");
  app.add_option("MODE", mode)->required()->check(CLI::IsMember({"bare", "engine", "chain", "diamonds"}));
  app.add_option("COUNT", count)->required();
  app.add_option("--place", place, "A directory that exists, for the batch; default: $TMPDIR");
  CLI11_PARSE(app, argc, argv);

  namespace fs = boost::filesystem;
  const fs::path folder = (place.empty() ? fs::temp_directory_path() : fs::path(place)) / fs::unique_path();
  BatchInfo info;
  info.batch_id = must(new_id_base());
  info.cluster = "multiprocess";
  info.cwd = fs::current_path().string();
  const auto batch = must(BatchDirectory::create(folder.string(), info));
  must(write_environment(batch.environment_path(), capture_environment(environ)));
  BatchPlan plan = make_tasks(batch, mode, count);
  const auto driver = must(batch.claim(false, count));
  auto log = must(DriverLog::open(batch, driver));

  PluginLoader loader(PluginLoader::search_path({plugin_directory()}));
  const std::string file = cluster_config_directory() + "/multiprocess.toml";
  const LoadedPlugin plugin = loader.load("multiprocess");
  if (!plugin.plugin) must(Result<void>(fail(ErrorCode::gave_up, plugin.message)));
  const auto config = must(read_cluster_config(file, plugin.plugin->parameter_specs()));
  const auto queues = must(plugin.plugin->create_queues(config));
  const auto distributor = must(plugin.plugin->create_distributor(config));
  must(distributor->start());

  const auto began = std::chrono::steady_clock::now();
  if (mode == "bare") {
    follow(*distributor, batch, count);
  } else {
    Silent observer;
    NeverStop stop;
    const DriverContext context{batch, driver, log, *distributor, queues, observer, stop, {}};
    const BatchResult result = drive_batch(context, fresh_state(std::move(plan)));
    if (!result.all_done()) must(Result<void>(fail(ErrorCode::gave_up, "not every task is done")));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  std::printf("%.3f\n", seconds.count());
  fs::remove_all(folder);
  return 0;
}
