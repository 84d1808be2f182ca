// SPDX-License-Identifier: MIT
// A directory of a test's own, removed with all that is in it.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace allot::test {

/// Made under $TMPDIR (else /tmp) with a unique name, mode 0700. Throws std::runtime_error if it cannot be made.
class TempDirectory {
 public:
  explicit TempDirectory(const std::string& parent = default_parent()) {
    std::string name = parent + "/allot-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error(name + ": " + std::strerror(errno));
    path_ = name;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  /// The path of a name in it.
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  static std::string default_parent() {
    const char* given = std::getenv("TMPDIR");
    return given != nullptr && given[0] == '/' ? given : "/tmp";
  }
  std::string path_;
};

}  // namespace allot::test
