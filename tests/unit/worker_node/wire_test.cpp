// SPDX-License-Identifier: MIT
#include "worker_node/wire.h"

#include <random>

#include "tests/support/catch.h"

using namespace allot;

namespace {

std::vector<wire::Message> samples() {
  return {wire::Greet{1, 2, "batch", 9},
          wire::Welcome{42, 7, "host", {{"host-0", 1, 2}, {"host-1", 3, 4}}, {{5, 6, 7}}},
          wire::Refused{"no"},
          wire::SubmissionInfo{3, "0123456789ab", true, 10, 2, 4, 1u << 30, 90'000},
          wire::Hand{3, {{0, 1'000'000}, {2'000'000, 1}}},
          wire::Terminate{3, {{1, 1}}, 5000, ExitClass::preempted},
          wire::Recall{0, {}},
          wire::Limit{2},
          wire::Leave{-1},
          wire::Records{"host-0", 123, std::string("\0\xff bytes", 8)},
          wire::Returned{wire::Returned::Reason::slot_lost, 3, {{4, 2}}},
          wire::Alive{2},
          wire::Notice{wire::Notice::Kind::slot_broken, "text"}};
}

}  // namespace

TEST_CASE("every message comes through as it was, however the bytes arrive") {
  const auto messages = samples();
  REQUIRE(messages.size() == std::variant_size_v<wire::Message>);
  std::string bytes;
  for (const auto& message : messages) bytes += wire::encode(message);
  for (std::size_t piece : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
    wire::Decoder decoder;
    std::size_t count = 0;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      decoder.append(std::string_view(bytes).substr(at, piece));
      for (;;) {
        auto message = decoder.next();
        REQUIRE(message);
        if (!*message) break;
        CHECK(wire::encode(**message) == wire::encode(messages[count]));
        CHECK((*message)->index() == count);
        ++count;
      }
    }
    CHECK(count == messages.size());
  }
}

TEST_CASE("what is not the protocol ends in an error, without a crash and without much memory") {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const auto messages = samples();
    std::string bytes = wire::encode(messages[random() % messages.size()]);
    for (int change = 0; change < 3; ++change) bytes[random() % bytes.size()] = static_cast<char>(random());
    wire::Decoder decoder;
    decoder.append(bytes);
    for (;;) {
      auto message = decoder.next();
      if (!message || !*message) break;
    }
  }
  wire::Decoder huge;
  huge.append(std::string("\xff\xff\xff\x7f\x00", 5));
  CHECK_FALSE(huge.next());
  wire::Decoder unknown;
  unknown.append(std::string("\x01\x00\x00\x00\xee", 5));
  CHECK(unknown.next().error().message.find("type 238") != std::string::npos);
}
