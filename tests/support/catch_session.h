// SPDX-License-Identifier: MIT
// For the file that holds a test program's main(), and only that one.
#pragma once

#ifndef ALLOT_CATCH2_V3
#define CATCH_CONFIG_RUNNER
#endif
#include "tests/support/catch.h"

namespace allot::test {

/// Runs the tests that the arguments name; returns the number of failed assertions, or an exit status for misuse. A name
/// that matches no test is a failure too, unless `none_is_good`: a test that CTest knows by a name that the program
/// does not would pass otherwise.
inline int run_catch(int argc, char** argv, bool none_is_good = false) {
  Catch::Session session;
#ifdef ALLOT_CATCH2_V3
  session.configData().allowZeroTests = none_is_good;
#else
  if (!none_is_good) session.configData().warnings = Catch::WarnAbout::NoTests;
#endif
  return session.run(argc, argv);
}

}  // namespace allot::test
