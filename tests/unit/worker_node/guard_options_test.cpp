// SPDX-License-Identifier: MIT
#include "tests/support/catch.h"
#include "worker_node/guard.h"

using namespace allot;

TEST_CASE("a guard's options survive the way through its arguments") {
  GuardOptions options;
  options.slot = 3;
  options.writer = "host-17";
  options.batch_directory = "/a b/=c";
  options.cwd = "/";
  options.cores = {1, 30, 200};
  options.shared_fd = 5;
  options.kill_grace_milliseconds = 0;
  options.sample_milliseconds = 123456789012;
  std::vector<std::string> words = options.to_arguments();
  words.insert(words.begin(), "allot-guard");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  auto back = GuardOptions::from_arguments(static_cast<int>(argv.size()), argv.data());
  REQUIRE(back);
  CHECK(back->to_arguments() == options.to_arguments());
  CHECK(back->cores == options.cores);
  CHECK(back->batch_directory == options.batch_directory);
  CHECK_FALSE(GuardOptions::from_arguments(static_cast<int>(argv.size()) - 1, argv.data()));
  std::string wrong = "slut=3";
  argv[1] = wrong.data();
  CHECK_FALSE(GuardOptions::from_arguments(static_cast<int>(argv.size()), argv.data()));
}
