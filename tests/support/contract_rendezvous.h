// SPDX-License-Identifier: MIT
// Where a test meets its tasks: they report by lines in a FIFO and wait at gates (one FIFO each) until they are let on.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "process/fd.h"
#include "process/identity.h"
#include "tests/support/contract_files.h"

namespace allot::contract {

/// How long a test waits for what must happen before it fails. Longer under sanitizers, short when the run is meant
/// to fail (set_patience).
std::chrono::milliseconds patience();
void set_patience(std::chrono::milliseconds limit);

/// A bound that the contract states, stretched where a sanitizer slows everything down.
std::chrono::milliseconds bound(std::chrono::milliseconds stated);

/// Thread rule: the test's thread only.
class Rendezvous {
 public:
  Rendezvous();

  const std::string& path() const { return dir_.path(); }

  /// Shell text that reports `line` (which the shell expands): `arrive("a $$")`. Atomic up to PIPE_BUF.
  std::string arrive(std::string_view line) const;

  /// Shell text that waits for open_gate(name). The name may hold shell variables; make_gate must have been called
  /// for what it expands to.
  std::string wait_at(std::string_view gate) const;

  /// Shell text of an array element that reports "STEP PID ID" and waits at the gate STEP.
  std::string array_element() const;

  void make_gate(const std::string& name);
  void make_gates(std::uint64_t count);  ///< gates "0" … "count-1"
  /// Lets one waiter through: the one that waits, or the next that comes.
  void open_gate(const std::string& name);

  /// The next reported line. Fails the test when none comes within patience().
  std::string next_arrival(std::string_view waiting_for);
  /// The next reported line that is there already.
  std::optional<std::string> poll_arrival();

 private:
  std::optional<std::string> take_line(std::chrono::milliseconds limit);

  TempDir dir_;
  Fd arrivals_;
  std::string pending_;
  std::map<std::string, Fd> gates_;
};

/// What an array_element() reported.
struct ArrivedElement {
  std::uint64_t array_step = 0;
  ProcessIdentity process;
  std::string distributor_id;
};
ArrivedElement parse_arrival(const std::string& line);
ArrivedElement next_element(Rendezvous& rendezvous);

/// The words of a line.
std::vector<std::string> split_words(const std::string& line);

/// Identity of a live process; fails the test if it is gone already.
ProcessIdentity identify(const std::string& pid);

}  // namespace allot::contract
