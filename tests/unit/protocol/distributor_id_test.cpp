// SPDX-License-Identifier: MIT
#include "protocol/distributor_id.h"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

using namespace allot;

namespace {

std::uint64_t decode(const std::string& base) {
  static const std::string kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  std::uint64_t value = 0;
  for (const char c : base) value = value * 32 + kAlphabet.find(c);
  return value;
}

std::vector<std::string> make_bases(std::size_t count) {
  std::vector<std::string> bases;
  bases.reserve(count);
  for (std::size_t i = 0; i < count; ++i) bases.push_back(new_id_base().value_or("failed"));
  return bases;
}

}  // namespace

TEST_CASE("the time of an id base can be read from it") {
  const auto before = ::time(nullptr);
  const auto seconds = id_base_seconds(new_id_base().value());
  REQUIRE(seconds);
  CHECK(*seconds >= before);
  CHECK(*seconds <= ::time(nullptr) + 3600);  // it counts on where many are made in a second
  CHECK(id_base_seconds("000000000000") == 0);
  CHECK_FALSE(id_base_seconds("00000000000"));
  CHECK_FALSE(id_base_seconds("00000000000u"));
}

TEST_CASE("a million ids differ, ascend, and are ids") {
  const auto bases = make_bases(1'000'000);
  CHECK(std::adjacent_find(bases.begin(), bases.end(), std::greater_equal<>()) == bases.end());
  CHECK(std::all_of(bases.begin(), bases.end(), [](const std::string& base) {
    const auto parsed = parse_distributor_id(base);
    return base.size() == kIdBaseLength && parsed && parsed->base == base && !parsed->array_step;
  }));
}

TEST_CASE("ids made by several threads at once differ") {
  constexpr std::size_t kThreads = 8;
  constexpr std::size_t kEach = 50'000;
  std::vector<std::vector<std::string>> made(kThreads);
  std::vector<std::thread> threads;
  for (auto& bases : made) threads.emplace_back([&bases] { bases = make_bases(kEach); });
  for (auto& thread : threads) thread.join();

  std::vector<std::string> all;
  for (auto& bases : made) {
    CHECK(std::is_sorted(bases.begin(), bases.end()));
    all.insert(all.end(), bases.begin(), bases.end());
  }
  std::sort(all.begin(), all.end());
  CHECK(all.size() == kThreads * kEach);
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
}

TEST_CASE("a forked child does not repeat its parent's ids") {
  constexpr std::size_t kCount = 1000;
  REQUIRE(new_id_base());  // what the child inherits
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::string text;
    for (std::size_t i = 0; i < kCount; ++i) text += new_id_base().value_or("failed......");
    const bool good = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(good ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(text.size() == kCount * kIdBaseLength);

  const auto own = make_bases(kCount);
  std::set<std::string> all(own.begin(), own.end());
  for (std::size_t i = 0; i < text.size(); i += kIdBaseLength) all.insert(text.substr(i, kIdBaseLength));
  CHECK(all.size() == 2 * kCount);
}

TEST_CASE("an id tells the second in which it was made") {
  const auto before = static_cast<std::uint64_t>(::time(nullptr));
  const auto base = new_id_base();
  const auto after = static_cast<std::uint64_t>(::time(nullptr));
  REQUIRE(base);
  const std::uint64_t seconds = decode(*base) >> 28;
  // Counting on from a start near the top of the 28 bits may carry into the next second.
  CHECK(seconds + 1 >= before);
  CHECK(seconds <= after + 1);
}

TEST_CASE("ids of elements fit into 20 characters and come back") {
  const std::string base = new_id_base().value();
  for (const std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{42}, kMaxArrayStep}) {
    const std::string id = make_distributor_id(base, step);
    CAPTURE(id);
    CHECK(id == base + "_" + std::to_string(step));
    CHECK(id.size() <= kMaxDistributorIdLength);
    const auto parsed = parse_distributor_id(id);
    REQUIRE(parsed);
    CHECK(parsed->base == base);
    CHECK(parsed->array_step == step);
  }
  CHECK(make_distributor_id(base, std::nullopt) == base);
}

TEST_CASE("what is no id is refused") {
  for (const std::string id : {"",
                               "0",
                               "0123456789a",
                               "0123456789ab_",
                               "0123456789abc",
                               "0123456789ab_None",
                               "0123456789ab_01",
                               "0123456789ab_00",
                               "0123456789ab_-1",
                               "0123456789ab_+1",
                               "0123456789ab_1 ",
                               "0123456789ab_ 1",
                               "0123456789ab_10000000",
                               "0123456789ab-1",
                               "0123456789ab_1_2",
                               "0123456789AB",
                               "0123456789ai",
                               "0123456789al",
                               "0123456789ao",
                               "0123456789au",
                               "0123456789a_",
                               " 123456789ab",
                               "0123456789ab\n",
                               "None",
                               "0123456789ab_0x1",
                               "12345_7"}) {
    CAPTURE(id);
    CHECK_FALSE(parse_distributor_id(id).has_value());
  }
  CHECK_FALSE(parse_distributor_id(std::string_view("0123456789a\0", 12)).has_value());
}
