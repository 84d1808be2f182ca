// SPDX-License-Identifier: MIT
#include <random>

#include "engine/task_source.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/collected_tasks.h"
#include "tests/unit/engine/input_reader.h"

namespace allot::test {

namespace {

using Words = std::vector<std::string>;

Words filled(const Words& words, const std::vector<std::string_view>& arguments, std::uint64_t step = 7) {
  Words argv;
  CommandTemplate(words, arguments.size()).fill(arguments, step, argv);
  return argv;
}

}  // namespace

TEST_CASE("what is replaced in a template") {
  CHECK(filled({"a", "{}"}, {"x"}) == Words{"a", "x"});
  CHECK(filled({"a", "-{}-{}.{#}"}, {"x"}) == Words{"a", "-x-x.7"});
  CHECK(filled({"{}", "b"}, {"x"}) == Words{"x", "b"});
  CHECK(filled({"a"}, {"x"}) == Words{"a", "x"});              // appended
  CHECK(filled({"a", "{#}"}, {"x"}) == Words{"a", "7", "x"});  // {#} alone names no argument
  CHECK(filled({"a"}, {"x", "y"}) == Words{"a", "x", "y"});
  CHECK(filled({"a", "{}"}, {"x", "y"}) == Words{"a", "x y"});
  CHECK(filled({"a", "{2}", "{1}"}, {"x", "y"}) == Words{"a", "y", "x"});
  CHECK(filled({"a", "{2}"}, {"x", "y"}) == Words{"a", "y"});
  CHECK(filled({"a", "{1}", "<{}>"}, {"x"}) == Words{"a", "x", "<x>"});
  CHECK(filled({"grep", "-E", "^a{1}$", "{}"}, {"x"}) == Words{"grep", "-E", "^a{1}$", "x"});
  CHECK(filled({"{", "}", "{{}}", "{"}, {"x"}) == Words{"{", "}", "{x}", "{"});
  CHECK(filled({"a", "{1"}, {"x", "y"}) == Words{"a", "{1", "x", "y"});
  CHECK(filled({"a", "{}"}, {}) == Words{"a", "{}"});
  CHECK(filled({"a", "{#}"}, {}) == Words{"a", "7"});
}

TEST_CASE("an argument that there is not is refused by its name, before anything is made") {
  const auto message = [](const Words& words, std::vector<Words> lists) {
    const auto collected = collect(*make_product_source(words, std::move(lists)));
    return collected ? std::string() : collected.error().message;
  };
  CHECK(message({"a", "<{3}>"}, {{"x"}, {"y"}}) == "{3} in the command names no argument: there are {1} to {2}");
  CHECK(message({"a", "{0}"}, {{"x"}, {"y"}}) == "{0} in the command names no argument: there are {1} to {2}");
  CHECK(message({"a", "{2}"}, {{"x"}}) == "{2} in the command names no argument: {1} is the only one");
  CHECK(message({"grep", "-E", "^a{2}$"}, {{"x"}}).empty());
}

TEST_CASE("what replaces is never looked at again") {
  CHECK(filled({"a", "{}"}, {"{}{#}$(rm)"}) == Words{"a", "{}{#}$(rm)"});
  CHECK(filled({"a", "{1}{2}"}, {"{2}", "{1}"}) == Words{"a", "{2}{1}"});
}

TEST_CASE("any argument comes out as it went in, as one word") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string argument;
    for (std::size_t size = random() % 40; size > 0; --size) argument += static_cast<char>(random() % 255 + 1);
    CHECK(filled({"cmd", "{}"}, {argument}) == Words{"cmd", argument});
    CHECK(filled({"cmd"}, {argument}) == Words{"cmd", argument});
    CHECK(filled({"cmd", "<{}>"}, {argument}) == Words{"cmd", "<" + argument + ">"});
  }
}

TEST_CASE("several lists give every combination, the last varying fastest") {
  const auto collected = collect(*make_product_source({"c", "{1}", "{2}", "{#}"}, {{"a", "b"}, {"1", "2", "3"}}));
  REQUIRE(collected);
  CHECK(argvs_of(*collected) == std::vector<Words>{{"c", "a", "1", "0"},
                                                   {"c", "a", "2", "1"},
                                                   {"c", "a", "3", "2"},
                                                   {"c", "b", "1", "3"},
                                                   {"c", "b", "2", "4"},
                                                   {"c", "b", "3", "5"}});
  CHECK(collected->plan.is_array);
  const auto none = collect(*make_product_source({"c"}, {{"a"}, {}}));
  REQUIRE(none);
  CHECK(none->tasks.empty());
}

TEST_CASE("each item of a file or pipe is one argument, the empty one too") {
  PipeInput lines("a b\n\n'c'\n");
  const auto by_line = collect(*make_each_source({"x", "{}"}, lines.reader()));
  REQUIRE(by_line);
  CHECK(argvs_of(*by_line) == std::vector<Words>{{"x", "a b"}, {"x", ""}, {"x", "'c'"}});
  CHECK(by_line->tasks[2].source_line == 3);
  PipeInput items(std::string("a\nb\0c\0", 6));
  const auto by_nul = collect(*make_each_source({"x", "{}"}, items.reader('\0')));
  REQUIRE(by_nul);
  CHECK(argvs_of(*by_nul) == std::vector<Words>{{"x", "a\nb"}, {"x", "c"}});
  PipeInput wrong(std::string("a\0b\n", 4));
  const auto refused = collect(*make_each_source({"x", "{}"}, wrong.reader()));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("input:1: holds a NUL, which no argument can; give -0") == 0);
}

TEST_CASE("items that end in a carriage return are told") {
  PipeInput crlf("a\r\nb\n");
  const auto source = make_each_source({"x", "{}"}, crlf.reader());
  CHECK(collect(*source)->tasks.at(0).argv == Words{"x", "a\r"});
  REQUIRE(source->notes().size() == 1);
  CHECK(source->notes()[0].find("1 of the items end in a carriage return") != std::string::npos);
}

TEST_CASE("an array shares one row, unless the step is part of the command") {
  const auto shared = collect(*make_command_source({"c", "{}"}, 5, true));
  REQUIRE(shared);
  CHECK(shared->tasks.size() == 5);
  CHECK(shared->tasks[4].argv == Words{"c", "{}"});
  CHECK(shared->plan.is_array);
  const auto own = collect(*make_command_source({"c", "{#}"}, 3, true));
  REQUIRE(own);
  CHECK(argvs_of(*own) == std::vector<Words>{{"c", "0"}, {"c", "1"}, {"c", "2"}});
  const auto array_of_one = collect(*make_command_source({"c"}, 1, true));
  REQUIRE(array_of_one);
  CHECK(array_of_one->plan.is_array);
}

TEST_CASE("a plain command is no array, and nothing in it is replaced") {
  const auto plain = collect(*make_command_source({"sh", "-c", "echo ${#} {}"}, 1, false));
  REQUIRE(plain);
  CHECK(argvs_of(*plain) == std::vector<Words>{{"sh", "-c", "echo ${#} {}"}});
  CHECK_FALSE(plain->plan.is_array);
}

TEST_CASE("more tasks than an array may have steps are refused") {
  const auto refused = collect(*make_command_source({"c"}, 10'000'001, true));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("a batch may have 10000000 tasks at most") != std::string::npos);
}

}  // namespace allot::test
