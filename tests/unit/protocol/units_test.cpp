// SPDX-License-Identifier: MIT
#include "protocol/units.h"

#include <boost/multiprecision/cpp_int.hpp>
#include <limits>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/catch.h"

using namespace allot;

namespace {

using Integer = boost::multiprecision::cpp_int;

constexpr std::uint64_t kKi = 1024;
constexpr std::uint64_t kMi = kKi * 1024;
constexpr std::uint64_t kGi = kMi * 1024;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kSecond = 1000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;

// What WHOLE.FRACTION × unit is, by arithmetic without bounds: nothing if it is no integer or too large.
std::optional<std::uint64_t> exact(const std::string& whole, const std::string& fraction, std::uint64_t unit) {
  Integer digits = 0;
  Integer divisor = 1;
  for (const char c : whole + fraction) digits = digits * 10 + (c - '0');
  for (std::size_t i = 0; i < fraction.size(); ++i) divisor *= 10;
  const Integer product = digits * unit;
  if (product % divisor != 0 || product / divisor > kMax) return std::nullopt;
  return static_cast<std::uint64_t>(product / divisor);
}

std::string random_digits(std::mt19937_64& random, std::size_t most) {
  std::string digits(1 + random() % most, '0');
  for (char& c : digits) c = static_cast<char>('0' + random() % 10);
  return digits;
}

// A fraction that is exact for many units: an odd multiple of a power of a half, in decimal.
std::string binary_fraction(std::mt19937_64& random, unsigned bits) {
  Integer numerator = random() % (std::uint64_t{1} << bits);
  for (unsigned i = 0; i < bits; ++i) numerator *= 5;  // n / 2^k = n·5^k / 10^k
  std::string digits = numerator.str();
  return std::string(bits > digits.size() ? bits - digits.size() : 0, '0') + digits;
}

std::uint64_t random_value(std::mt19937_64& random) {
  return random() >> (1 + random() % 63);
}

}  // namespace

TEST_CASE("sizes that are read") {
  const std::vector<std::pair<std::string, std::uint64_t>> table = {
      {"0", 0},
      {"1", 1},
      {"4096", 4096},
      {"007", 7},
      {"512M", 512 * kMi},
      {"500M", 500 * kMi},
      {"1536M", 1536 * kMi},
      {"1.5G", 1536 * kMi},
      {"1.50G", 1536 * kMi},
      {"1.0", 1},
      {"2KiB", 2 * kKi},
      {"2kib", 2 * kKi},
      {"2KB", 2 * kKi},
      {"2k", 2 * kKi},
      {"10 MB", 10 * kMi},
      {"10\tMB", 10 * kMi},
      {" 10M ", 10 * kMi},
      {"512B", 512},
      {"512 b", 512},
      {"1T", kGi * 1024},
      {"1P", kGi * kMi},
      {"1E", kGi * kGi},
      {"1e", kGi * kGi},
      {"1eib", kGi * kGi},
      {"0.5K", 512},
      {"0.0009765625K", 1},
      {"0.000000000000000000867361737988403547205962240695953369140625E", 1},
      {"9223372036854775807", static_cast<std::uint64_t>(kMax)},
      {"7.999999999999999999132638262011596452794037759304046630859375E", static_cast<std::uint64_t>(kMax)},
  };
  for (const auto& [text, bytes] : table) {
    CAPTURE(text);
    const auto parsed = parse_size(text);
    REQUIRE(parsed);
    CHECK(*parsed == bytes);
  }
}

TEST_CASE("sizes that are refused, with the input and the reason") {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "empty"},
      {"   ", "empty"},
      {"-1", "negative"},
      {"-1M", "negative"},
      {"+1", "does not start with a digit"},
      {"M", "does not start with a digit"},
      {".5G", "does not start with a digit"},
      {"5.G", "no digit after the decimal point"},
      {"5.", "no digit after the decimal point"},
      {"nan", "does not start with a digit"},
      {"inf", "does not start with a digit"},
      {"unlimited", "does not start with a digit"},
      {"10 potatoes", "unknown unit \"potatoes\""},
      {"1e999G", "exponents"},
      {"1e9", "exponents"},
      {"1E+9", "exponents"},
      {"1e-9", "exponents"},
      {"1.5.5G", "unknown unit"},
      {"1,5G", "unknown unit"},
      {"1 2", "unknown unit"},
      {"1GiBs", "unknown unit"},
      {"1Gi", "unknown unit"},
      {"1iB", "unknown unit"},
      {"1BB", "unknown unit"},
      {"1MG", "unknown unit"},
      {"0x10", "unknown unit"},
      {"1_000", "unknown unit"},
      {"8E", "too large"},
      {"9223372036854775808", "too large"},
      {"18446744073709551616", "too large"},
      {"99999999999999999999999999999999999999", "too large"},
      {"8192P", "too large"},
      {"0.5", "whole number of bytes"},
      {"1.23K", "whole number of bytes"},
      {"0.0000000000000000000000001E", "whole number of bytes"},
  };
  for (const auto& [text, reason] : table) {
    CAPTURE(text);
    const auto parsed = parse_size(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::fix_request);
    CHECK_THAT(parsed.error().message, Catch::Matchers::ContainsSubstring(reason));
    CHECK_THAT(parsed.error().message, Catch::Matchers::ContainsSubstring("\"" + text + "\""));
  }
}

TEST_CASE("durations that are read") {
  const std::vector<std::pair<std::string, std::int64_t>> table = {
      {"0", 0},
      {"90", 90 * kSecond},
      {"1.5", 1500},
      {"0.001", 1},
      {"250ms", 250},
      {"90 s", 90 * kSecond},
      {"10m", 10 * kMinute},
      {"2d", 2 * kDay},
      {"1h30m", kHour + 30 * kMinute},
      {"10h30m", 10 * kHour + 30 * kMinute},
      {"1h 30m", kHour + 30 * kMinute},
      {" 1 h 30 m ", kHour + 30 * kMinute},
      {"1d2h3m4s5ms", kDay + 2 * kHour + 3 * kMinute + 4 * kSecond + 5},
      {"90m30s", 90 * kMinute + 30 * kSecond},
      {"0.5h", 30 * kMinute},
      {"1h0.5m", kHour + 30 * kSecond},
      {"1m1.5s", kMinute + 1500},
      {"1:30", kMinute + 30 * kSecond},
      {"1:5", kMinute + 5 * kSecond},
      {"90:00", 90 * kMinute},
      {"01:30:00", kHour + 30 * kMinute},
      {"100:00:01", 100 * kHour + kSecond},
      {"1-12", kDay + 12 * kHour},
      {"1-12:30", kDay + 12 * kHour + 30 * kMinute},
      {"1-12:00:00", kDay + 12 * kHour},
      {"0-00:00:59", 59 * kSecond},
      {"7-0", 7 * kDay},
      {"9223372036854775807ms", kMax},
      {"9223372036854775.807", kMax},
      {"106751991167d7h12m55.807s", kMax},
      {"106751991167-07:12:55", kMax - 807},
  };
  for (const auto& [text, milliseconds] : table) {
    CAPTURE(text);
    const auto parsed = parse_duration(text);
    REQUIRE(parsed);
    CHECK(*parsed == milliseconds);
  }
}

TEST_CASE("durations that are refused, with the input and the reason") {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "empty"},
      {"-5", "negative"},
      {"-1:30", "negative"},
      {"-1h", "negative"},
      {"1h-30m", "only digits"},
      {"h", "does not start with a digit"},
      {"10 potatoes", "unknown unit \"potatoes\""},
      {"1e5", "exponents"},
      {"1e-5", "exponents"},
      {"1e999h", "exponents"},
      {"10M", "unknown unit \"M\""},
      {"1H", "unknown unit \"H\""},
      {"1 min", "unknown unit"},
      {"5us", "unknown unit"},
      {"1m30", "no unit"},
      {"1 30", "unit is missing"},
      {"30m1h", "from large to small"},
      {"1h1h", "from large to small"},
      {"1.5h30m", "only the last part"},
      {"0.0001", "whole number of milliseconds"},
      {"1.5ms", "whole number of milliseconds"},
      {"1.", "no digit after"},
      {"1.5:30", "only digits"},
      {"1:30s", "only digits"},
      {"1:60", "below 60"},
      {"1:60:00", "below 60"},
      {"1-24", "below 24"},
      {"1-12:60", "below 60"},
      {"1:005", "at most two digits"},
      {":30", "does not start with a digit"},
      {"1:", "is empty"},
      {"1::2", "is empty"},
      {"1-", "is empty"},
      {"1-2-3", "behind the days only"},
      {"1:2-3", "behind the days only"},
      {"1:2:3:4", "too many parts"},
      {"1-1:1:1:1", "too many parts"},
      {"106751991168d", "too large"},
      {"9223372036854775808ms", "too large"},
      {"106751991167d23h", "too large"},
      {"106751991167-23", "too large"},
      {"99999999999999999999999:00", "too large"},
      {"infinite", "does not start with a digit"},
  };
  for (const auto& [text, reason] : table) {
    CAPTURE(text);
    const auto parsed = parse_duration(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::fix_request);
    CHECK_THAT(parsed.error().message, Catch::Matchers::ContainsSubstring(reason));
    CHECK_THAT(parsed.error().message, Catch::Matchers::ContainsSubstring("\"" + text + "\""));
  }
}

TEST_CASE("what is quoted in a message is short and printable") {
  const auto long_one = parse_size(std::string(10'000'000, '9'));
  REQUIRE_FALSE(long_one);
  CHECK(long_one.error().message.size() < 200);
  const auto long_fraction = parse_size("0." + std::string(1'000'000, '0') + "1E");
  REQUIRE_FALSE(long_fraction);
  CHECK(long_fraction.error().message.size() < 200);
  const auto binary = parse_size(std::string("1\n\xff\x00z", 5));
  REQUIRE_FALSE(binary);
  CHECK_THAT(binary.error().message, Catch::Matchers::ContainsSubstring(R"("1\x0a\xff\x00z")"));
}

TEST_CASE("sizes agree with arithmetic without bounds") {
  std::mt19937_64 random(1);
  const std::string letters = "KMGTPE";
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::size_t power = random() % 7;
    const std::string whole = random_digits(random, power == 0 ? 20 : 21 - 3 * power);
    const std::string fraction = random() % 2 == 0 ? random_digits(random, 6)
                                                   : binary_fraction(random, 1 + static_cast<unsigned>(random() % 62));
    std::string text = whole + "." + fraction;
    if (power > 0) text += letters[power - 1];
    CAPTURE(text);
    const auto expected = exact(whole, fraction, std::uint64_t{1} << (10 * power));
    const auto parsed = parse_size(text);
    REQUIRE(parsed.has_value() == expected.has_value());
    if (!expected) continue;
    REQUIRE(*parsed == *expected);
    ++read;
  }
  CHECK(read > 2000);  // the property is not about refusals alone
}

TEST_CASE("durations agree with arithmetic without bounds") {
  std::mt19937_64 random(2);
  const std::vector<std::pair<std::string, std::int64_t>> units = {{"d", kDay},    {"h", kHour}, {"m", kMinute},
                                                                   {"s", kSecond}, {"ms", 1},    {"", kSecond}};
  int read = 0;
  for (int round = 0; round < 20'000; ++round) {
    const auto& [name, unit] = units[random() % units.size()];
    const std::string whole = random_digits(random, 17);
    const std::string fraction = random_digits(random, 4);
    const std::string text = whole + "." + fraction + name;
    CAPTURE(text);
    const auto expected = exact(whole, fraction, static_cast<std::uint64_t>(unit));
    const auto parsed = parse_duration(text);
    REQUIRE(parsed.has_value() == expected.has_value());
    if (!expected) continue;
    REQUIRE(static_cast<std::uint64_t>(*parsed) == *expected);
    ++read;
  }
  CHECK(read > 2000);
}

TEST_CASE("sizes as they are written") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(1) == "1");
  CHECK(format_size(1023) == "1023");
  CHECK(format_size(4096) == "4K");
  CHECK(format_size(4097) == "4097");
  CHECK(format_size(1536 * kMi) == "1536M");
  CHECK(format_size(std::uint64_t{15} << 60) == "15E");
  CHECK(format_size(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
}

TEST_CASE("sizes for people that hide nothing and never say more than there is") {
  CHECK(format_size_exact(0) == "0");
  CHECK(format_size_exact(100 * 1024 * kMi) == "100G");
  CHECK(format_size_exact(1536 * kMi) == "1536M");
  CHECK(format_size_exact(std::uint64_t{24684096} * 1024) == "23.5G (25276514304 bytes)");
  CHECK(format_size_exact(std::uint64_t{24 * 1024} * kMi - 1) == "23.9G (25769803775 bytes)");
  CHECK(format_size_exact(999'999) == "976.5K (999999 bytes)");
  CHECK(format_size_exact(std::numeric_limits<std::uint64_t>::max()) == "15.9E (18446744073709551615 bytes)");
}

TEST_CASE("rounded sizes are for people") {
  CHECK(format_size_rounded(0) == "0 B");
  CHECK(format_size_rounded(1023) == "1023 B");
  CHECK(format_size_rounded(1024) == "1.0 KiB");
  CHECK(format_size_rounded(1536 * kMi) == "1.5 GiB");
  CHECK(format_size_rounded(1075) == "1.0 KiB");  // 1.0498
  CHECK(format_size_rounded(1076) == "1.1 KiB");  // 1.0508
  CHECK(format_size_rounded(kMi - 1) == "1.0 MiB");
  CHECK(format_size_rounded(kMi - 52) == "1023.9 KiB");
  CHECK(format_size_rounded(kMax) == "8.0 EiB");
  CHECK(format_size_rounded(std::numeric_limits<std::uint64_t>::max()) == "16.0 EiB");
}

TEST_CASE("durations as they are written") {
  CHECK(format_duration(0) == "0s");
  CHECK(format_duration(250) == "250ms");
  CHECK(format_duration(1500) == "1.5s");
  CHECK(format_duration(1001) == "1.001s");
  CHECK(format_duration(1010) == "1.01s");
  CHECK(format_duration(90 * kSecond) == "1m30s");
  CHECK(format_duration(kHour + 30 * kMinute) == "1h30m");
  CHECK(format_duration(kDay + 5) == "1d5ms");
  CHECK(format_duration(-kHour) == "-1h");
  CHECK(format_duration(std::numeric_limits<std::int64_t>::min()) == "-106751991167d7h12m55.808s");
}

TEST_CASE("what was written is read back, over the whole range") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50'000; ++round) {
    const std::uint64_t value = random_value(random);
    CAPTURE(value);
    const auto bytes = parse_size(format_size(value));
    REQUIRE(bytes);
    REQUIRE(*bytes == value);
    const auto milliseconds = parse_duration(format_duration(static_cast<std::int64_t>(value)));
    REQUIRE(milliseconds);
    REQUIRE(*milliseconds == static_cast<std::int64_t>(value));
    // Multiples of units come out short and must come back, too.
    const std::uint64_t round_value = value >> (10 * (value % 6)) << (10 * (value % 6));
    REQUIRE(parse_size(format_size(round_value)).value() == round_value);
  }
  CHECK(parse_size(format_size(kMax)).value() == static_cast<std::uint64_t>(kMax));
  CHECK(parse_duration(format_duration(kMax)).value() == kMax);
}

TEST_CASE("no bytes whatever make the readers do anything but answer") {
  std::mt19937_64 random(4);
  const std::string alphabet = "0123456789.:-+eE KMGTPiBdhms\t\n\xc3";
  for (int round = 0; round < 100'000; ++round) {
    std::string text(random() % 12, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    CAPTURE(text);
    if (const auto bytes = parse_size(text)) REQUIRE(*bytes <= static_cast<std::uint64_t>(kMax));
    if (const auto milliseconds = parse_duration(text)) REQUIRE(*milliseconds >= 0);
  }
}
