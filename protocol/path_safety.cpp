// SPDX-License-Identifier: MIT
#include "protocol/path_safety.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace allot {
namespace {

std::string octal(mode_t mode) {
  std::string text = "0000";
  for (std::size_t i = 4; i-- > 0; mode >>= 3) text[i] = static_cast<char>('0' + (mode & 7));
  return text;
}

// By the convention of user-private groups: the group is called like the owner and lists no one else. Unknown names
// (no such entry, no answer) are not private.
bool is_private_group(gid_t group, uid_t owner) {
  std::vector<char> user_buffer(16 * 1024);
  std::vector<char> group_buffer(64 * 1024);
  struct passwd user_entry;
  struct group group_entry;
  struct passwd* user = nullptr;
  struct group* found = nullptr;
  if (::getpwuid_r(owner, &user_entry, user_buffer.data(), user_buffer.size(), &user) != 0 || user == nullptr ||
      ::getgrgid_r(group, &group_entry, group_buffer.data(), group_buffer.size(), &found) != 0 || found == nullptr ||
      ::strcmp(user->pw_name, found->gr_name) != 0) {
    return false;
  }
  for (char** member = found->gr_mem; *member != nullptr; ++member)
    if (::strcmp(*member, user->pw_name) != 0) return false;
  return true;
}

}  // namespace

std::optional<std::string> find_danger(const PathFacts& facts, const std::vector<uid_t>& trusted,
                                       const std::function<bool(gid_t, uid_t)>& is_private) {
  if (std::find(trusted.begin(), trusted.end(), facts.owner) == trusted.end())
    return "belongs to another user (uid " + std::to_string(facts.owner) + ")";
  if (S_ISLNK(facts.mode)) return std::nullopt;  // its mode says nothing
  // In a sticky directory nobody can rename or remove what belongs to someone else.
  if (facts.role == PathRole::ancestor && (facts.mode & S_ISVTX) != 0) return std::nullopt;
  const std::string mode = " (mode " + octal(facts.mode & 07777) + ")";
  if ((facts.mode & S_IWOTH) != 0) return "is writable by everyone" + mode;
  if ((facts.mode & S_IWGRP) != 0 && !is_private(facts.group, facts.owner))
    return "is writable by group " + std::to_string(facts.group) + mode;
  return std::nullopt;
}

std::optional<std::string> find_danger(const PathFacts& facts) {
  return find_danger(facts, {0, ::geteuid()}, is_private_group);
}

std::optional<std::string> find_danger_on_path(const std::string& file, const std::string& program) {
  std::vector<uid_t> trusted = {0, ::geteuid()};
  struct stat status;
  if (::stat(program.c_str(), &status) == 0) trusted.push_back(status.st_uid);
  PathRole role = PathRole::file;
  for (std::string path = file;;) {
    if (::lstat(path.c_str(), &status) != 0) return path + " cannot be examined: " + ::strerror(errno);
    if (auto danger = find_danger({role, status.st_mode, status.st_uid, status.st_gid}, trusted, is_private_group))
      return path + " " + *danger;
    const std::size_t slash = path.rfind('/');
    if (slash == 0) return std::nullopt;  // the root directory holds everything, this program included
    path.resize(slash);
    role = role == PathRole::file ? PathRole::directory : PathRole::ancestor;
    if (program.starts_with(path + "/") && role == PathRole::ancestor) return std::nullopt;
  }
}

}  // namespace allot
