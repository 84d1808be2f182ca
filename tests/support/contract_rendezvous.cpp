// SPDX-License-Identifier: MIT
#include "tests/support/contract_rendezvous.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "tests/support/catch.h"

namespace allot::contract {

namespace {

#ifdef ALLOT_SANITIZED
constexpr int kSlowdown = 4;
#else
constexpr int kSlowdown = 1;
#endif

std::chrono::milliseconds patience_limit = std::chrono::seconds(30) * kSlowdown;

void make_fifo(const std::string& path) {
  if (::mkfifo(path.c_str(), 0600) != 0) FAIL("mkfifo " << path << ": " << errno_text(errno));
}

// Both ends are held, so that neither side's open blocks and what is written stays until it is read.
Fd open_both_ends(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) FAIL("open " << path << ": " << errno_text(errno));
  return fd;
}

}  // namespace

std::chrono::milliseconds patience() {
  return patience_limit;
}
void set_patience(std::chrono::milliseconds limit) {
  patience_limit = limit * kSlowdown;
}
std::chrono::milliseconds bound(std::chrono::milliseconds stated) {
  return stated * kSlowdown;
}

Rendezvous::Rendezvous() {
  make_fifo(dir_ / "arrive");
  arrivals_ = open_both_ends(dir_ / "arrive");
}

std::string Rendezvous::arrive(std::string_view line) const {
  return "echo \"" + std::string(line) + "\" > " + (dir_ / "arrive");
}

std::string Rendezvous::wait_at(std::string_view gate) const {
  return "read _ < \"" + (dir_ / "gate-") + std::string(gate) + "\"";
}

std::string Rendezvous::array_element() const {
  return arrive("$ALLOT_ARRAY_STEP_ID $$ $ALLOT_DISTRIBUTOR_ID") + "; " + wait_at("$ALLOT_ARRAY_STEP_ID");
}

void Rendezvous::make_gate(const std::string& name) {
  const std::string path = dir_ / ("gate-" + name);
  make_fifo(path);
  gates_.emplace(name, open_both_ends(path));
}

void Rendezvous::make_gates(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) make_gate(std::to_string(i));
}

void Rendezvous::open_gate(const std::string& name) {
  const auto gate = gates_.find(name);
  if (gate == gates_.end()) FAIL("the test opens a gate that it never made: " << name);
  if (!write_all(gate->second.get(), "go\n")) FAIL("gate " << name << ": " << errno_text(errno));
}

std::optional<std::string> Rendezvous::take_line(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (const auto end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    char block[4096];
    const ssize_t got = ::read(arrivals_.get(), block, sizeof block);
    if (got > 0) {
      pending_.append(block, static_cast<std::size_t>(got));
      continue;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd waiting{arrivals_.get(), POLLIN, 0};
    ::poll(&waiting, 1, static_cast<int>(left.count()) + 1);
  }
}

std::string Rendezvous::next_arrival(std::string_view waiting_for) {
  auto line = take_line(patience());
  if (!line) FAIL("no task reported within " << patience().count() << " ms; waited for: " << waiting_for);
  return *line;
}

std::optional<std::string> Rendezvous::poll_arrival() {
  return take_line(std::chrono::milliseconds(0));
}

std::vector<std::string> split_words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

ProcessIdentity identify(const std::string& pid) {
  const auto number = static_cast<pid_t>(std::strtol(pid.c_str(), nullptr, 10));
  const auto ticks = number > 0 ? process_start_ticks(number) : std::nullopt;
  if (!ticks) FAIL("a process that should wait is gone: pid \"" << pid << "\"");
  return {number, *ticks};
}

ArrivedElement parse_arrival(const std::string& line) {
  const auto words = split_words(line);
  if (words.size() != 3) FAIL("an array element reported \"" << line << "\" instead of its step, pid and id");
  return {std::strtoull(words[0].c_str(), nullptr, 10), identify(words[1]), words[2]};
}

ArrivedElement next_element(Rendezvous& rendezvous) {
  return parse_arrival(rendezvous.next_arrival("an array element"));
}

}  // namespace allot::contract
