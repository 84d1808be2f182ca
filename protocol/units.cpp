// SPDX-License-Identifier: MIT
#include "protocol/units.h"

#include <array>
#include <limits>
#include <optional>
#include <vector>

namespace allot {
namespace {

constexpr std::uint64_t kMaxValue = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view kSizeLetters = "KMGTPE";
constexpr std::int64_t kSecond = 1000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;

constexpr std::string_view kSizeForms = "write it like 512M, 1.5G or 4096 (bytes)";
constexpr std::string_view kDurationForms = "write it like 90 (seconds), 250ms, 1h30m, 2d, 01:30:00 or 1-12:00:00";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_space(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// The input as a message shows it: short and pure ASCII, so that the message stays valid UTF-8 whatever came in.
std::string quote(std::string_view text) {
  constexpr std::size_t kShown = 60;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) {
      out.append("\\x").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    } else {
      out += c;
    }
  }
  if (text.size() > kShown) out += "...";
  return out + "\"";
}

// An unsigned decimal number as written; both parts point into the input.
struct Decimal {
  std::string_view whole;
  std::string_view fraction;  // without trailing zeros
};

// Takes a number off the front of `text`; on failure returns what is wrong with it.
std::optional<std::string> take_decimal(std::string_view& text, Decimal& number) {
  auto digits = [&text] {
    std::size_t n = 0;
    while (n < text.size() && is_digit(text[n])) ++n;
    const std::string_view taken = text.substr(0, n);
    text.remove_prefix(n);
    return taken;
  };
  if (text.empty()) return "it is empty";
  if (text.front() == '-') return "it is negative";
  number.whole = digits();
  if (number.whole.empty()) return "it does not start with a digit";
  if (text.empty() || text.front() != '.') return std::nullopt;
  text.remove_prefix(1);
  number.fraction = digits();
  if (number.fraction.empty()) return "there is no digit after the decimal point";
  while (!number.fraction.empty() && number.fraction.back() == '0') number.fraction.remove_suffix(1);
  return std::nullopt;
}

// number × unit exactly, with unit ≤ 2⁶⁰; on failure returns what is wrong.
std::optional<std::string> multiply(const Decimal& number, std::uint64_t unit, std::string_view smallest,
                                    std::uint64_t& product) {
  const std::string overflow = "it is too large (the most is 2^63-1)";
  std::uint64_t whole = 0;
  for (const char c : number.whole) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (whole > (kMaxValue - digit) / 10) return overflow;
    whole = whole * 10 + digit;
  }
  if (whole > kMaxValue / unit) return overflow;

  // A fraction of k digits without trailing zeros times a unit below 2⁶¹ has an end only if k ≤ 60.
  const std::string inexact = "it is not a whole number of " + std::string(smallest);
  if (number.fraction.size() > 60) return inexact;
  std::uint64_t carry = 0;  // schoolbook, last digit first: 9·2⁶⁰ + 2⁶⁰ fits into 64 bits
  for (std::size_t i = number.fraction.size(); i-- > 0;) {
    const std::uint64_t sum = static_cast<std::uint64_t>(number.fraction[i] - '0') * unit + carry;
    if (sum % 10 != 0) return inexact;
    carry = sum / 10;
  }
  product = whole * unit;
  if (carry > kMaxValue - product) return overflow;
  product += carry;
  return std::nullopt;
}

tl::unexpected<Error> refuse(std::string_view text, std::string_view kind, std::string_view why,
                             std::string_view forms) {
  return fail(ErrorCode::fix_request,
              quote(text) + " is not a " + std::string(kind) + ": " + std::string(why) + "; " + std::string(forms));
}

std::string unknown_unit(std::string_view unit) {
  if ((unit[0] == 'e' || unit[0] == 'E') && unit.size() > 1 && (is_digit(unit[1]) || unit[1] == '+' || unit[1] == '-'))
    return "exponents are not understood";
  return "unknown unit " + quote(unit);
}

// The factor of a size's unit; 0 for an unknown one.
std::uint64_t size_unit(std::string_view unit) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  if (unit.empty()) return 1;
  if (unit.size() == 1 && lower(unit[0]) == 'b') return 1;
  std::size_t power = 0;
  while (power < kSizeLetters.size() && lower(kSizeLetters[power]) != lower(unit[0])) ++power;
  if (power == kSizeLetters.size()) return 0;
  const std::string_view rest = unit.substr(1);
  const bool known = rest.empty() || (rest.size() == 1 && lower(rest[0]) == 'b') ||
                     (rest.size() == 2 && lower(rest[0]) == 'i' && lower(rest[1]) == 'b');
  return known ? std::uint64_t{1} << (10 * (power + 1)) : 0;
}

struct DurationUnit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array<DurationUnit, 5> kDurationUnits = {
    {{"d", kDay}, {"h", kHour}, {"m", kMinute}, {"s", kSecond}, {"ms", 1}}};

// One field of a colon form: one or two digits, or any number of them in the first. Nothing: too large.
std::optional<std::uint64_t> field_value(std::string_view digits) {
  std::uint64_t value = 0;
  for (const char c : digits) {
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
    if (value > kMaxValue / 1000) return std::nullopt;
  }
  return value;
}

// "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM", "D-HH:MM:SS".
Result<std::int64_t> parse_clock(std::string_view original, std::string_view text) {
  auto no = [&](std::string_view why) { return refuse(original, "duration", why, kDurationForms); };
  std::vector<std::string_view> fields;
  bool has_days = false;
  for (;;) {
    const std::size_t end = text.find_first_of(":-");
    const std::string_view field = text.substr(0, end);
    if (field.empty()) return no(fields.empty() ? "it does not start with a digit" : "a part of it is empty");
    for (const char c : field)
      if (!is_digit(c)) return no("between ':' and '-' only digits may stand");
    if (!fields.empty() && field.size() > 2) return no("the parts after the first have at most two digits");
    fields.push_back(field);
    if (end == std::string_view::npos) break;
    if (text[end] == '-') {
      if (fields.size() > 1) return no("'-' stands behind the days only");
      has_days = true;
    }
    text.remove_prefix(end + 1);
  }
  if (fields.size() > (has_days ? 4U : 3U)) return no("it has too many parts");

  // With days the fields are D, H, M, S from the left; without, they end with seconds.
  static constexpr std::array<std::int64_t, 4> kUnits = {kDay, kHour, kMinute, kSecond};
  const std::size_t first_unit = has_days ? 0 : kUnits.size() - fields.size();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto unit = static_cast<std::uint64_t>(kUnits[first_unit + i]);
    const auto value = field_value(fields[i]);
    const std::uint64_t limit = unit == static_cast<std::uint64_t>(kHour) ? 24 : 60;
    if (i > 0 && *value >= limit) return no("the part " + quote(fields[i]) + " must be below " + std::to_string(limit));
    if (!value || *value > (kMaxValue - total) / unit) return no("it is too large (the most is 2^63-1 milliseconds)");
    total += *value * unit;
  }
  return static_cast<std::int64_t>(total);
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  std::string_view rest = trim(text);
  Decimal number;
  auto no = [&](std::string_view why) { return refuse(text, "size", why, kSizeForms); };
  if (auto fault = take_decimal(rest, number)) return no(*fault);
  rest = trim(rest);
  const std::uint64_t unit = size_unit(rest);
  if (unit == 0) return no(unknown_unit(rest));
  std::uint64_t bytes = 0;
  if (auto fault = multiply(number, unit, "bytes", bytes)) return no(*fault);
  return bytes;
}

Result<std::int64_t> parse_duration(std::string_view text) {
  std::string_view rest = trim(text);
  auto no = [&](std::string_view why) { return refuse(text, "duration", why, kDurationForms); };
  if (!rest.empty() && rest.front() != '-' && rest.find_first_of(":-") != std::string_view::npos &&
      rest.find_first_of("eE") == std::string_view::npos) {
    return parse_clock(text, rest);
  }
  std::uint64_t total = 0;
  std::size_t next_unit = 0;  // units come largest first, each at most once
  bool ended_with_fraction = false;
  do {
    Decimal number;
    if (auto fault = take_decimal(rest, number)) return no(*fault);
    if (ended_with_fraction) return no("only the last part may have a fraction");
    ended_with_fraction = !number.fraction.empty();
    rest = trim(rest);
    std::size_t length = 0;
    while (length < rest.size() && !is_digit(rest[length]) && !is_space(rest[length]) && rest[length] != '.') ++length;
    const std::string_view name = rest.substr(0, length);
    std::size_t index = 0;
    if (name.empty()) {
      if (next_unit > 0) return no("its last part has no unit");
      if (!rest.empty()) return no("a unit is missing");
      index = 3;  // a bare number is seconds
    } else {
      while (index < kDurationUnits.size() && kDurationUnits[index].name != name) ++index;
      if (index == kDurationUnits.size()) return no(unknown_unit(rest.substr(0, rest.find_first_of(" \t"))));
      if (index < next_unit) return no("its units must go from large to small, each once");
    }
    std::uint64_t part = 0;
    const auto unit = static_cast<std::uint64_t>(kDurationUnits[index].milliseconds);
    if (auto fault = multiply(number, unit, "milliseconds", part)) return no(*fault);
    if (part > kMaxValue - total) return no("it is too large (the most is 2^63-1 milliseconds)");
    total += part;
    next_unit = index + 1;
    rest = trim(rest.substr(length));
  } while (!rest.empty());
  return static_cast<std::int64_t>(total);
}

std::string format_size(std::uint64_t bytes) {
  std::size_t power = 0;
  while (bytes != 0 && power < kSizeLetters.size() && bytes % 1024 == 0) {
    bytes /= 1024;
    ++power;
  }
  std::string text = std::to_string(bytes);
  if (power > 0) text += kSizeLetters[power - 1];
  return text;
}

std::string format_size_rounded(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  for (std::size_t power = 1;; ++power) {
    const auto shift = static_cast<unsigned>(10 * power);
    const std::uint64_t unit = std::uint64_t{1} << shift;
    std::uint64_t whole = bytes >> shift;
    std::uint64_t tenths = ((bytes & (unit - 1)) * 10 + unit / 2) >> shift;  // < 11·2⁶⁰: fits
    whole += tenths / 10;
    tenths %= 10;
    if (whole < 1024 || power == kSizeLetters.size())
      return std::to_string(whole) + "." + std::to_string(tenths) + " " + kSizeLetters[power - 1] + "iB";
  }
}

std::string format_size_exact(std::uint64_t bytes) {
  constexpr std::size_t kShort = 5;
  std::string text = format_size(bytes);
  if (text.size() <= kShort) return text;
  std::size_t power = 0;
  while (power < kSizeLetters.size() && (bytes >> (10 * (power + 1))) > 0) ++power;
  const auto shift = static_cast<unsigned>(10 * power);
  const std::uint64_t rest = bytes & ((std::uint64_t{1} << shift) - 1);
  return std::to_string(bytes >> shift) + "." + std::to_string((rest * 10) >> shift) + kSizeLetters[power - 1] + " (" +
         std::to_string(bytes) + " bytes)";
}

std::string format_duration(std::int64_t milliseconds) {
  if (milliseconds == 0) return "0s";
  std::string text = milliseconds < 0 ? "-" : "";
  // Negation in unsigned arithmetic: the smallest int64 has no positive counterpart.
  std::uint64_t rest =
      milliseconds < 0 ? -static_cast<std::uint64_t>(milliseconds) : static_cast<std::uint64_t>(milliseconds);
  for (const DurationUnit& unit : kDurationUnits) {
    const auto size = static_cast<std::uint64_t>(unit.milliseconds);
    if (rest < size) continue;
    text += std::to_string(rest / size);
    rest %= size;
    if (unit.milliseconds == kSecond && rest > 0) {
      std::string fraction = std::to_string(1000 + rest).replace(0, 1, ".");
      while (fraction.back() == '0') fraction.pop_back();
      text += fraction;
      rest = 0;
    }
    text += unit.name;
  }
  return text;
}

}  // namespace allot
