// SPDX-License-Identifier: MIT
// A directory of a test's own, removed with all that is in it.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
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

/// Replaces what a file holds, without syncing it. Throws std::runtime_error if it cannot be written.
inline void put_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace allot::test
