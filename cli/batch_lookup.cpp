// SPDX-License-Identifier: MIT
#include "cli/batch_lookup.h"

#include <algorithm>
#include <boost/filesystem.hpp>
#include <vector>

#include "worker_node/own_batch.h"

namespace allot {

namespace fs = boost::filesystem;

Result<BatchDirectory> open_batch(const std::string& path_or_id) {
  boost::system::error_code error;
  if (path_or_id.find('/') != std::string::npos || fs::is_directory(path_or_id, error)) {
    const fs::path absolute = fs::absolute(path_or_id).lexically_normal();
    std::string path = absolute.string();
    while (path.size() > 1 && (path.back() == '/' || path.back() == '.')) path.pop_back();
    return BatchDirectory::open(path);
  }
  auto base = default_batches_directory();
  if (!base) return fail(base.error());
  std::vector<std::string> fitting;
  for (fs::directory_iterator it(*base, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.rfind(path_or_id, 0) == 0) fitting.push_back(name);
  }
  if (fitting.size() == 1) return BatchDirectory::open(*base + "/" + fitting[0]);
  if (fitting.empty()) {
    return fail(ErrorCode::fix_request,
                "no batch \"" + path_or_id + "\": neither a directory here nor a batch in " + *base);
  }
  std::sort(fitting.begin(), fitting.end());
  std::string list;
  for (const std::string& name : fitting) list += "\n  " + name;
  return fail(ErrorCode::fix_request, "\"" + path_or_id + "\" fits several batches in " + *base + ":" + list);
}

}  // namespace allot
