// SPDX-License-Identifier: MIT
// Names of record files: whose one is, told by its name alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace allot {

inline constexpr std::string_view kDriverWriterPrefix = "driver-";

/// "driver-N": the records of the driver of epoch N.
inline std::string driver_writer_name(std::uint64_t epoch) {
  return std::string(kDriverWriterPrefix) + std::to_string(epoch);
}

/// True for "driver-" and digits. Every other name is a slot's.
inline bool is_driver_writer(std::string_view name) {
  if (!name.starts_with(kDriverWriterPrefix)) return false;
  name.remove_prefix(kDriverWriterPrefix.size());
  return !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
}

/// "HOST-k": the records of slot k of worker nodes on that host. A host whose files could be taken for a driver's has
/// "host." before its name; so has one whose name is such a name already, so that no two hosts share a file.
inline std::string slot_writer_name(std::string_view host, std::uint64_t k) {
  std::string_view rest = host;
  while (rest.starts_with("host.")) rest.remove_prefix(5);
  const bool is_ambiguous = rest == "driver" || rest.starts_with(kDriverWriterPrefix);
  return (is_ambiguous ? "host." : "") + std::string(host) + "-" + std::to_string(k);
}

/// The host of such a name: the inverse of slot_writer_name().
inline std::string host_of_slot_writer(std::string_view writer) {
  std::string_view host = writer.substr(0, writer.rfind('-'));
  std::string_view rest = host;
  while (rest.starts_with("host.")) rest.remove_prefix(5);
  const bool is_ambiguous = rest == "driver" || rest.starts_with(kDriverWriterPrefix);
  if (is_ambiguous && host.starts_with("host.")) host.remove_prefix(5);
  return std::string(host);
}

/// The file that a task's output goes to when a directory was given for it: NAME.oID or NAME.eID (`letter`), as Jobmon
/// has it. Without a name it is "task"; a '/' in the name becomes '_'.
inline std::string output_file_name(std::string task_name, char letter, const std::string& distributor_id) {
  if (task_name.empty()) task_name = "task";
  std::replace(task_name.begin(), task_name.end(), '/', '_');
  return task_name + "." + letter + distributor_id;
}

}  // namespace allot
