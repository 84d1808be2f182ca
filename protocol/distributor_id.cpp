// SPDX-License-Identifier: MIT
#include "protocol/distributor_id.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <atomic>

namespace allot {
namespace {

constexpr std::string_view kAlphabet =
    "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford's base 32; sorts as its values do
constexpr int kCounterBits = 28;
constexpr std::uint64_t kCounterMask = (std::uint64_t{1} << kCounterBits) - 1;
constexpr std::uint64_t kBaseMask = (std::uint64_t{1} << 60) - 1;

// The last base given out, as a number. Atomic rather than under a mutex: a fork while another thread held the mutex
// would leave it locked in the child for ever.
std::atomic<std::uint64_t> last_base{0};

// Without this a forked child would count on from the same number as its parent and give out the parent's ids.
void forget_last_base_in_children() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { last_base.store(0); });
  (void)registered;
}

Result<std::uint64_t> random_counter() {
  std::uint32_t bits = 0;
  for (;;) {
    const ssize_t n = ::getrandom(&bits, sizeof bits, 0);
    if (n == static_cast<ssize_t>(sizeof bits)) return bits & kCounterMask;
    if (n < 0 && errno != EINTR) {
      return fail(ErrorCode::gave_up, std::string("no randomness for a new distributor id: getrandom(2): ") +
                                          ::strerror(errno) + "; the kernel must offer getrandom (Linux 3.17)");
    }
  }
}

std::string encode(std::uint64_t number) {
  std::string text(kIdBaseLength, '0');
  for (std::size_t i = kIdBaseLength; i-- > 0; number >>= 5) text[i] = kAlphabet[number & 31];
  return text;
}

}  // namespace

Result<std::string> new_id_base() {
  forget_last_base_in_children();
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto seconds = static_cast<std::uint32_t>(now.tv_sec);
  std::uint64_t last = last_base.load();
  std::uint64_t next = 0;
  do {
    if ((last >> kCounterBits) >= seconds) {
      // Same second, or the clock was set back: counting on (with a carry into the seconds) never repeats an id.
      next = (last + 1) & kBaseMask;
    } else {
      auto counter = random_counter();
      if (!counter) return fail(counter.error());
      next = (std::uint64_t{seconds} << kCounterBits) | *counter;
    }
  } while (!last_base.compare_exchange_weak(last, next));
  return encode(next);
}

std::string make_distributor_id(std::string_view base, std::optional<std::uint64_t> array_step) {
  std::string id(base);
  if (array_step) id.append(1, '_').append(std::to_string(*array_step));
  return id;
}

std::optional<ParsedDistributorId> parse_distributor_id(std::string_view id) {
  if (id.size() < kIdBaseLength || id.size() > kMaxDistributorIdLength) return std::nullopt;
  const std::string_view base = id.substr(0, kIdBaseLength);
  if (base.find_first_not_of(kAlphabet) != std::string_view::npos) return std::nullopt;
  ParsedDistributorId parsed{std::string(base), std::nullopt};
  if (id.size() == kIdBaseLength) return parsed;

  const std::string_view digits = id.substr(kIdBaseLength + 1);
  if (id[kIdBaseLength] != '_' || digits.empty() || (digits[0] == '0' && digits.size() > 1)) return std::nullopt;
  std::uint64_t step = 0;  // at most 7 digits: no overflow, and never above kMaxArrayStep
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    step = step * 10 + static_cast<std::uint64_t>(c - '0');
  }
  parsed.array_step = step;
  return parsed;
}

std::optional<std::int64_t> id_base_seconds(std::string_view base) {
  if (base.size() != kIdBaseLength || base.find_first_not_of(kAlphabet) != std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : base) number = number << 5 | kAlphabet.find(c);
  return static_cast<std::int64_t>(number >> kCounterBits);
}

}  // namespace allot
