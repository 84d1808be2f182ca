// SPDX-License-Identifier: MIT
// contract_tests --plugin NAME [--defect NAME] [Catch2's arguments]
//
// With a defect the plugin is wrapped in a liar that breaks one rule; only the test that must notice is run, and the
// exit status is 0 exactly if it failed.
#include "tests/support/catch_session.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "protocol/plugin_loader.h"
#include "tests/contract/harness.h"
#include "tests/contract/liar.h"
#include "tests/support/contract_rendezvous.h"
#include "tests/support/temp_directory.h"

namespace {

using namespace allot::contract;

constexpr int kMisuse = 2;

// Takes `--name VALUE` out of the arguments; empty if it is not there.
std::string take_option(std::vector<char*>& arguments, const std::string& name) {
  for (std::size_t i = 1; i + 1 < arguments.size(); ++i) {
    if (arguments[i] != name) continue;
    std::string value = arguments[i + 1];
    arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(i),
                    arguments.begin() + static_cast<std::ptrdiff_t>(i) + 2);
    return value;
  }
  return {};
}

bool load_plugin(const std::string& name, const std::string& defect) {
  const PluginTraits* traits = find_traits(name);
  if (traits == nullptr) {
    std::fprintf(stderr, "contract_tests: plugin \"%s\" has no line in tests/contract/harness.cpp\n", name.c_str());
    return false;
  }
  static allot::PluginLoader loader(allot::PluginLoader::search_path({ALLOT_CONTRACT_PLUGIN_DIR}));
  const auto loaded = loader.load(name);
  if (!loaded.plugin) {
    std::fprintf(stderr, "contract_tests: plugin \"%s\" is %s: %s\n", name.c_str(),
                 std::string(allot::to_string(loaded.state)).c_str(), loaded.message.c_str());
    return false;
  }
  set_harness({*traits, defect.empty() ? loaded.plugin : make_liar(loaded.plugin, defect)});
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  const std::string plugin = take_option(arguments, "--plugin");
  const std::string defect = take_option(arguments, "--defect");
  if (plugin.empty()) return allot::test::run_catch(argc, argv);  // such as --list-tests

  const DefectInfo* info = defect.empty() ? nullptr : find_defect(defect);
  if (!defect.empty() && info == nullptr) {
    std::fprintf(stderr, "contract_tests: no such defect: %s\n", defect.c_str());
    return kMisuse;
  }
  // What a plugin keeps for itself (batches of string commands, sockets, locks) goes where it is removed again.
  const allot::test::TempDirectory state;
  ::setenv("XDG_STATE_HOME", state.path().c_str(), 1);
  ::setenv("XDG_RUNTIME_DIR", state.path().c_str(), 1);
  if (!load_plugin(plugin, defect)) return kMisuse;
  if (info == nullptr) return allot::test::run_catch(static_cast<int>(arguments.size()), arguments.data());

  set_patience(std::chrono::seconds(3));
  std::string expected = info->noticed_by;
  arguments.push_back(expected.data());
  // A test of that name that is not there notices nothing.
  const int failures = allot::test::run_catch(static_cast<int>(arguments.size()), arguments.data(), true);
  std::printf("The defect \"%s\" was %s by \"%s\".\n", defect.c_str(), failures != 0 ? "noticed" : "NOT NOTICED",
              info->noticed_by.c_str());
  return failures != 0 ? 0 : 1;
}
