// SPDX-License-Identifier: MIT
#include "protocol/path_safety.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr uid_t kMe = 1000;
constexpr uid_t kOther = 1001;
constexpr gid_t kPrivate = 1000;
constexpr gid_t kShared = 2000;

std::string danger(PathRole role, mode_t mode, uid_t owner, gid_t group) {
  return find_danger({role, mode, owner, group}, {0, kMe}, [](gid_t g, uid_t u) { return g == kPrivate && u == kMe; })
      .value_or("");
}

}  // namespace

TEST_CASE("who may own and write what is to be loaded") {
  for (const PathRole role : {PathRole::file, PathRole::directory, PathRole::ancestor}) {
    CAPTURE(static_cast<int>(role));
    CHECK(danger(role, 0755, kMe, kPrivate).empty());
    CHECK(danger(role, 0755, 0, kShared).empty());
    CHECK(danger(role, 0775, kMe, kPrivate).empty());
    CHECK_THAT(danger(role, 0755, kOther, kPrivate), ContainsSubstring("belongs to another user (uid 1001)"));
    CHECK_THAT(danger(role, 0777, kMe, kPrivate), ContainsSubstring("writable by everyone (mode 0777)"));
    CHECK_THAT(danger(role, 0702, kMe, kPrivate), ContainsSubstring("writable by everyone (mode 0702)"));
    CHECK_THAT(danger(role, 0775, kMe, kShared), ContainsSubstring("writable by group 2000 (mode 0775)"));
    CHECK_THAT(danger(role, 0775, 0, kPrivate), ContainsSubstring("writable by group 1000"));
  }
}

TEST_CASE("a sticky directory above is safe, and one that holds the library is not") {
  CHECK(danger(PathRole::ancestor, 01777, 0, 0).empty());
  CHECK_THAT(danger(PathRole::directory, 01777, 0, 0), ContainsSubstring("writable by everyone (mode 1777)"));
  CHECK_THAT(danger(PathRole::ancestor, 01777, kOther, 0), ContainsSubstring("belongs to another user"));
}

TEST_CASE("of a symbolic link only the owner counts") {
  CHECK(danger(PathRole::file, S_IFLNK | 0777, kMe, kShared).empty());
  CHECK_THAT(danger(PathRole::file, S_IFLNK | 0777, kOther, kShared), ContainsSubstring("another user"));
}

TEST_CASE("a path is judged up to what it shares with the program") {
  test::TempDirectory temp;
  const std::string root = std::filesystem::canonical(temp.path());
  std::filesystem::create_directories(root + "/prefix/plugins");
  std::ofstream(root + "/prefix/plugins/file") << "x";
  std::ofstream(root + "/prefix/program") << "x";
  REQUIRE(::chmod((root + "/prefix/plugins/file").c_str(), 0644) == 0);
  REQUIRE(::chmod((root + "/prefix/plugins").c_str(), 0755) == 0);
  REQUIRE(::chmod((root + "/prefix").c_str(), 0777) == 0);

  const std::string file = root + "/prefix/plugins/file";
  CHECK_THAT(find_danger_on_path(file, "").value_or(""),
             ContainsSubstring(root + "/prefix is writable by everyone (mode 0777)"));
  // Who may write into the common prefix can change the program itself: nothing is lost by trusting it.
  CHECK_FALSE(find_danger_on_path(file, root + "/prefix/program").has_value());

  REQUIRE(::chmod((root + "/prefix").c_str(), 0755) == 0);
  CHECK_FALSE(find_danger_on_path(file, "").has_value());
  CHECK_THAT(find_danger_on_path(root + "/prefix/nowhere", "").value_or(""), ContainsSubstring("cannot be examined"));
}
