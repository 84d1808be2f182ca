// SPDX-License-Identifier: MIT
// Names of record files: whose one is, told by its name alone.
#pragma once

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

}  // namespace allot
