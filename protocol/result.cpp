// SPDX-License-Identifier: MIT
#include "protocol/result.h"

namespace allot {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::fix_request:
      return "fix_request";
    case ErrorCode::retry_later:
      return "retry_later";
    case ErrorCode::gave_up:
      return "gave_up";
    case ErrorCode::gone:
      return "gone";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::not_available:
      return "not_available";
    case ErrorCode::no_room:
      return "no_room";
  }
  return "unknown_code";
}

}  // namespace allot
