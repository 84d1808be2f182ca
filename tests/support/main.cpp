// SPDX-License-Identifier: MIT
#ifndef ALLOT_CATCH2_V3
#define CATCH_CONFIG_RUNNER
// g++ 12 with -fsanitize=address takes a std::function inside std::regex, which Catch2 2.13 uses, for uninitialized.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#endif
#include "tests/support/catch.h"

int main(int argc, char** argv) {
  return Catch::Session().run(argc, argv);
}
