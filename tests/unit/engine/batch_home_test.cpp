// SPDX-License-Identifier: MIT
#include "engine/batch_home.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

namespace {

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    const char* before = std::getenv(name);
    had_ = before != nullptr;
    if (had_) before_ = before;
    if (value == nullptr) {
      ::unsetenv(name);
    } else {
      ::setenv(name, value, 1);
    }
  }
  ~Variable() {
    if (had_) {
      ::setenv(name_, before_.c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string before_;
  bool had_ = false;
};

}  // namespace

TEST_CASE("where batches lie") {
  const Variable home("HOME", "/home/me");
  {
    const Variable state("XDG_STATE_HOME", "/state");
    CHECK(batch_home().value() == "/state/allot/batches");
  }
  {
    const Variable state("XDG_STATE_HOME", "relative");
    CHECK(batch_home().value() == "/home/me/.local/state/allot/batches");
  }
  const Variable state("XDG_STATE_HOME", nullptr);
  CHECK(batch_home().value() == "/home/me/.local/state/allot/batches");
  const Variable no_home("HOME", "");
  REQUIRE_FALSE(batch_home());
  CHECK(batch_home().error().message.find("--batch-dir") != std::string::npos);
}

TEST_CASE("a batch is found by path, by id and by the beginning of its id") {
  const TempDirectory directory;
  const Variable state("XDG_STATE_HOME", directory.path().c_str());
  const std::string home = directory / "allot/batches";
  for (const char* id : {"abc123", "abd456", "xyz"}) std::filesystem::create_directories(home + "/" + id);
  CHECK(find_batch("abc123").value() == home + "/abc123");
  CHECK(find_batch("abd").value() == home + "/abd456");
  CHECK(find_batch("x").value() == home + "/xyz");
  CHECK(find_batch("./anything").value() == "./anything");
  const auto several = find_batch("ab");
  REQUIRE_FALSE(several);
  CHECK(several.error().message.find("abd456, abc123") != std::string::npos);
  const auto none = find_batch("q");
  REQUIRE_FALSE(none);
  CHECK(none.error().message.find("there is no batch \"q\"") == 0);
  CHECK_FALSE(find_batch(""));
}

}  // namespace allot::test
