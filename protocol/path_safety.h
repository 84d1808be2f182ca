// SPDX-License-Identifier: MIT
// Whether another user could change a file before this process executes it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace allot {

/// Where a path element stands relative to the file that is to be trusted.
enum class PathRole {
  file,       ///< the file itself
  directory,  ///< the directory that holds it: who may write there may add files
  ancestor,   ///< a directory above: who may write there may swap what lies below, unless it is sticky (such as /tmp)
};

struct PathFacts {
  PathRole role = PathRole::file;
  mode_t mode = 0;  ///< with the type, as lstat(2) gives it
  uid_t owner = 0;
  gid_t group = 0;
};

/// Decides about one element. Its owner must be one of `trusted`, and nobody else may write to it. A group that
/// `is_private` says has no member but the owner (Linux's user-private groups) counts as the owner. Returns what is
/// wrong ("is writable by everyone (mode 0777)"), nothing if it is safe.
std::optional<std::string> find_danger(const PathFacts& facts, const std::vector<uid_t>& trusted,
                                       const std::function<bool(gid_t group, uid_t owner)>& is_private);

/// The same for this process: trusted are root and the effective user.
std::optional<std::string> find_danger(const PathFacts& facts);

/// Decides about `file` and the directories above it. Trusted are root, the effective user, and whoever owns `program`,
/// this program's own code: they could change that as well. For the same reason directories that hold both are not
/// looked at. Both paths are absolute and, but for the last element of `file`, without symbolic links, as realpath(3)
/// gives them; `program` may be empty. Returns a sentence that names the element at fault, nothing if all are safe.
std::optional<std::string> find_danger_on_path(const std::string& file, const std::string& program);

}  // namespace allot
