// SPDX-License-Identifier: MIT
#include "engine/batch_home.h"

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

namespace allot {
namespace {

namespace fs = boost::filesystem;

constexpr std::size_t kMostListed = 5;

bool is_absolute(const char* path) {
  return path != nullptr && path[0] == '/';
}

}  // namespace

Result<std::string> batch_home() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (is_absolute(state)) return std::string(state) + "/allot/batches";
  const char* home = std::getenv("HOME");
  if (is_absolute(home)) return std::string(home) + "/.local/state/allot/batches";
  return fail(
      ErrorCode::fix_request,
      "neither XDG_STATE_HOME nor HOME is an absolute path, so there is no place for batches; give --batch-dir");
}

Result<std::string> find_batch(const std::string& name) {
  boost::system::error_code ignored;
  if (name.find('/') != std::string::npos || fs::exists(fs::path(name) / "batch.json", ignored)) return name;
  if (ignored && ignored.value() != ENOENT && ignored.value() != ENOTDIR) return name;  // who opens it says why not
  auto home = batch_home();
  if (!home) return fail(std::move(home.error()));
  std::vector<std::string> found;
  for (fs::directory_iterator it(*home, ignored), end; !ignored && it != end; it.increment(ignored)) {
    const std::string id = it->path().filename().string();
    if (name.empty() || id.starts_with('.') || !id.starts_with(name)) continue;
    if (id == name) return *home + "/" + id;  // slurm-1 is meant by itself, though there is a slurm-12
    found.push_back(id);
  }
  if (found.size() == 1) return *home + "/" + found.front();
  if (found.empty()) {
    return fail(
        ErrorCode::fix_request,
        fmt::format("there is no batch \"{}\": neither a directory of that name here nor an id that begins so in {}",
                    name, *home));
  }
  std::sort(found.rbegin(), found.rend());
  const std::size_t more = found.size() > kMostListed ? found.size() - kMostListed : 0;
  found.resize(found.size() - more);
  return fail(ErrorCode::fix_request,
              fmt::format("the ids of several batches in {} begin with \"{}\": {}{}", *home, name,
                          fmt::join(found, ", "), more > 0 ? fmt::format(" and {} more", more) : ""));
}

}  // namespace allot
