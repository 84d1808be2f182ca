// SPDX-License-Identifier: MIT
#include "engine/batch_removal.h"

#include <filesystem>
#include <fstream>

#include "process/identity.h"
#include "tests/unit/ledger/sample_batch.h"

namespace allot::test {

namespace {

namespace fs = std::filesystem;

// A batch that ran on this host and was left in order.
class EndedBatch : public SampleBatch {
 public:
  explicit EndedBatch(bool has_left = true) : SampleBatch(3) {
    REQUIRE(batch().claim());
    opened("node1-0");
    if (has_left) add("driver-1", EndedRecord{"all tasks ended", 1});
    write("environment");
    write("output/node1-0.out");
    write("output/node1-0.err");
    write("worker.log");
    fs::create_directory(path("submissions"));
    for (const char* name : {"submissions/1", "submissions/1.fence", "submissions/1.stop"}) write(name);
  }
  void write(const std::string& name) const { std::ofstream(path(name)) << "x"; }
};

bool is_there(const std::string& path) {
  return fs::symlink_status(path).type() != fs::file_type::not_found;
}

}  // namespace

TEST_CASE("a removal that is cut short is finished by another one and never leaves a batch behind") {
  std::size_t changes = 0;
  {
    const EndedBatch whole;
    REQUIRE(remove_batch(whole.batch().path(), false, [&changes] { return ++changes > 0; }));
    CHECK_FALSE(is_there(whole.batch().path()));
  }
  REQUIRE(changes > 12);
  for (std::size_t stop = 0; stop < changes; ++stop) {
    INFO("stopped before change " << stop);
    const EndedBatch sample;
    const std::string path = sample.batch().path();
    std::size_t left = stop;
    REQUIRE(remove_batch(path, false, [&left] { return left-- > 0; }));
    REQUIRE(is_there(path));
    if (stop == 0) {
      CHECK(BatchDirectory::open(path));
      CHECK(is_there(path + "/records/driver-1"));
    } else {
      CHECK(BatchDirectory::open(path).has_value() == (stop == 1));
      CHECK_FALSE(sample.batch().current_driver());
      CHECK_FALSE(sample.batch().claim(true));  // by whoever had it open
    }
    REQUIRE(remove_batch(path, false));
    CHECK_FALSE(is_there(path));
  }
}

TEST_CASE("a removal that is only tried changes nothing and counts what a real one removes") {
  const EndedBatch sample;
  const std::string path = sample.batch().path();
  const auto tried = remove_batch(path, true);
  REQUIRE(tried);
  CHECK(BatchDirectory::open(path));
  CHECK(is_there(path + "/epochs/1"));
  const auto removed = remove_batch(path, false);
  REQUIRE(removed);
  CHECK(tried->files == 13);
  CHECK(removed->files == tried->files + 1);  // the claim of who removes it
  CHECK(tried->bytes > 0);
}

TEST_CASE("what is no file of the batch is told and left alone") {
  const EndedBatch sample;
  const std::string path = sample.batch().path();
  fs::create_directory(path + "/mine");
  for (const char* name : {"mine/kept", "notes", "output/plot.png", "records/readme"}) sample.write(name);
  const std::string outside = path + "-outside";
  std::ofstream(outside) << "x";
  fs::create_symlink(outside, path + "/records/node1-7");
  fs::remove_all(path + "/epochs");
  fs::create_directory(path + "-epochs");
  std::ofstream(path + "-epochs/1") << "x";
  fs::create_directory_symlink(path + "-epochs", path + "/epochs");
  // Its claims cannot be trusted, so it is as if the removal had begun.
  fs::rename(path + "/batch.json", path + "/removing.json");
  const auto removal = remove_batch(path, false);
  REQUIRE(removal);
  auto foreign = removal->foreign;
  std::sort(foreign.begin(), foreign.end());
  CHECK(foreign == std::vector<std::string>{path + "/epochs", path + "/mine", path + "/notes",
                                            path + "/output/plot.png", path + "/records/node1-7",
                                            path + "/records/readme"});
  for (const char* name : {"mine/kept", "notes", "output/plot.png", "records/readme", "records/node1-7"}) {
    CHECK(is_there(path + "/" + name));
  }
  CHECK(is_there(outside));
  CHECK(is_there(path + "-epochs/1"));
  for (const char* name : {"removing.json", "tasks.data", "records/driver-1", "output/node1-0.out"}) {
    CHECK_FALSE(is_there(path + "/" + name));
  }
  CHECK_FALSE(remove_batch(path, false));  // it is no batch any more
}

TEST_CASE("what is no batch is not removed") {
  const TempDirectory root;
  fs::create_directory(root / "home");
  std::ofstream(root / "home/file") << "x";
  CHECK(remove_batch(root / "home", false).error().message.find("is no batch") != std::string::npos);
  CHECK(is_there(root / "home/file"));
  CHECK_FALSE(remove_batch(root / "home/file", false));
  CHECK_FALSE(remove_batch(root / "nothing", false));
  CHECK_FALSE(remove_batch("", false));
  const EndedBatch sample;
  fs::create_directory_symlink(sample.batch().path(), root / "link");
  CHECK(remove_batch(root / "link", false).error().message.find("is a symbolic link") != std::string::npos);
  CHECK(remove_batch(root / "link/", false).error().message.find("is a symbolic link") != std::string::npos);
  CHECK(BatchDirectory::open(sample.batch().path()));
}

TEST_CASE("a batch that is in use is not removed, and it is said by whom") {
  const EndedBatch driven(false);
  const auto refused = remove_batch(driven.batch().path(), false);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("is driven by process " + std::to_string(own_identity().pid)) !=
        std::string::npos);
  CHECK(BatchDirectory::open(driven.batch().path()));

  EndedBatch guarded;
  OpenedRecord session;
  session.host = host_name();
  session.boot_id = boot_id();
  session.pid = own_identity().pid;
  session.start_ticks = own_identity().start_ticks;
  session.worker_pid = 1;
  guarded.add("node1-1", session);
  const auto alive = remove_batch(guarded.batch().path(), true);
  REQUIRE_FALSE(alive);
  CHECK(alive.error().message.find("node1-1: its guard (pid " + std::to_string(session.pid) + ") lives") !=
        std::string::npos);

  const SampleBatch fresh(1);
  const auto making = remove_batch(fresh.batch().path(), false);
  REQUIRE_FALSE(making);
  CHECK(making.error().message.find("may be in the making") != std::string::npos);
}

}  // namespace allot::test
