// SPDX-License-Identifier: MIT
#include "tests/support/catch_session.h"

int main(int argc, char** argv) {
  return allot::test::run_catch(argc, argv);
}
