// SPDX-License-Identifier: MIT
// The half of cluster_config_file.h that finds files.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "engine/cluster_config_file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

// Sets (nothing: removes) a variable for one test.
class Environment {
 public:
  Environment(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { set(old_); }

 private:
  void set(const std::optional<std::string>& value) const {
    value ? ::setenv(name_, value->c_str(), 1) : ::unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> old_;
};

std::vector<std::pair<std::string, std::string>> pairs(const std::vector<ClusterFile>& files) {
  std::vector<std::pair<std::string, std::string>> list;
  for (const ClusterFile& file : files) list.emplace_back(file.name, file.path);
  return list;
}

}  // namespace

TEST_CASE("cluster directories: the variable's, then the user's, then the built-in one") {
  const Environment path("ALLOT_CLUSTER_PATH", ":/a::/b:");
  const Environment home("HOME", "/home/me");
  {
    const Environment config("XDG_CONFIG_HOME", "/conf");
    CHECK(cluster_config_directories("/built/in") ==
          std::vector<std::string>{"/a", "/b", "/conf/allot/clusters", "/built/in"});
    CHECK(cluster_config_directories("") == std::vector<std::string>{"/a", "/b", "/conf/allot/clusters"});
  }
  for (const auto& value :
       {std::optional<std::string>(), std::optional<std::string>(""), std::optional<std::string>("relative")}) {
    const Environment config("XDG_CONFIG_HOME", value);
    CHECK(cluster_config_directories("/built/in") ==
          std::vector<std::string>{"/a", "/b", "/home/me/.config/allot/clusters", "/built/in"});
  }
}

TEST_CASE("cluster directories: without home and variable only the built-in one") {
  const Environment path("ALLOT_CLUSTER_PATH", std::nullopt);
  const Environment config("XDG_CONFIG_HOME", std::nullopt);
  const Environment home("HOME", std::nullopt);
  CHECK(cluster_config_directories("/built/in") == std::vector<std::string>{"/built/in"});
}

TEST_CASE("clusters: the user's go before, and hide, those of the same name behind") {
  const test::TempDirectory user;
  const test::TempDirectory built_in;
  for (const char* name : {"mine.toml", "multiprocess.toml", ".hidden.toml", "notes.txt", ".toml", "x.toml~"})
    std::ofstream(user / name) << "plugin = 'x'\n";
  for (const char* name : {"sequential.toml", "multiprocess.toml"}) std::ofstream(built_in / name) << "plugin = 'x'\n";
  fs::create_directory(user / "directory.toml");
  fs::create_symlink(built_in / "sequential.toml", user / "linked.toml");
  fs::create_symlink(user / "directory.toml", user / "linked_directory.toml");
  fs::create_symlink(user / "nowhere", user / "broken.toml");

  CHECK(pairs(find_cluster_configs({user.path(), "/nonexistent/directory", built_in.path()})) ==
        std::vector<std::pair<std::string, std::string>>{{"broken", user / "broken.toml"},
                                                         {"linked", user / "linked.toml"},
                                                         {"mine", user / "mine.toml"},
                                                         {"multiprocess", user / "multiprocess.toml"},
                                                         {"sequential", built_in / "sequential.toml"}});
  CHECK(find_cluster_configs({}).empty());
}

TEST_CASE("one cluster by name or by path") {
  const test::TempDirectory temp;
  std::ofstream(temp / "multiprocess.toml") << "plugin = 'x'\n";
  std::ofstream(temp / "sequential.toml") << "plugin = 'x'\n";

  const auto found = find_cluster_config({temp.path()}, "sequential");
  REQUIRE(found);
  CHECK(found->name == "sequential");
  CHECK(found->path == temp / "sequential.toml");

  const auto by_path = find_cluster_config({}, "./some/where/special.toml");
  REQUIRE(by_path);
  CHECK(by_path->name == "special");
  CHECK(by_path->path == "./some/where/special.toml");

  const auto misspelt = find_cluster_config({temp.path(), "/nonexistent"}, "multiproces");
  REQUIRE_FALSE(misspelt);
  CHECK(misspelt.error().code == ErrorCode::fix_request);
  CHECK(
      misspelt.error().message ==
      "there is no cluster \"multiproces\"; did you mean multiprocess? there are: multiprocess, sequential; looked for "
      "multiproces.toml in: " +
          temp.path() + ", /nonexistent. Give the name of one of these, or the path of a file (with a '/')");

  const auto nowhere = find_cluster_config({}, "x");
  REQUIRE_FALSE(nowhere);
  CHECK_THAT(nowhere.error().message, ContainsSubstring("no cluster \"x\"; looked for x.toml in: no directory"));
}
