// SPDX-License-Identifier: MIT
#include "protocol/exit_info.h"

#include <csignal>
#include <set>

#include "tests/support/catch.h"

using namespace allot;

TEST_CASE("every exit class comes back from its name") {
  std::set<std::string_view> names;
  for (int i = 0; i < kExitClassCount; ++i) {
    const auto exit_class = static_cast<ExitClass>(i);
    const std::string_view name = to_string(exit_class);
    CAPTURE(i, name);
    CHECK(names.insert(name).second);
    REQUIRE(exit_class_from_string(name).has_value());
    CHECK(*exit_class_from_string(name) == exit_class);
  }
  CHECK(to_string(ExitClass::done) == "done");
  CHECK(to_string(ExitClass::lost) == "lost");
}

TEST_CASE("a name that no class has is nothing") {
  for (const char* name : {"", "Done", "done ", "unknown_class", "error (3)"}) {
    CAPTURE(name);
    CHECK_FALSE(exit_class_from_string(name).has_value());
  }
}

TEST_CASE("a class number from a newer version has a name and is never done") {
  CHECK(to_string(static_cast<ExitClass>(kExitClassCount)) == "unknown_class");
  CHECK(to_string(static_cast<ExitClass>(255)) == "unknown_class");
}

TEST_CASE("an exit info that nobody filled in is lost") {
  CHECK(ExitInfo{}.exit_class == ExitClass::lost);
  CHECK_FALSE(ExitInfo{}.is_done());
}

TEST_CASE("exit infos are described with their number") {
  CHECK(describe({ExitClass::done, 0, std::nullopt, ""}) == "done");
  CHECK(describe({ExitClass::error, 3, std::nullopt, "text"}) == "error (3)");
  CHECK(describe({ExitClass::error, std::nullopt, std::nullopt, ""}) == "error");
  CHECK(describe({ExitClass::signaled, std::nullopt, SIGSEGV, ""}) == "signaled (11, SIGSEGV)");
  CHECK(describe({ExitClass::signaled, std::nullopt, SIGKILL, ""}) == "signaled (9, SIGKILL)");
  CHECK(describe({ExitClass::signaled, std::nullopt, SIGRTMIN + 2, ""}) ==
        "signaled (" + std::to_string(SIGRTMIN + 2) + ", SIGRTMIN+2)");
  CHECK(describe({ExitClass::signaled, std::nullopt, 120, ""}) == "signaled (120, no known signal)");
  CHECK(describe({ExitClass::timed_out, std::nullopt, SIGKILL, ""}) == "timed_out");
  CHECK(describe({ExitClass::timed_out, 0, std::nullopt, ""}) == "timed_out");
}
