// SPDX-License-Identifier: MIT
// Prints its arguments, one per line as LENGTH:BYTES, so that no two argument vectors look the same.
//   print_args --env …      its environment as well, in order, without the names that allot sets for a task
//   print_args --status N   exits with status N
//   print_args --signal N   ends by signal N
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

void print_text(char kind, const char* text) {
  std::printf("%c%zu:%s\n", kind, std::strlen(text), text);
}

bool is_set_by_allot(const char* entry) {
  return std::strncmp(entry, "ALLOT_", 6) == 0 || std::strncmp(entry, "JOB_ID=", 7) == 0 ||
         std::strncmp(entry, "ARRAY_STEP_ID=", 14) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) print_text('a', argv[i]);
  if (argc > 1 && std::strcmp(argv[1], "--env") == 0) {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      if (!is_set_by_allot(*entry)) print_text('e', *entry);
    }
  }
  std::fflush(stdout);
  if (argc > 2 && std::strcmp(argv[1], "--status") == 0) return std::atoi(argv[2]);
  if (argc > 2 && std::strcmp(argv[1], "--signal") == 0) {
    ::signal(std::atoi(argv[2]), SIG_DFL);  // a sanitizer would handle it
    ::raise(std::atoi(argv[2]));
  }
  return 0;
}
