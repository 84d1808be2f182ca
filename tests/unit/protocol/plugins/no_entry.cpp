// SPDX-License-Identifier: MIT
// A library that is no plugin.
extern "C" __attribute__((visibility("default"))) int allot_test_answer() {
  return 42;
}
