// SPDX-License-Identifier: MIT
#include "ledger/task_table.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <random>

#include "ledger/bytes.h"
#include "ledger/checksum.h"
#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/ledger/mentions.h"

using namespace allot;
using test::mentions;
using test::put_file;

namespace {

struct Table {
  test::TempDirectory directory;
  std::string data = directory / "tasks.data";
  std::string index = directory / "tasks.index";

  TaskTableWriter writer() const {
    auto opened = TaskTableWriter::open(data, index);
    REQUIRE(opened);
    return std::move(*opened);
  }
  TaskTableReader reader() const {
    auto opened = TaskTableReader::open(data, index);
    REQUIRE(opened);
    return std::move(*opened);
  }
};

TaskSpec full_task() {
  TaskSpec task;
  task.argv = {"/bin/echo", "", "a b", "line\nline", "\xFF\xFE", "$(x)'\""};
  task.name = "a name";
  task.cwd = "/some where";
  task.env = {{"A", ""}, {"B", "x=y"}, {"", "z"}};
  task.stdin_path = "in";
  task.stdout_path = "out";
  task.stderr_path = "err";
  task.resources.cores = 3;
  task.resources.memory_bytes = std::uint64_t{1} << 60;
  task.resources.runtime_milliseconds = 1;
  task.resources.gpus = 0;
  task.resources.ranks = 4;
  task.resources.nodes = 2;
  task.resources.queue = "q";
  task.resources.account = "acc";
  task.resources.constraint = "a&b";
  task.resources.pass_through = {{"--x", ""}, {"--y", "1 2"}};
  task.after = {{1, DependencyKind::after_ok}, {0xFFFFFFFF, DependencyKind::after_not_ok}};
  task.source_line = ~std::uint64_t{0};
  task.retry = "error=3";
  task.success_codes = "\x03";
  task.priority = -7;
  task.max_parallel = 9;
  task.begin_ns = std::int64_t{1} << 60;
  return task;
}

TaskSpec shell_task(std::string line) {
  TaskSpec task;
  task.shell_line = std::move(line);
  return task;
}

TaskSpec random_task(std::mt19937_64& random) {
  auto below = [&](std::uint64_t bound) { return random() % bound; };
  auto text = [&](std::size_t max) {
    std::string bytes(below(max + 1), ' ');
    for (char& c : bytes) c = static_cast<char>(1 + below(255));
    return bytes;
  };
  TaskSpec task;
  if (below(2) == 0) {
    task.shell_line = "x" + text(below(20) == 0 ? 40'000 : 60);
  } else {
    for (std::uint64_t n = 1 + below(5); n > 0; --n) task.argv.push_back(text(20));
  }
  if (below(3) == 0) task.name = text(9);
  if (below(3) == 0) task.cwd = text(9);
  for (std::uint64_t n = below(3); n > 0; --n) task.env.emplace_back(text(5), text(9));
  if (below(4) == 0) task.stdin_path = text(9);
  if (below(4) == 0) task.stdout_path = text(9);
  if (below(4) == 0) task.stderr_path = text(9);
  if (below(4) == 0) task.resources.cores = static_cast<std::uint32_t>(random());
  if (below(4) == 0) task.resources.memory_bytes = random();
  if (below(4) == 0) task.resources.queue = text(5);
  if (below(4) == 0) task.resources.pass_through[text(4)] = text(4);
  for (std::uint64_t n = below(3); n > 0; --n) {
    task.after.push_back({static_cast<std::uint32_t>(random()), static_cast<DependencyKind>(below(3))});
  }
  if (below(2) == 0) task.source_line = random();
  if (below(2) == 0) task.begin_ns = static_cast<std::int64_t>(random());
  return task;
}

std::uint64_t file_size(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

TEST_CASE("every field of a task comes back") {
  const Table table;
  auto writer = table.writer();
  const TaskSpec task = full_task();
  REQUIRE(writer.append(task) == 0u);
  REQUIRE(writer.append(shell_task("echo \"x\"; \x01\xFF")) == 1u);
  REQUIRE(writer.append_shell_line("true", 17) == 2u);
  REQUIRE(writer.append_shell_line("false", 0) == 3u);
  REQUIRE(writer.sync());
  auto reader = table.reader();
  REQUIRE(reader.size() == 4u);
  TaskSpec back;
  REQUIRE(reader.read(0, back));
  CHECK(back == task);
  REQUIRE(reader.read(2, back));
  CHECK(back.shell_line == "true");
  CHECK(back.source_line == 17);
  CHECK(back.is_shell());
  TaskSpec expected = shell_task("true");
  expected.source_line = 17;
  CHECK(back == expected);  // nothing of the task read before is left in it
  REQUIRE(reader.read(1, back));
  CHECK(back == shell_task("echo \"x\"; \x01\xFF"));
  REQUIRE(reader.read(3, back));
  CHECK(back == shell_task("false"));
}

TEST_CASE("random tasks come back in any order, and rows appended later are found") {
  const Table table;
  std::mt19937_64 random(11);
  std::vector<TaskSpec> tasks;  // by step
  auto writer = table.writer();
  auto reader = table.reader();
  TaskSpec back;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 150; ++i) {
      const TaskSpec task = random_task(random);
      const std::uint64_t count = random() % 10 == 0 ? 1 + random() % 30 : 1;
      REQUIRE(writer.append(task, count) == tasks.size());
      tasks.insert(tasks.end(), count, task);
    }
    REQUIRE(writer.size() == tasks.size());
    REQUIRE(writer.sync());
    REQUIRE(reader.size() == tasks.size());
    if (round % 5 == 4) {
      writer = table.writer();
      REQUIRE(writer.size() == tasks.size());
    }
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t step = random() % tasks.size();
      REQUIRE(reader.read(step, back));
      REQUIRE(back == tasks[step]);
    }
    auto missing = reader.row(tasks.size());
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == ErrorCode::fix_request);
    CHECK(mentions(missing.error().message, {"no step " + std::to_string(tasks.size()), "has "}));
  }
  for (std::uint64_t step = 0; step < tasks.size(); ++step) {
    auto row = reader.row(step);
    REQUIRE(row);
    REQUIRE(**row == tasks[step]);
  }
  CHECK_FALSE(reader.row(std::uint64_t{1} << 61));
}

TEST_CASE("an array of many steps is one row") {
  const Table table;
  auto writer = table.writer();
  REQUIRE(writer.append(shell_task("before")) == 0u);
  REQUIRE(writer.append(shell_task("element"), 1'000'000) == 1u);
  REQUIRE(writer.append(shell_task("behind")) == 1'000'001u);
  REQUIRE(writer.sync());
  CHECK(file_size(table.data) < 200);
  CHECK(file_size(table.index) == 8 * 1'000'002u);
  auto reader = table.reader();
  auto row = reader.row(1);
  REQUIRE(row);
  const TaskSpec* first = *row;
  for (std::uint64_t step : {std::uint64_t{2}, std::uint64_t{500'000}, std::uint64_t{1'000'000}}) {
    row = reader.row(step);
    REQUIRE(row);
    CHECK(*row == first);
    CHECK((*row)->shell_line == "element");
  }
  row = reader.row(1'000'001);
  REQUIRE(row);
  CHECK((*row)->shell_line == "behind");
  row = reader.row(0);
  REQUIRE(row);
  CHECK((*row)->shell_line == "before");
}

TEST_CASE("long lines and many arguments are kept whole") {
  const Table table;
  auto writer = table.writer();
  std::string line(10u << 20, 'l');
  line[5'000'000] = '\n';
  TaskSpec wide;
  for (int i = 0; i < 200'000; ++i) wide.argv.push_back(std::to_string(i));
  REQUIRE(writer.append_shell_line(line, 1));
  REQUIRE(writer.append(wide));
  REQUIRE(writer.append_shell_line("small", 2));
  REQUIRE(writer.sync());
  auto reader = table.reader();
  TaskSpec back;
  REQUIRE(reader.read(0, back));
  CHECK(back.shell_line == line);
  REQUIRE(reader.read(1, back));
  CHECK(back == wide);
  REQUIRE(reader.read(2, back));
  CHECK(back.shell_line == "small");
}

TEST_CASE("what cannot be a task is refused and leaves no trace") {
  const Table table;
  auto writer = table.writer();
  const std::string nul("a\0b", 3);
  std::vector<TaskSpec> bad(1);  // neither
  bad.push_back(shell_task("x"));
  bad.back().argv = {"y"};  // both
  for (int field = 0; field < 12; ++field) {
    TaskSpec task = field == 0 ? shell_task(nul) : TaskSpec{};
    if (field != 0) task.argv = {"x"};
    if (field == 1) task.argv.push_back(nul);
    if (field == 2) task.name = nul;
    if (field == 3) task.cwd = nul;
    if (field == 4) task.env = {{"A", nul}};
    if (field == 5) task.env = {{nul, "A"}};
    if (field == 6) task.stdin_path = nul;
    if (field == 7) task.stdout_path = nul;
    if (field == 8) task.stderr_path = nul;
    if (field == 9) task.resources.queue = nul;
    if (field == 10) task.resources.pass_through = {{"k", nul}};
    if (field == 11) task.resources.pass_through = {{nul, "v"}};
    bad.push_back(std::move(task));
  }
  for (const TaskSpec& task : bad) {
    auto result = writer.append(task);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::fix_request);
  }
  CHECK_FALSE(writer.append_shell_line("", 1));
  CHECK_FALSE(writer.append_shell_line(nul, 1));
  CHECK_FALSE(writer.append_shell_line(std::string(kMaxRowBytes, 'x'), 1));
  CHECK_FALSE(writer.append(shell_task(std::string(kMaxRowBytes, 'x'))));
  CHECK_FALSE(writer.append(shell_task("x"), 0));
  CHECK_FALSE(writer.append(shell_task("x"), (std::uint64_t{1} << 32) + 1));
  CHECK(writer.size() == 0);
  REQUIRE(writer.append_shell_line("good", 1) == 0u);
  REQUIRE(writer.sync());
  auto row = table.reader().row(0);
  REQUIRE(row);
}

TEST_CASE("rows are unseen before sync, and a killed writer's rest is cut off") {
  const Table table;
  {
    auto writer = table.writer();
    REQUIRE(writer.append_shell_line("kept", 1));
    REQUIRE(writer.sync());
    REQUIRE(writer.append_shell_line("lost", 2));
    CHECK(table.reader().size() == 1u);
  }
  const std::string data = *read_file(table.data);
  const std::string index = *read_file(table.index);
  // Whatever part of a next row and of its entry a crash left behind.
  for (std::size_t row_part : {0, 1, 7, 8, 9, 20}) {
    for (std::size_t entry_part : {0, 1, 7}) {
      put_file(table.data, data + std::string(row_part, '\x11'));
      put_file(table.index, index + std::string(entry_part, '\x22'));
      auto writer = table.writer();
      REQUIRE(writer.size() == 1);
      CHECK(file_size(table.data) == data.size());
      REQUIRE(writer.append_shell_line("next", 3) == 1u);
      REQUIRE(writer.sync());
      auto reader = table.reader();
      TaskSpec task;
      REQUIRE(reader.read(0, task));
      CHECK(task.shell_line == "kept");
      REQUIRE(reader.read(1, task));
      CHECK(task.shell_line == "next");
    }
  }
  // Killed before anything was whole.
  for (std::size_t size = 0; size <= 8; ++size) {
    put_file(table.data, data.substr(0, size));
    put_file(table.index, "");
    auto writer = table.writer();
    REQUIRE(writer.append_shell_line("first", 1) == 0u);
    REQUIRE(writer.sync());
    REQUIRE(table.reader().row(0));
  }
}

TEST_CASE("any flipped bit is an error or changes nothing, never another command") {
  const Table table;
  std::vector<TaskSpec> tasks;
  {
    std::mt19937_64 random(5);
    auto writer = table.writer();
    for (int i = 0; i < 6; ++i) {
      TaskSpec task = random_task(random);
      if (task.shell_line.size() > 100) task.shell_line.resize(100);
      REQUIRE(writer.append(task));
      tasks.push_back(std::move(task));
    }
    REQUIRE(writer.sync());
  }
  const std::string data = *read_file(table.data);
  const std::string index = *read_file(table.index);
  int refused = 0;
  auto check = [&](const std::string& data_bytes, const std::string& index_bytes) {
    put_file(table.data, data_bytes);
    put_file(table.index, index_bytes);
    auto reader = TaskTableReader::open(table.data, table.index);
    if (!reader) {
      ++refused;
      CHECK(mentions(reader.error().message, {table.data}));
      return;
    }
    for (std::uint64_t step = 0; step < tasks.size(); ++step) {
      auto row = reader->row(step);
      if (row) {
        REQUIRE(**row == tasks[step]);
      } else {
        ++refused;
        REQUIRE(row.error().code == ErrorCode::gave_up);
        REQUIRE(mentions(row.error().message, {"step " + std::to_string(step)}));
      }
    }
  };
  int flips = 0;
  for (std::size_t at = 0; at < data.size(); ++at, ++flips) {
    std::string bytes = data;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    check(bytes, index);
  }
  for (std::size_t bit = 0; bit < index.size() * 8; ++bit, ++flips) {
    std::string bytes = index;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    check(data, bytes);
  }
  CHECK(refused >= flips);
  for (std::size_t size = 0; size < data.size(); size += 3) check(data.substr(0, size), index);
}

TEST_CASE("an index that leads to another step's row is found out") {
  const Table table;
  {
    auto writer = table.writer();
    REQUIRE(writer.append_shell_line("zero", 1));
    REQUIRE(writer.append_shell_line("one", 2));
    REQUIRE(writer.sync());
  }
  std::string index = *read_file(table.index);
  std::swap_ranges(index.begin(), index.begin() + 8, index.begin() + 8);
  put_file(table.index, index);
  auto reader = table.reader();
  auto row = reader.row(0);
  REQUIRE_FALSE(row);
  CHECK(mentions(row.error().message, {table.index, "step 0", "step 1"}));
}

TEST_CASE("a length that lies makes nobody allocate") {
  const Table table;
  {
    auto writer = table.writer();
    REQUIRE(writer.append_shell_line("x", 1));
    REQUIRE(writer.sync());
  }
  for (std::uint32_t length : {0u, 7u, 1000u, 60u << 20, 0xFFFFFFFFu}) {
    std::string data = *read_file(table.data);
    ledger::store(data.data() + 8, length);
    if (length < 8) ledger::store(data.data() + 12, ledger::checksum({data.data() + 16, length}));
    put_file(table.data, data);
    auto row = table.reader().row(0);
    REQUIRE_FALSE(row);
    CHECK(row.error().code == ErrorCode::gave_up);
    if (length >= 1000u) CHECK_FALSE(TaskTableWriter::open(table.data, table.index));
  }
}

TEST_CASE("files of another kind are refused") {
  const Table table;
  CHECK_FALSE(TaskTableReader::open(table.data, table.index));
  put_file(table.data, "something else");
  put_file(table.index, "");
  CHECK_FALSE(TaskTableReader::open(table.data, table.index));
  auto writer = TaskTableWriter::open(table.data, table.index);
  REQUIRE_FALSE(writer);
  CHECK(mentions(writer.error().message, {table.data}));
  CHECK(*read_file(table.data) == "something else");
  // A damaged last row: its step may have been handed out, so nothing is cut and nothing is added.
  put_file(table.data, "ALLOTTT1");
  put_file(table.index, std::string("\x08\0\0\0\0\0\0\0", 8));
  writer = TaskTableWriter::open(table.data, table.index);
  REQUIRE_FALSE(writer);
  CHECK(mentions(writer.error().message, {"step 0", table.data}));
}

TEST_CASE("a table that cannot be opened for want of descriptors is to be opened later") {
  test::TempDirectory directory;
  put_file(directory / "data", "");
  put_file(directory / "index", "");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 0;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto refused = TaskTableReader::open(directory / "data", directory / "index");
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::retry_later);
  CHECK(mentions(refused.error().message, {directory / "data"}));
  CHECK(TaskTableReader::open(directory / "data", directory / "index"));
  CHECK(TaskTableReader::open(directory / "no data", directory / "index").error().code == ErrorCode::gave_up);
}

TEST_CASE("a failing disk refuses the append, keeps the table whole, and works again later") {
  // Limits that hit the data, in the middle of the rows and at their ends, and the index of an array.
  for (std::uint64_t limit : {std::uint64_t{4}, std::uint64_t{300'000}, std::uint64_t{1'500'000}}) {
    const Table table;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto body = [&] {
        ::signal(SIGXFSZ, SIG_IGN);
        rlimit file_size_limit{limit, RLIM_INFINITY};
        ::setrlimit(RLIMIT_FSIZE, &file_size_limit);
        auto writer = TaskTableWriter::open(table.data, table.index);
        if (!writer) return 1;
        const std::string line(1000, 'l');
        std::uint64_t accepted = 0;
        bool failed = false;
        for (int i = 0; i < 2000; ++i) {
          auto step = writer->append_shell_line(line, accepted);
          if (step && *step != accepted) return 2;
          if (step) ++accepted;
          failed = failed || !step;
          if (writer->size() != accepted) return 3;
        }
        auto array = writer->append(shell_task("array"), 400'000);
        if (array) return 4;
        if (writer->size() != accepted) return 5;
        if (!failed) return 6;
        file_size_limit.rlim_cur = RLIM_INFINITY;
        ::setrlimit(RLIMIT_FSIZE, &file_size_limit);
        array = writer->append(shell_task("array"), 400'000);
        if (!array || *array != accepted) return 7;
        if (!writer->sync()) return 8;
        auto reader = TaskTableReader::open(table.data, table.index);
        if (!reader || reader->size() != accepted + 400'000) return 9;
        for (std::uint64_t step = 0; step < accepted; ++step) {
          auto row = reader->row(step);
          if (!row || (*row)->shell_line != line || (*row)->source_line != step) return 10;
        }
        auto row = reader->row(accepted + 399'999);
        return row && (*row)->shell_line == "array" ? 0 : 11;
      };
      ::_exit(body());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    INFO(limit);
    REQUIRE(WEXITSTATUS(status) == 0);
  }
}

TEST_CASE("a command is shown as sh would have to be given it") {
  CHECK(shell_task("a | b").command_text() == "a | b");
  TaskSpec task;
  task.argv = {"echo", "a", "", "b c", "it's", "*", "-x=1", "\n"};
  CHECK(task.command_text() == "echo a '' 'b c' 'it'\\''s' '*' -x=1 '\n'");
  task.argv = {"A=b", "x"};
  CHECK(task.command_text() == "'A=b' x");
}
