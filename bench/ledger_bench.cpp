// SPDX-License-Identifier: MIT
// What the ledger costs a task: appending and reading rows, appending and scanning records, the fold's time and memory.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/filesystem.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "ledger/batch_directory.h"
#include "ledger/detail_reader.h"
#include "ledger/fold.h"
#include "ledger/record_file.h"
#include "ledger/task_table.h"

using namespace allot;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class T>
T must(Result<T> result) {
  if (result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
  } else {
    std::fprintf(stderr, "ledger_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (std::is_void_v<T>) return;
}

// Bytes of a line of /proc/self/status, such as VmRSS or VmHWM.
double status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::strtod(line.c_str() + key.size() + 1, nullptr) * 1024;
  }
  return 0;
}

// From here on VmHWM is the peak since now.
double reset_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
  return status_bytes("VmRSS");
}

void report(const char* what, double seconds, std::uint64_t count, double bytes_of_memory = -1) {
  std::printf("%-44s %9.3f s %9.3f µs each", what, seconds, seconds / static_cast<double>(count) * 1e6);
  if (bytes_of_memory >= 0) {
    std::printf(" %8.1f bytes of memory each", bytes_of_memory / static_cast<double>(count));
  }
  std::printf("\n");
}

FinishedRecord typical_finished() {
  FinishedRecord record;
  record.exit_info = {ExitClass::done, 0, {}, ""};
  UsageStats& usage = record.usage;
  usage.wall_seconds = usage.user_seconds = usage.system_seconds = 0.001;
  usage.max_rss_bytes = usage.read_bytes = usage.write_bytes = 4096;
  usage.minor_faults = usage.major_faults = usage.voluntary_switches = usage.involuntary_switches = 1;
  usage.cores = 1;
  return record;
}

void measure_table(const BatchDirectory& batch, std::uint64_t tasks) {
  {
    auto table = must(TaskTableWriter::open(batch.task_data_path(), batch.task_index_path()));
    const double memory = reset_peak();
    const double begin = now();
    char line[64];
    for (std::uint64_t i = 0; i < tasks; ++i) {
      const int size =
          std::snprintf(line, sizeof line, "sha256sum /usr/share/doc/file-%09llu", static_cast<unsigned long long>(i));
      must(table.append_shell_line({line, static_cast<std::size_t>(size)}, i + 1));
    }
    must(table.sync());
    report("append rows, made durable", now() - begin, tasks, status_bytes("VmHWM") - memory);
  }
  auto reader = must(TaskTableReader::open(batch.task_data_path(), batch.task_index_path()));
  double begin = now();
  for (std::uint64_t i = 0; i < tasks; ++i) must(reader.row(i));
  report("read rows in order", now() - begin, tasks);
  const std::uint64_t random_reads = std::min<std::uint64_t>(tasks, 100'000);
  begin = now();
  for (std::uint64_t i = 0; i < random_reads; ++i) must(reader.row(i * 7919 % tasks));
  report("read rows far apart", now() - begin, random_reads);
}

void measure_records(const BatchDirectory& batch, std::uint64_t tasks) {
  {
    auto driver = must(RecordWriter::open(batch.record_path("driver-1")));
    driver.add(OpenedRecord{});
    IntentRecord intent;
    intent.submission = 1;
    intent.is_array = true;
    intent.id_base = "0123456789ab";
    intent.steps = StepRanges(0, tasks);
    driver.add(intent);
    driver.add(SubmittedRecord{1, "", "", 1});
    must(driver.write());
  }
  FinishedRecord finished = typical_finished();
  RecordWriter writers[] = {must(RecordWriter::open(batch.record_path("host-0"), 128 * 1024)),
                            must(RecordWriter::open(batch.record_path("host-1"), 128 * 1024))};
  for (RecordWriter& writer : writers) must(writer.append(OpenedRecord{}));
  const double begin = now();
  for (std::uint64_t i = 0; i < tasks; ++i) {  // as a guard does: the end of one and the start of the next in one write
    RecordWriter& writer = writers[i % 2];
    const RunKey key{static_cast<std::uint32_t>(i), 1, 0};
    writer.add(StartedRecord{key, 1, 1});
    must(writer.write());
    finished.key = key;
    writer.add(finished);
  }
  for (RecordWriter& writer : writers) must(writer.write());
  report("append started and finished, a write a task", now() - begin, tasks);
}

void measure_fold(const BatchDirectory& batch, std::uint64_t tasks) {
  const double memory = reset_peak();
  double begin = now();
  const Fold fold = must(Fold::load(batch));
  report("fold", now() - begin, tasks, status_bytes("VmHWM") - memory);
  if (fold.count(TaskState::done) != tasks || !fold.damage().empty()) {
    std::fprintf(stderr, "ledger_bench: the fold is wrong\n");
    std::exit(1);
  }
  DetailReader reader(fold);
  begin = now();
  for (std::uint64_t i = 0; i < tasks; ++i) must(reader.detail(i));
  report("details in order", now() - begin, tasks);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the ledger costs a task");
  std::uint64_t tasks = 1'000'000;
  std::string parent = boost::filesystem::temp_directory_path().string();
  app.add_option("--tasks", tasks, "how many tasks")->check(CLI::Range(1, 100'000'000));
  app.add_option("--dir", parent, "where to make (and remove) a batch directory");
  CLI11_PARSE(app, argc, argv);

  const std::string path = parent + "/ledger-bench-" + std::to_string(::getpid());
  {
    const BatchDirectory batch = must(BatchDirectory::create(path, {}));
    measure_table(batch, tasks);
    measure_records(batch, tasks);
    measure_fold(batch, tasks);
  }
  boost::filesystem::remove_all(path);
  return 0;
}
