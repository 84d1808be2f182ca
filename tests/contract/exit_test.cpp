// SPDX-License-Identifier: MIT
// Exit info: what ended a task is told as it was, kept, and never guessed.
#include <csignal>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

void check_error(const ExitInfo& info, int code) {
  INFO(describe(info));
  CHECK(info.exit_class == ExitClass::error);
  CHECK(info.exit_code == code);
  CHECK_FALSE(info.signal.has_value());
}

void check_signaled(const ExitInfo& info, int signal) {
  INFO(describe(info));
  CHECK(info.exit_class == ExitClass::signaled);
  CHECK(info.signal == signal);
  CHECK_FALSE(info.exit_code.has_value());
}

}  // namespace

TEST_CASE("exit statuses are told as they were", "[exit]") {
  // 127 and 126 are what a shell says, 137 and 143 what it makes of signals, 198 and 199 Jobmon's wrapper codes: when
  // the task itself exits so, they are its exit codes and nothing else.
  const std::vector<int> codes = {0, 1, 2, 3, 42, 124, 126, 127, 128, 137, 143, 198, 199, 247, 255};
  Batch batch;
  for (int code : codes) batch.add_line("exit " + std::to_string(code));
  Session session;
  const auto ids = session.run(batch.array(0, codes.size()));
  const Fold fold = batch.fold();
  for (std::size_t i = 0; i < codes.size(); ++i) {
    INFO("exit " << codes[i]);
    const ExitInfo info = session.ended(ids[i]);
    if (codes[i] == 0) {
      CHECK(info.exit_class == ExitClass::done);
      CHECK(info.exit_code == 0);
      CHECK_FALSE(info.signal.has_value());
    } else {
      check_error(info, codes[i]);
    }
    // The record is the witness: both say the same.
    CHECK(fold.task(i).state == (codes[i] == 0 ? TaskState::done : TaskState::failed));
    CHECK(fold.task(i).exit_class == info.exit_class);
    CHECK(fold.task(i).number == codes[i]);
  }
}

TEST_CASE("a signal that allot did not send is told as that signal", "[exit]") {
  const std::vector<int> signals = {SIGHUP, SIGINT, SIGABRT, SIGKILL, SIGSEGV, SIGPIPE, SIGTERM, SIGUSR1};
  Batch batch;
  for (int signal : signals) batch.add_line("ulimit -c 0; kill -" + std::to_string(signal) + " $$");
  Session session;
  const auto ids = session.run(batch.array(0, signals.size()));
  for (std::size_t i = 0; i < signals.size(); ++i) check_signaled(session.ended(ids[i]), signals[i]);
  const Fold fold = batch.fold();
  for (std::size_t i = 0; i < signals.size(); ++i) CHECK(fold.task(i).number == signals[i]);
}

TEST_CASE("a task killed from outside by SIGKILL is neither done nor out of memory", "[exit]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  REQUIRE(::kill(element.process.pid, SIGKILL) == 0);
  check_signaled(session.await_end(element.distributor_id), SIGKILL);
}

TEST_CASE("a shell that reports its child's death by signal exits with an error", "[exit]") {
  Batch batch;
  Session session;
  check_error(session.run_one(batch.single_line("sh -c 'kill -9 $$'; exit $?")), 137);
}

TEST_CASE("a failed task's text is the tail of its stderr", "[exit][text]") {
  Batch batch;
  Session session;
  const ExitInfo info = session.run_one(batch.single_line("echo to stdout; echo the reason >&2; exit 4"));
  check_error(info, 4);
  CHECK(info.text.find("the reason") != std::string::npos);
  CHECK(info.text.find("to stdout") == std::string::npos);
}

TEST_CASE("the tail of stderr is counted in characters and never splits one", "[exit][text]") {
  // Jobmon lost every character that straddled a 64 byte block; here 12 001 two-byte characters at an odd offset.
  Batch batch;
  const auto step =
      batch.add_line("i=0; printf x >&2; while [ $i -lt 12001 ]; do printf 'é' >&2; i=$((i+1)); done; exit 1");
  Session session;
  const ExitInfo info = session.run_one(batch.single(step));
  std::size_t characters = 0;
  for (const char c : info.text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  CHECK(characters == 10000);
  CHECK(info.text.substr(0, 2) == "é");
  CHECK(info.text.size() == 20000);
  CHECK(batch.error_output(step).size() == 1 + 2 * 12001);
}

TEST_CASE("stderr that is no UTF-8 fails nothing", "[exit][text]") {
  Batch batch;
  const auto step = batch.add_line("printf '\\377\\376\\200bad' >&2; exit 1");
  Session session;
  const ExitInfo info = session.run_one(batch.single(step));
  check_error(info, 1);
  CHECK(info.text.find("bad") != std::string::npos);
  CHECK(batch.error_output(step) == "\377\376\200bad");
}

TEST_CASE("exit info is the same however often it is asked for", "[exit]") {
  Batch batch;
  Session session;
  const auto id = session.run(batch.single_line("exit 9")).at(0);
  for (int i = 0; i < 3; ++i) check_error(session.ended(id), 9);
  session.run(batch.single_line("true"));
  check_error(session.ended(id), 9);
}

TEST_CASE("exit info is not available for what has not ended or was never given out", "[exit]") {
  Rendezvous rendezvous;
  Batch batch;
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 1;
  rendezvous.make_gates(count);
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  for (std::uint64_t i = 0; i < session.slots(); ++i) next_element(rendezvous);
  for (const auto& id : submitting.ids()) CHECK_FALSE(session.exit_info(id).has_value());  // running and queued

  for (const std::string unknown : {"0123456789ab", "0123456789ab_3", "", "nonsense", "0123456789ab_None"}) {
    INFO("id \"" << unknown << "\"");
    const auto before = std::chrono::steady_clock::now();
    CHECK_FALSE(session.exit_info(unknown).has_value());
    CHECK(std::chrono::steady_clock::now() - before < bound(std::chrono::seconds(1)));
  }
  for (std::uint64_t i = 0; i < count; ++i) rendezvous.open_gate(std::to_string(i));
  session.await_ends(submitting.ids());
}

TEST_CASE("a task whose guardian vanishes is lost and never done", "[exit][lost]") {
  // PSI/J, Parsl and slurm-drmaa call a vanished task completed. The task's parent is what guards it; where that is
  // this process itself there is nobody whose death the plugin could survive, and killing the task stands in for it.
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.arrive("$$ $PPID $ALLOT_DISTRIBUTOR_ID") + "; " + rendezvous.wait_at("0"));
  Session session;
  session.submit(batch.array(0, 1));
  const auto words = split_words(rendezvous.next_arrival("the task with its parent"));
  REQUIRE(words.size() == 3);
  const ProcessIdentity task = identify(words[0]);
  const ProcessIdentity parent = identify(words[1]);
  const bool own = parent.pid == ::getpid();
  REQUIRE(::kill(own ? task.pid : parent.pid, SIGKILL) == 0);
  const ExitInfo info = session.await_end(words[2]);
  INFO(describe(info) << ": " << info.text);
  if (own) {
    check_signaled(info, SIGKILL);
  } else {
    const bool honest = info.exit_class == ExitClass::lost || info.exit_class == ExitClass::node_failed ||
                        (info.exit_class == ExitClass::signaled && info.signal == SIGKILL);
    CHECK(honest);
    CHECK_FALSE(info.text.empty());
  }
  CHECK_FALSE(is_alive(task));
  CHECK(batch.fold().task(0).state == TaskState::failed);
  // The slot is usable again.
  CHECK(session.run_one(batch.single_line("true")).is_done());
}

}  // namespace allot::contract
