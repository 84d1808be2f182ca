// SPDX-License-Identifier: MIT
#include "protocol/cluster_config.h"

namespace allot {

std::string_view to_string(ParameterType type) {
  switch (type) {
    case ParameterType::boolean:
      return "boolean";
    case ParameterType::integer:
      return "integer";
    case ParameterType::text:
      return "text";
    case ParameterType::size:
      return "size";
    case ParameterType::duration:
      return "duration";
  }
  return "unknown_type";
}

}  // namespace allot
