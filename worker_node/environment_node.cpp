// SPDX-License-Identifier: MIT
#include "worker_node/environment_node.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "ledger/record.h"
#include "process/fd.h"
#include "process/identity.h"
#include "process/wait_status.h"
#include "protocol/distributor_id.h"
#include "worker_node/process_tree.h"

namespace allot {

std::optional<std::string> EnvironmentNode::distributor_id() const {
  const char* id = std::getenv("ALLOT_DISTRIBUTOR_ID");
  if (id == nullptr || !parse_distributor_id(id)) return std::nullopt;
  return id;
}

std::optional<std::uint64_t> EnvironmentNode::array_step_id() const {
  const char* text = std::getenv("ALLOT_ARRAY_STEP_ID");
  if (text == nullptr) return std::nullopt;
  std::uint64_t step = 0;
  const char* end = text + std::strlen(text);
  const auto result = std::from_chars(text, end, step);
  if (result.ec != std::errc() || result.ptr != end || text == end) return std::nullopt;
  return step;
}

Result<UsageStats> EnvironmentNode::get_usage_stats() const {
  rusage own, children;
  if (::getrusage(RUSAGE_SELF, &own) != 0 || ::getrusage(RUSAGE_CHILDREN, &children) != 0) {
    return fail(errno_error(errno, "getrusage"));
  }
  add_usage(own, children);
  UsageStats stats = decode_rusage(own);
  stats.node = host_name();
  return stats;
}

ExitInfo EnvironmentNode::get_exit_info(int wait_status, const std::string& error_text) const {
  ExitInfo info = decode_wait_status(wait_status);
  info.text = std::string(utf8_tail(error_text, 10'000));
  return info;
}

Result<std::string> EnvironmentNode::initialize_logfile(LogType log_type, const std::string& log_dir,
                                                        const std::string& name) {
  if (log_dir.empty()) return std::string("/dev/null");
  const auto id = distributor_id();
  if (!id) return fail(ErrorCode::fix_request, "no log file outside a task: ALLOT_DISTRIBUTOR_ID is not set");
  const std::string path = log_dir + "/" + name + (log_type == LogType::standard_output ? ".o" : ".e") + *id;
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd) return fail(errno_error(errno, path));
  return path;
}

}  // namespace allot
