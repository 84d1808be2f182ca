// SPDX-License-Identifier: MIT
#include "engine/delimited_reader.h"

#include <fcntl.h>

#include <random>

#include "tests/support/catch.h"
#include "tests/unit/engine/input_reader.h"

namespace allot::test {

namespace {

std::vector<std::string> items_of(DelimitedReader& reader) {
  std::vector<std::string> items;
  for (;;) {
    auto item = reader.next();
    REQUIRE(item.has_value());
    if (!*item) return items;
    items.emplace_back(**item);
    CHECK(reader.number() == items.size());
  }
}

}  // namespace

TEST_CASE("items come out as they went in, whatever the portions") {
  struct Case {
    std::string text;
    std::vector<std::string> items;
  };
  const Case cases[] = {
      {"", {}},
      {"\n", {""}},
      {"a", {"a"}},
      {"a\n", {"a"}},
      {"a\nb", {"a", "b"}},
      {"\n\na\n\n", {"", "", "a", ""}},
      {std::string("a\0b\nc\r\n\xff", 8), {std::string("a\0b", 3), "c\r", "\xff"}},
  };
  for (const auto& one : cases) {
    for (const std::size_t portion : {1, 2, 100}) {
      INFO("\"" << one.text << "\" in portions of " << portion);
      PipeInput input(one.text, portion);
      auto reader = input.reader();
      CHECK(items_of(reader) == one.items);
      CHECK(items_of(reader).empty() == (reader.number() == one.items.size()));  // the end stays the end
    }
  }
}

TEST_CASE("random items of all lengths survive, also those longer than a block") {
  std::mt19937 random(7);
  std::vector<std::string> items;
  std::string text;
  for (int i = 0; i < 300; ++i) {
    const std::size_t size = i % 50 == 0 ? 1'500'000 : random() % 3000;
    std::string item(size, '\0');
    for (char& c : item) {
      c = static_cast<char>(random() % 255 + 1);
      if (c == '\n') c = ' ';
    }
    text += item + '\n';
    items.push_back(std::move(item));
  }
  PipeInput input(text, 70'001);
  auto reader = input.reader();
  CHECK(items_of(reader) == items);
}

TEST_CASE("NUL can separate items, which then may hold newlines") {
  PipeInput input(std::string("a\nb\0c d\0", 8));
  auto reader = input.reader('\0');
  CHECK(items_of(reader) == std::vector<std::string>{"a\nb", "c d"});
}

TEST_CASE("looking at the first visible byte takes nothing away") {
  for (const std::string& text : {std::string(" \t\r\n\n  x y\n"), std::string(3'000'000, ' ') + "x\n"}) {
    PipeInput input(text);
    auto reader = input.reader();
    CHECK(reader.first_visible_byte().value() == 'x');
    std::string all;
    for (const auto& item : items_of(reader)) all += item + "\n";
    CHECK(all == text);
  }
  PipeInput blank(" \n\t\n");
  CHECK(blank.reader().first_visible_byte().value() == std::nullopt);
}

TEST_CASE("a file is read twice, from where it stood, and a pipe only after it was spooled") {
  TempDirectory directory;
  auto reader = file_reader(directory, "a\nb\n");
  CHECK(reader.is_seekable());
  CHECK(items_of(reader) == std::vector<std::string>{"a", "b"});
  REQUIRE(reader.rewind());
  CHECK(items_of(reader) == std::vector<std::string>{"a", "b"});

  PipeInput input("{\nb\n");
  auto piped = input.reader();
  CHECK_FALSE(piped.is_seekable());
  CHECK(piped.first_visible_byte().value() == '{');
  REQUIRE(piped.spool());
  for (int time = 0; time < 2; ++time) {
    CHECK(items_of(piped) == std::vector<std::string>{"{", "b"});
    REQUIRE(piped.rewind());
  }
}

TEST_CASE("a file that changes between two readings is refused") {
  TempDirectory directory;
  auto reader = file_reader(directory, "a\n");
  items_of(reader);
  const Fd fd(::open((directory / "input").c_str(), O_WRONLY | O_APPEND));
  REQUIRE(write_all(fd.get(), "b\n"));
  const auto again = reader.rewind();
  REQUIRE_FALSE(again);
  CHECK(again.error().code == ErrorCode::fix_request);
  CHECK(again.error().message.find("changed while it was read") != std::string::npos);
}

TEST_CASE("what cannot be opened is named with the reason") {
  TempDirectory directory;
  const auto missing = DelimitedReader::open(directory / "none", '\n');
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find(directory / "none") != std::string::npos);
  CHECK(missing.error().message.find("ENOENT") != std::string::npos);
  const auto folder = DelimitedReader::open(directory.path(), '\n');
  REQUIRE_FALSE(folder);
  CHECK(folder.error().message.find("is a directory") != std::string::npos);
}

TEST_CASE("an item beyond the limit is refused with its number") {
  PipeInput input("a\n" + std::string(DelimitedReader::kMaxItemBytes + 1, 'x') + "\n");
  auto reader = input.reader();
  CHECK(reader.next().value() == "a");
  const auto item = reader.next();
  REQUIRE_FALSE(item);
  CHECK(item.error().message.find("input:2: longer than 64 MiB") != std::string::npos);
  while (auto rest = reader.next()) {
    if (!*rest) break;
  }
}

TEST_CASE("a request to stop ends the reading") {
  int ends[2], stop[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(::pipe(stop) == 0);
  const Fd input_end{ends[1]}, stop_read{stop[0]}, stop_write{stop[1]};
  DelimitedReader reader(Fd{ends[0]}, "input", '\n', stop[0]);
  REQUIRE(write_all(ends[1], "a\n"));
  CHECK(reader.next().value() == "a");
  REQUIRE(write_all(stop[1], "x"));
  const auto item = reader.next();
  REQUIRE_FALSE(item);
  CHECK(item.error().code == ErrorCode::gave_up);
}

}  // namespace allot::test
