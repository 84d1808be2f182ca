// SPDX-License-Identifier: MIT
#include "cli/console.h"

#include <random>

#include "tests/support/catch.h"

namespace allot::cli {

TEST_CASE("what is shown on a terminal holds no control and is UTF-8") {
  CHECK(printable("plain") == "plain");
  CHECK(printable("a\nb\tc") == "a\\nb\tc");
  CHECK(printable("a\nb", true) == "a\nb");
  CHECK(printable("\x1b[31mred\x7f") == "\\x1b[31mred\\x7f");
  CHECK(printable("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80") ==
        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  CHECK(printable("\xff\xc3(") == "\\xff\\xc3(");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\xc2\\x9b31m");             // CSI as one character
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
  CHECK(printable(std::string(1, '\0')) == "\\x00");
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 30, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const std::string shown = printable(bytes);
    CHECK(is_utf8(shown));
    for (const char c : shown) CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\t'));
  }
}

TEST_CASE("texts are cut between characters") {
  CHECK(shorten("abc", 3) == "abc");
  CHECK(shorten("abcd", 3) == "abc…");
  CHECK(shorten("äöü", 2) == "äö…");
  CHECK(shorten("", 0).empty());
}

TEST_CASE("words for sh") {
  CHECK(shell_word("plain-1.2/x") == "plain-1.2/x");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b") == "'a b'");
  CHECK(shell_word("it's $HOME") == "'it'\\''s $HOME'");
}

TEST_CASE("times for people and for programs") {
  CHECK(seconds_text(0.0124) == "12 ms");
  CHECK(seconds_text(1.5) == "1.50 s");
  CHECK(seconds_text(61) == "1m 01s");
  CHECK(seconds_text(3 * 3600 + 5 * 60) == "3h 05m");
  CHECK(time_text(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(time_text(1'700'000'000'123'456'789) == "2023-11-14T22:13:20.123456Z");
}

TEST_CASE("base64 of every length") {
  CHECK(base64("").empty());
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("\xff\xfe\xfd\xfc") == "//79/A==");
}

}  // namespace allot::cli
