// SPDX-License-Identifier: MIT
// Errors are values: a Result is what was asked for, or an Error that says what to do next.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace allot {

/// What the caller should do next; the text says why.
enum class ErrorCode {
  fix_request,    ///< the request is wrong: repeating it unchanged fails again
  retry_later,    ///< a passing fault (no memory, no processes, a busy service): the same call may work later
  gave_up,        ///< allot tried within its bounds and stopped; the state is as the text says
  gone,           ///< what was asked about no longer exists (a closed pool, a removed batch)
  unsupported,    ///< this plugin never does this; use the fallback that the method's docstring names
  not_available,  ///< the answer is not known here and asking again will not change that
  no_room,        ///< nothing was taken, because too much is there already: less may be taken now, or this later
};

/// Stable lower-case name of a code ("fix_request", …).
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::gave_up;
  std::string message;  ///< one line or more for a person: what, where, and what to do

  /// The same error with `context + ": "` put before its message.
  Error with_context(std::string_view context) const { return {code, std::string(context) + ": " + message}; }
};

template <class T>
using Result = tl::expected<T, Error>;

/// Short form for returning an error from a function that returns a Result.
inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::make_unexpected(Error{code, std::move(message)});
}

inline tl::unexpected<Error> fail(Error error) {
  return tl::make_unexpected(std::move(error));
}

}  // namespace allot
