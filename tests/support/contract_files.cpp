// SPDX-License-Identifier: MIT
#include "tests/support/contract_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>
#include <cerrno>
#include <iterator>
#include <sstream>

#include "process/fd.h"
#include "process/identity.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace fs = boost::filesystem;

void write_text(const std::string& path, std::string_view bytes, unsigned mode) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, static_cast<mode_t>(mode)));
  if (!file || !write_all(file.get(), bytes)) FAIL("writing " << path << ": " << errno_text(errno));
  // The umask of the process must not decide whether a task can run the file.
  if (::fchmod(file.get(), static_cast<mode_t>(mode)) != 0) FAIL("chmod " << path << ": " << errno_text(errno));
}

std::string read_text(const std::string& path) {
  auto text = read_file(path, std::size_t{256} << 20);
  if (!text) FAIL("reading " << path << ": " << text.error().message);
  return std::move(*text);
}

std::vector<std::string> read_lines(const std::string& path) {
  std::istringstream stream(read_text(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator{})) - 1;
}

std::vector<std::string> own_descendants() {
  std::vector<std::string> found;
  for (pid_t pid : descendants_of(::getpid())) {
    auto name = read_file("/proc/" + std::to_string(pid) + "/comm");
    if (name) found.push_back(std::to_string(pid) + " (" + name->substr(0, name->find('\n')) + ")");
  }
  return found;
}

}  // namespace allot::contract
