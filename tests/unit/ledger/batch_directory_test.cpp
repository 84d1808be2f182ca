// SPDX-License-Identifier: MIT
#include "ledger/batch_directory.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "ledger/record_file.h"
#include "process/fd.h"
#include "process/identity.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/ledger/mentions.h"

using namespace allot;
using test::mentions;
using test::put_file;
using test::TempDirectory;

namespace {

BatchInfo full_info() {
  BatchInfo info;
  info.batch_id = "0123456789ab";
  info.name = "n\"\n";
  info.cluster = "multiprocess";
  info.cwd = "/not/utf-8/\xFF\xC3";
  info.priority = INT32_MIN;
  info.begin_ns = 17;
  info.created_ns = 1'700'000'000'000'000'001;
  info.default_resources.cores = 4;
  info.default_resources.memory_bytes = (std::uint64_t{1} << 63) + 1;
  info.default_resources.runtime_milliseconds = 5;
  info.default_resources.gpus = 0;
  info.default_resources.ranks = 1;
  info.default_resources.nodes = 2;
  info.default_resources.queue = "long";
  info.default_resources.account = "a\xFF";
  info.default_resources.constraint = "c";
  info.default_resources.pass_through = {{"--x", ""}, {"\xFF", "\xFE"}};
  return info;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

void put_epoch(const BatchDirectory& batch, std::uint64_t epoch, const std::string& host, const std::string& boot,
               std::int64_t pid, std::uint64_t ticks) {
  std::ofstream(batch.path() + "/epochs/" + std::to_string(epoch))
      << "{\"epoch\": " << epoch << ", \"host\": \"" << host << "\", \"boot_id\": \"" << boot << "\", \"pid\": " << pid
      << ", \"start_ticks\": " << ticks << ", \"since_ns\": 1700000000000000000}";
}

}  // namespace

TEST_CASE("a batch directory is made whole and opened again") {
  TempDirectory directory;
  const mode_t before = ::umask(022);
  auto made = BatchDirectory::create(directory / "a/b/../b/batch/", full_info());
  ::umask(before);
  REQUIRE(made);
  CHECK(made->path() == directory / "a/b/batch");
  CHECK(mode_of(made->path()) == 0700);
  CHECK(mode_of(directory / "a") == 0755);
  CHECK(made->info().umask == 022u);
  for (const char* name : {"epochs", "records", "output", "additions"})
    CHECK(mode_of(made->path() + "/" + name) == 0700);
  CHECK(made->info().host == host_name());
  CHECK(made->info().boot_id == boot_id());
  CHECK(made->info().allot_version == ALLOT_VERSION);

  auto opened = BatchDirectory::open(made->path() + "/");
  REQUIRE(opened);
  CHECK(opened->path() == made->path());
  const BatchInfo expected = full_info();
  CHECK(opened->info().format == kBatchFormat);
  CHECK(opened->info().batch_id == expected.batch_id);
  CHECK(opened->info().name == expected.name);
  CHECK(opened->info().cluster == expected.cluster);
  CHECK(opened->info().cwd == expected.cwd);
  CHECK(opened->info().created_ns == expected.created_ns);
  CHECK(opened->info().default_resources == expected.default_resources);
  CHECK(opened->info().priority == expected.priority);
  CHECK(opened->info().begin_ns == expected.begin_ns);
  CHECK(opened->info().host == host_name());
  CHECK(opened->info().umask == 022u);
  CHECK(opened->output_path("host-0", OutputStream::standard_error) == made->path() + "/output/host-0.err");
  CHECK(opened->record_path("driver-1") == made->path() + "/records/driver-1");
}

TEST_CASE("no umask opens a batch to others or locks its owner out") {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    TempDirectory directory;
    const mode_t before = ::umask(mask);
    auto made = BatchDirectory::create(directory / "b", {});
    auto deep = BatchDirectory::create(directory / "above/b", {});
    ::umask(before);
    REQUIRE(made);
    CHECK(made->info().umask == mask);
    CHECK(BatchDirectory::open(directory / "b").value().info().umask == mask);
    for (const char* name : {"", "/epochs", "/records", "/output"}) CHECK(mode_of(directory / "b" + name) == 0700);
    CHECK(mode_of(directory / "b/batch.json") == 0600);
    CHECK((mode_of(directory / "above") & 022) == 0);
  }
}

TEST_CASE("a batch made before the umask was kept has none, and one that is no umask is damage") {
  TempDirectory directory;
  auto made = BatchDirectory::create(directory / "b", full_info());
  REQUIRE(made);
  const std::string text = *read_file(directory / "b/batch.json");
  const auto at = text.find("\"umask\"");
  REQUIRE(at != std::string::npos);
  std::string without = text;
  without.replace(at, 7, "\"other\"");
  put_file(directory / "b/batch.json", without);
  CHECK_FALSE(BatchDirectory::open(directory / "b").value().info().umask);
  std::string wrong = text;
  wrong.replace(wrong.find('"', wrong.find(':', at)), 6, "\"0999\"");
  put_file(directory / "b/batch.json", wrong);
  auto damaged = BatchDirectory::open(directory / "b");
  REQUIRE_FALSE(damaged);
  CHECK(mentions(damaged.error().message, {"umask", "octal"}));
}

TEST_CASE("an empty directory of the user's is taken as it is") {
  TempDirectory directory;
  std::filesystem::create_directory(directory / "mine");
  REQUIRE(::chmod((directory / "mine").c_str(), 0750) == 0);
  REQUIRE(BatchDirectory::create(directory / "mine", {}));
  CHECK(mode_of(directory / "mine") == 0750);
}

TEST_CASE("a place that cannot become a batch is refused in words and left alone") {
  TempDirectory directory;
  put_file(directory / "file", "x");
  std::filesystem::create_directory(directory / "full");
  put_file(directory / "full/x", "x");
  REQUIRE(BatchDirectory::create(directory / "batch", {}));
  struct Case {
    std::string path;
    std::string words;
  };
  for (const auto& [path, words] : {Case{directory / "file", "no directory"}, Case{directory / "full", "not empty"},
                                    Case{directory / "batch", "already"}, Case{directory / "file/below", "ENOTDIR"},
                                    Case{"", "empty"}, Case{"/proc/allot-test/x", "ENOENT"}}) {
    INFO(path);
    auto made = BatchDirectory::create(path, {});
    REQUIRE_FALSE(made);
    CHECK(made.error().code == ErrorCode::fix_request);
    INFO(made.error().message);
    CHECK(mentions(made.error().message, {path, words}));
  }
  CHECK(*read_file(directory / "full/x") == "x");
  if (::geteuid() != 0) {  // root may write anywhere
    std::filesystem::create_directory(directory / "locked");
    REQUIRE(::chmod((directory / "locked").c_str(), 0500) == 0);
    auto made = BatchDirectory::create(directory / "locked/batch", {});
    REQUIRE_FALSE(made);
    CHECK(mentions(made.error().message, {directory / "locked/batch", "EACCES"}));
  }
}

TEST_CASE("what is no batch, or a damaged one, is refused naming file and key") {
  TempDirectory directory;
  auto missing = BatchDirectory::open(directory / "nothing");
  REQUIRE_FALSE(missing);
  CHECK(mentions(missing.error().message, {directory / "nothing", "ENOENT"}));
  CHECK_FALSE(BatchDirectory::open(""));
  auto no_json = BatchDirectory::open(directory.path());
  REQUIRE_FALSE(no_json);
  CHECK(mentions(no_json.error().message, {directory.path(), "no batch.json"}));

  auto made = BatchDirectory::create(directory / "batch", full_info());
  REQUIRE(made);
  const std::string path = directory / "batch/batch.json";
  const std::string good = *read_file(path);
  auto replaced = [&](std::string_view what, std::string_view with) {
    std::string text = good;
    const std::size_t at = text.find(what);
    REQUIRE(at != std::string::npos);
    return text.replace(at, what.size(), with);
  };
  struct Case {
    std::string text;
    std::vector<std::string> words;
  };
  const Case cases[] = {
      {"", {"damaged", "it is no JSON: at line 1, column 1: unexpected end of input; expected"}},
      {replaced("\"cores\": 4", "\"cores\": 1e400"), {"the number '1e400' is too large"}},
      {"[]", {"no JSON object"}},
      {"{}", {"\"format\""}},
      {good.substr(0, good.size() / 2), {"damaged"}},
      {replaced("\"format\": 2", "\"format\": 3"), {"format 3", "up to 2"}},
      {replaced("\"format\": 2", "\"format\": \"1\""), {"\"format\"", "whole number"}},
      {replaced("\"format\": 2", "\"format\": -1"), {"\"format\"", "0 or more"}},
      {replaced("\"format\": 2", "\"format\": 1.5"), {"\"format\""}},
      {replaced("\"batch_id\"", "\"batch_ix\""), {"\"batch_id\"", "no key"}},
      {replaced("\"cluster\": \"multiprocess\"", "\"cluster\": 7"), {"\"cluster\"", "a text"}},
      {replaced("\"hex\": \"", "\"hex\": \"zz"), {"a text"}},
      {replaced("\"cores\": 4", "\"cores\": 4294967296"), {"\"cores\"", "smaller"}},
      {replaced("\"default_resources\": {", "\"default_resources\": 1, \"x\": {"), {"\"default_resources\"", "object"}},
      {replaced("\"pass_through\": [", "\"pass_through\": [1, "), {"\"pass_through\"", "list"}},
  };
  for (const auto& [text, words] : cases) {
    INFO(text);
    put_file(path, text);
    auto opened = BatchDirectory::open(made->path());
    REQUIRE_FALSE(opened);
    const bool is_newer = text.find("\"format\": 3") != std::string::npos;
    CHECK(opened.error().code == (is_newer ? ErrorCode::fix_request : ErrorCode::gave_up));
    CHECK(mentions(opened.error().message, {path}));
    for (const std::string& word : words) CHECK(mentions(opened.error().message, {word}));
    CHECK_FALSE(mentions(opened.error().message, {"exception"}));
  }
  // One that cannot be looked at is not one that is not there.
  std::filesystem::remove(path);
  std::filesystem::create_symlink(path, path);
  auto loop = BatchDirectory::open(made->path());
  REQUIRE_FALSE(loop);
  CHECK(mentions(loop.error().message, {path, "ELOOP"}));
  std::filesystem::remove(path);
  // Whatever one byte becomes: an error or a batch, never a crash.
  for (std::size_t at = 0; at < good.size(); at += 2) {
    for (char c : {'\0', '"', '}', '\xFF', '9'}) {
      std::string text = good;
      text[at] = c;
      put_file(path, text);
      auto opened = BatchDirectory::open(made->path());
      if (!opened) REQUIRE(mentions(opened.error().message, {path}));
    }
  }
  put_file(path, replaced("\"format\": 2", "\"a later key\": [1, {}], \"format\": 2"));
  CHECK(BatchDirectory::open(made->path()));
}

TEST_CASE("epochs rise, and the holder is known by all") {
  TempDirectory directory;
  auto batch = BatchDirectory::create(directory / "batch", {});
  REQUIRE(batch);
  auto nobody = batch->current_driver();
  REQUIRE(nobody);
  CHECK_FALSE(*nobody);
  auto first = batch->claim();
  REQUIRE(first);
  CHECK(first->epoch == 1);
  CHECK(first->pid == ::getpid());
  CHECK(first->host == host_name());
  CHECK(first->start_ticks == own_identity().start_ticks);
  auto holder = batch->current_driver();
  REQUIRE(holder);
  REQUIRE(*holder);
  CHECK((*holder)->epoch == 1);
  CHECK((*holder)->pid == ::getpid());
  CHECK((*holder)->since_ns == first->since_ns);

  // This very process lives and has not said that it left.
  auto second = batch->claim(true);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::fix_request);
  CHECK(mentions(second.error().message,
                 {batch->path(), "process " + std::to_string(::getpid()), host_name(), "since 20", "kill"}));
  auto records = RecordWriter::open(batch->record_path("driver-1"));
  REQUIRE(records);
  REQUIRE(records->append(OpenedRecord{}));
  CHECK_FALSE(batch->claim());
  REQUIRE(records->append(EndedRecord{"stopped", 1}));
  second = batch->claim();
  REQUIRE(second);
  CHECK(second->epoch == 2);
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(batch->path() + "/epochs")) ++entries;
  CHECK(entries == 2);  // no temporary file is left
}

TEST_CASE("a dead holder is followed, one on another host only when told so") {
  TempDirectory directory;
  auto batch = BatchDirectory::create(directory / "batch", {});
  REQUIRE(batch);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(batch->claim() ? 0 : 1);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 0);
  auto second = batch->claim();
  REQUIRE(second);
  CHECK(second->epoch == 2);

  const ProcessIdentity self = own_identity();
  put_epoch(*batch, 3, host_name(), boot_id(), self.pid, self.start_ticks + 1);  // the pid was reused
  CHECK(batch->claim().value().epoch == 4);
  put_epoch(*batch, 5, host_name(), "an earlier boot", self.pid, self.start_ticks);
  CHECK(batch->claim().value().epoch == 6);
  put_epoch(*batch, 10, "elsewhere", "another boot", 1234, 99);
  auto refused = batch->claim();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::fix_request);
  CHECK(mentions(refused.error().message, {"process 1234 on host elsewhere", "2023-11-14 22:13:20 UTC", "take"}));
  CHECK(batch->claim(true).value().epoch == 11);
  // A container of this machine: same boot, other host name.
  put_epoch(*batch, 12, "container", boot_id(), self.pid, self.start_ticks);
  CHECK_FALSE(batch->claim());
}

TEST_CASE("garbage among the epochs is named, claims in the making are not in the way") {
  TempDirectory directory;
  auto batch = BatchDirectory::create(directory / "batch", {});
  REQUIRE(batch);
  put_file(batch->path() + "/epochs/.claim-abcdef", "");
  REQUIRE(batch->claim());
  for (const char* name : {"2x", "notes.txt", "0", "01", "99999999999999999999"}) {
    const std::string path = batch->path() + "/epochs/" + name;
    put_file(path, "{}");
    auto driver = batch->current_driver();
    REQUIRE_FALSE(driver);
    CHECK(mentions(driver.error().message, {path}));
    CHECK_FALSE(batch->claim());
    REQUIRE(::unlink(path.c_str()) == 0);
  }
  for (const char* text :
       {"", "rubbish", "{\"epoch\": 7}",
        "{\"epoch\": 6, \"host\": \"h\", \"boot_id\": \"b\", \"pid\": 1, \"start_ticks\": 2, \"since_ns\": 3}"}) {
    const std::string path = batch->path() + "/epochs/7";
    put_file(path, text);
    auto driver = batch->current_driver();
    REQUIRE_FALSE(driver);
    CHECK(mentions(driver.error().message, {path}));
    CHECK_FALSE(batch->claim(true));
  }
}

TEST_CASE("of many that claim at once exactly one gets each epoch") {
  TempDirectory directory;
  auto batch = BatchDirectory::create(directory / "batch", {});
  REQUIRE(batch);
  constexpr int kClaimers = 16;
  // The children wait for the end of a pipe, claim at once, and stay alive until the parent has counted.
  int start[2];
  int hold[2];
  int answers[2];
  REQUIRE(::pipe(start) == 0);
  REQUIRE(::pipe(hold) == 0);
  REQUIRE(::pipe(answers) == 0);
  std::vector<pid_t> children;
  for (int i = 0; i < kClaimers; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(start[1]);
      ::close(hold[1]);
      char byte = 0;
      if (::read(start[0], &byte, 1) != 0) ::_exit(9);
      auto claimed = batch->claim();
      const char answer = claimed ? 'y' : claimed.error().code == ErrorCode::retry_later ? 'r' : 'n';
      if (::write(answers[1], &answer, 1) != 1) ::_exit(9);
      if (::read(hold[0], &byte, 1) != 0) ::_exit(9);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (int fd : {start[0], start[1], hold[0], answers[1]}) ::close(fd);
  std::string said;
  for (int i = 0; i < kClaimers; ++i) {
    char byte = 0;
    REQUIRE(::read(answers[0], &byte, 1) == 1);
    said += byte;
  }
  ::close(hold[1]);
  ::close(answers[0]);
  for (pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  CHECK(std::count(said.begin(), said.end(), 'y') == 1);
  auto holder = batch->current_driver();
  REQUIRE(holder);
  CHECK((*holder)->epoch == 1);
}
