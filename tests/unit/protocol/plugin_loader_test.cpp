// SPDX-License-Identifier: MIT
// The loader against real shared objects; plugins/ has their sources.
#include "protocol/plugin_loader.h"

#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

const std::string kPlugins = ALLOT_TEST_PLUGIN_DIR;

std::string library(const std::string& name) {
  return "liballot_" + name + ".so";
}

// A directory that the loader trusts, with copies of the libraries named.
class PluginDirectory {
 public:
  explicit PluginDirectory(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      fs::copy_file(kPlugins + "/" + library(name), path(name));
      REQUIRE(::chmod(path(name).c_str(), 0755) == 0);
    }
  }
  std::string path(const std::string& name) const { return temp_ / library(name); }
  const std::string& directory() const { return temp_.path(); }

 private:
  test::TempDirectory temp_;
};

// Everything a message owes: the plugin, the file, what was found, what was expected, what to do.
void check_failure(const LoadedPlugin& loaded, PluginState state, const std::string& path,
                   const std::vector<std::string>& parts) {
  CAPTURE(loaded.message);
  CHECK(to_string(loaded.state) == to_string(state));
  CHECK(loaded.path == path);
  CHECK(loaded.plugin == nullptr);
  CHECK_THAT(loaded.message, ContainsSubstring("plugin \"" + loaded.name + "\": "));
  CHECK_THAT(loaded.message, ContainsSubstring("expected") || ContainsSubstring("install", Catch::CaseSensitive::No));
  for (const std::string& part : parts) CHECK_THAT(loaded.message, ContainsSubstring(part));
}

// Sets a variable for one test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

}  // namespace

TEST_CASE("a good plugin is loaded once and works") {
  PluginDirectory plugins({"good"});
  PluginLoader loader({plugins.directory()});
  const LoadedPlugin loaded = loader.load("good");
  CAPTURE(loaded.message);
  REQUIRE(loaded.state == PluginState::loaded);
  REQUIRE(loaded.plugin != nullptr);
  CHECK(loaded.name == "good");
  CHECK(loaded.path == plugins.path("good"));
  CHECK(loaded.message.empty());
  CHECK(loaded.plugin->name() == std::string("good"));
  CHECK(loader.load("good").plugin == loaded.plugin);
  CHECK(loader.load_all().at(0).plugin == loaded.plugin);

  // Values of the protocol cross the boundary in both directions.
  ClusterConfig config;
  config.queues = {{0, "from_host", {{"cores", {1, 4}}}, {}}};
  CHECK(loaded.plugin->probe(config).text == "from_host");
  CHECK(loaded.plugin->parameter_specs().at(0).name == "slots");
  const auto queues = loaded.plugin->create_queues(config);
  REQUIRE(queues);
  CHECK(queues->at(0)->parameters().at("cores") == ResourceLimit{1, 4});
  const auto distributor = loaded.plugin->create_distributor(config);
  REQUIRE_FALSE(distributor);
  CHECK(distributor.error().code == ErrorCode::unsupported);
}

TEST_CASE("absent: the directories searched are listed") {
  PluginDirectory first({});
  PluginDirectory second({"good"});
  const LoadedPlugin loaded = PluginLoader({first.directory(), second.directory(), "/nonexistent/dir"}).load("gone");
  check_failure(loaded, PluginState::absent, "",
                {library("gone"), first.directory(), second.directory(), "/nonexistent/dir", "ALLOT_PLUGIN_PATH"});
  check_failure(PluginLoader({}).load("good"), PluginState::absent, "", {"the search path is empty"});
}

TEST_CASE("absent: a name that would lead elsewhere is no name") {
  PluginDirectory plugins({"good"});
  for (const std::string name : {"", "../good", "x/../good", "good.so", "a b"}) {
    CAPTURE(name);
    check_failure(PluginLoader({plugins.directory()}).load(name), PluginState::absent, "", {"no plugin's name"});
  }
}

TEST_CASE("wrong ABI number: found, expected, what to do, and nothing behind the number is read") {
  PluginDirectory plugins({"wrongabi"});
  check_failure(PluginLoader({plugins.directory()}).load("wrongabi"), PluginState::wrong_abi, plugins.path("wrongabi"),
                {plugins.path("wrongabi"), "its plugin ABI is " + std::to_string(kPluginAbi + 1),
                 "expected " + std::to_string(kPluginAbi), "Build the plugin against this allot"});
}

TEST_CASE("wrong toolchain: both tags are shown, and create is not called") {
  PluginDirectory plugins({"wrongtoolchain"});
  check_failure(
      PluginLoader({plugins.directory()}).load("wrongtoolchain"), PluginState::wrong_abi,
      plugins.path("wrongtoolchain"),
      {plugins.path("wrongtoolchain"), "\"gnu-abi0000-libother1\"", std::string("\"") + toolchain_tag() + "\""});
}

TEST_CASE("no entry symbol: some other library") {
  PluginDirectory plugins({"noentry"});
  check_failure(PluginLoader({plugins.directory()}).load("noentry"), PluginState::no_entry, plugins.path("noentry"),
                {plugins.path("noentry"), kPluginSymbol, "some other library"});
}

TEST_CASE("unloadable: a library that it needs is missing, and the message names it") {
  PluginDirectory plugins({"missinglibrary"});
  check_failure(
      PluginLoader({plugins.directory()}).load("missinglibrary"), PluginState::unloadable,
      plugins.path("missinglibrary"),
      {plugins.path("missinglibrary"), "liballot_test_vanished.so", "No such file", "Install what is missing"});
}

TEST_CASE("unloadable: not a shared object at all") {
  PluginDirectory plugins({});
  for (const std::string& bytes : std::vector<std::string>{"", "no library\n", std::string(100'000, 'x'),
                                                           std::string("\x7f"
                                                                       "ELF") +
                                                               std::string(200, '\xff')}) {
    std::ofstream(plugins.path("text")) << bytes;
    REQUIRE(::chmod(plugins.path("text").c_str(), 0755) == 0);
    check_failure(PluginLoader({plugins.directory()}).load("text"), PluginState::unloadable, plugins.path("text"),
                  {plugins.path("text"), "the dynamic linker refuses it"});
  }
}

TEST_CASE("unloadable: a library cut short is refused, not mapped") {
  const auto size = fs::file_size(kPlugins + "/" + library("good"));
  for (const auto length : {size - 1, size / 2, size / 8, std::uintmax_t{4096}, std::uintmax_t{80}}) {
    PluginDirectory plugins({"good"});
    fs::resize_file(plugins.path("good"), length);
    CAPTURE(length);
    check_failure(PluginLoader({plugins.directory()}).load("good"), PluginState::unloadable, plugins.path("good"),
                  {plugins.path("good"), "the file is cut short", std::to_string(length), "Install the plugin again"});
  }
}

TEST_CASE("unloadable: cut short behind a header that knows no sections") {
  PluginDirectory plugins({"good"});
  ElfW(Ehdr) header;
  std::fstream file(plugins.path("good"), std::ios::binary | std::ios::in | std::ios::out);
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  header.e_shoff = 0;
  header.e_shnum = 0;
  file.seekp(0);
  file.write(reinterpret_cast<const char*>(&header), sizeof header);
  file.close();
  REQUIRE(file);
  for (const std::uintmax_t length : {4096, 80}) {
    fs::resize_file(plugins.path("good"), length);
    check_failure(PluginLoader({plugins.directory()}).load("good"), PluginState::unloadable, plugins.path("good"),
                  {"the file is cut short", length == 80 ? "table of segments" : "code and data"});
  }
}

TEST_CASE("unloadable: a link to nowhere, a directory") {
  PluginDirectory plugins({});
  fs::create_symlink("nowhere.so", plugins.path("link"));
  check_failure(PluginLoader({plugins.directory()}).load("link"), PluginState::unloadable, plugins.path("link"),
                {plugins.path("link"), "No such file"});
  fs::create_directory(plugins.path("directory"));
  REQUIRE(::chmod(plugins.path("directory").c_str(), 0755) == 0);
  check_failure(PluginLoader({plugins.directory()}).load("directory"), PluginState::unloadable,
                plugins.path("directory"), {"is no regular file"});
}

TEST_CASE("unloadable: what its create() makes is no plugin of that name") {
  PluginDirectory plugins({"throwing", "empty", "good"});
  fs::copy_file(plugins.path("good"), plugins.path("renamed"));
  PluginLoader loader({plugins.directory()});
  check_failure(loader.load("throwing"), PluginState::unloadable, plugins.path("throwing"),
                {"create() failed", "thrown by a plugin"});
  check_failure(loader.load("empty"), PluginState::unloadable, plugins.path("empty"), {"create() gave nothing"});
  check_failure(loader.load("renamed"), PluginState::unloadable, plugins.path("renamed"),
                {"calls itself \"good\"", "expected \"renamed\""});
}

TEST_CASE("unsafe path: a directory or file that everyone can write") {
  PluginDirectory plugins({"good"});
  REQUIRE(::chmod(plugins.directory().c_str(), 0777) == 0);
  check_failure(PluginLoader({plugins.directory()}).load("good"), PluginState::unsafe_path, plugins.path("good"),
                {plugins.directory() + " is writable by everyone (mode 0777)", "chmod go-w"});
  REQUIRE(::chmod(plugins.directory().c_str(), 0700) == 0);
  REQUIRE(::chmod(plugins.path("good").c_str(), 0757) == 0);
  check_failure(PluginLoader({plugins.directory()}).load("good"), PluginState::unsafe_path, plugins.path("good"),
                {plugins.path("good") + " is writable by everyone (mode 0757)"});
  REQUIRE(::chmod(plugins.path("good").c_str(), 0755) == 0);
  CHECK(PluginLoader({plugins.directory()}).load("good").state == PluginState::loaded);
}

TEST_CASE("unsafe path: every directory above counts but for sticky ones, and the owner of each") {
  PluginDirectory top({});
  const std::string below = top.directory() + "/below";
  fs::create_directory(below);
  REQUIRE(::chmod(below.c_str(), 0755) == 0);
  fs::copy_file(PluginDirectory({"good"}).path("good"), below + "/liballot_good.so");
  CHECK(PluginLoader({below}).load("good").state == PluginState::loaded);
  REQUIRE(::chmod(top.directory().c_str(), 0777) == 0);
  check_failure(PluginLoader({below}).load("good"), PluginState::unsafe_path, below + "/liballot_good.so",
                {top.directory() + " is writable by everyone (mode 0777)"});
  REQUIRE(::chmod(top.directory().c_str(), 01777) == 0);
  CHECK(PluginLoader({below}).load("good").state == PluginState::loaded);
  REQUIRE(::chmod(below.c_str(), 01777) == 0);  // sticky, but others may add files
  check_failure(PluginLoader({below}).load("good"), PluginState::unsafe_path, below + "/liballot_good.so",
                {below + " is writable by everyone (mode 1777)"});
  REQUIRE(::chmod(below.c_str(), 0755) == 0);
  if (::geteuid() != 0) return;
  REQUIRE(::chown(top.directory().c_str(), 12345, 12345) == 0);
  const auto loaded = PluginLoader({below}).load("good");
  REQUIRE(::chown(top.directory().c_str(), 0, 0) == 0);
  check_failure(loaded, PluginState::unsafe_path, below + "/liballot_good.so",
                {top.directory() + " belongs to another user (uid 12345)"});
}

TEST_CASE("unsafe path: a symbolic link is judged where it lies and where it leads") {
  PluginDirectory real({"good"});
  PluginDirectory links({});
  fs::create_symlink(real.path("good"), links.path("good"));
  CHECK(PluginLoader({links.directory()}).load("good").state == PluginState::loaded);

  REQUIRE(::chmod(links.directory().c_str(), 0777) == 0);
  check_failure(PluginLoader({links.directory()}).load("good"), PluginState::unsafe_path, links.path("good"),
                {links.directory() + " is writable by everyone"});
  REQUIRE(::chmod(links.directory().c_str(), 0700) == 0);
  REQUIRE(::chmod(real.directory().c_str(), 0777) == 0);
  check_failure(PluginLoader({links.directory()}).load("good"), PluginState::unsafe_path, links.path("good"),
                {real.directory() + " is writable by everyone"});
}

TEST_CASE("a failure is forgotten when the file has been mended") {
  PluginDirectory plugins({"good"});
  PluginLoader loader({plugins.directory()});
  REQUIRE(::chmod(plugins.path("good").c_str(), 0777) == 0);
  CHECK(loader.load("good").state == PluginState::unsafe_path);
  REQUIRE(::chmod(plugins.path("good").c_str(), 0755) == 0);
  CHECK(loader.load("good").state == PluginState::loaded);
}

TEST_CASE("the first directory that has the file decides, even if it is broken there") {
  PluginDirectory broken({});
  PluginDirectory whole({"good"});
  std::ofstream(broken.path("good")) << "no library";
  REQUIRE(::chmod(broken.path("good").c_str(), 0755) == 0);
  CHECK(PluginLoader({broken.directory(), whole.directory()}).load("good").state == PluginState::unloadable);
  CHECK(PluginLoader({whole.directory(), broken.directory()}).load("good").state == PluginState::loaded);
}

TEST_CASE("one broken plugin does not stop the others") {
  PluginDirectory plugins({"good", "second", "wrongabi", "wrongtoolchain", "noentry", "missinglibrary", "throwing"});
  std::ofstream(plugins.path("text")) << "no library";
  REQUIRE(::chmod(plugins.path("text").c_str(), 0755) == 0);
  std::ofstream(plugins.directory() + "/README") << "not a plugin";
  std::ofstream(plugins.directory() + "/liballot_.so") << "no name";
  fs::copy_file(plugins.path("good"), plugins.path("zzz_unsafe"));
  REQUIRE(::chmod(plugins.path("zzz_unsafe").c_str(), 0777) == 0);

  std::vector<std::pair<std::string, std::string>> states;
  for (const LoadedPlugin& loaded : PluginLoader({"/nonexistent/dir", plugins.directory()}).load_all())
    states.emplace_back(loaded.name, to_string(loaded.state));
  CHECK(states == std::vector<std::pair<std::string, std::string>>{{"good", "loaded"},
                                                                   {"missinglibrary", "unloadable"},
                                                                   {"noentry", "no_entry"},
                                                                   {"second", "loaded"},
                                                                   {"text", "unloadable"},
                                                                   {"throwing", "unloadable"},
                                                                   {"wrongabi", "wrong_abi"},
                                                                   {"wrongtoolchain", "wrong_abi"},
                                                                   {"zzz_unsafe", "unsafe_path"}});
}

TEST_CASE("the search path: the variable's directories first, empty ones left out") {
  {
    const Environment variable("ALLOT_PLUGIN_PATH", ":/first::/second:");
    CHECK(PluginLoader::search_path({"/built/in"}) == std::vector<std::string>{"/first", "/second", "/built/in"});
  }
  const Environment variable("ALLOT_PLUGIN_PATH", "");
  CHECK(PluginLoader::search_path({"/built/in"}) == std::vector<std::string>{"/built/in"});
}

TEST_CASE("the tag of the toolchain names compiler ABI and standard library") {
  CHECK_THAT(toolchain_tag(), Catch::Matchers::StartsWith("gnu-abi") && ContainsSubstring("-lib"));
  CHECK_THAT(toolchain_tag(), !ContainsSubstring("_") && !ContainsSubstring(" "));  // macros that were not expanded
}
