// SPDX-License-Identifier: MIT
// A started distributor for one test, its event stream, and calls that a synchronous plugin answers late.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/contract/harness.h"
#include "tests/support/contract_batch.h"
#include "tests/support/contract_rendezvous.h"

namespace allot::contract {

class Session;

/// A submission under way. Copyable; must not outlive its session. Thread rule: the test's thread only.
class Submitting {
 public:
  /// What submit answered; where the plugin is synchronous this waits until the tasks are over.
  const Result<SubmittedIds>& answer() const;
  /// The id of a batch-wide step as soon as it can be known: from the answer, else from the first event.
  std::string id_of(std::uint64_t step) const;
  std::vector<std::string> ids() const;
  bool answered() const;

 private:
  friend class Session;
  Session* session_ = nullptr;
  Submission submission_;
  std::shared_future<Result<SubmittedIds>> future_;
};

/// Creates and starts a distributor; at its end stops it, whatever state the test left it in, and joins what waits.
/// Declare rendezvous and batches before it. Thread rule: the test's thread only.
class Session {
 public:
  explicit Session(const ClusterOptions& options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  ClusterDistributor* operator->() { return distributor_.get(); }
  ClusterDistributor& operator*() { return *distributor_; }
  std::uint64_t slots() const { return slots_; }

  /// Submits without waiting for the tasks, whatever the plugin. The other forms go through in_background.
  Submitting submit(const Submission& submission);
  /// Submits and waits until every task has its finished event; returns the ids, ascending by step.
  std::vector<std::string> run(const Submission& submission);
  /// Runs one task to its end.
  ExitInfo run_one(const Submission& submission);

  /// Runs `call` in a thread that the session joins after stop(); a future's end does not wait.
  template <class F>
  auto in_background(F call) -> std::shared_future<decltype(call())> {
    using Answer = decltype(call());
    auto promise = std::make_shared<std::promise<Answer>>();
    auto future = promise->get_future().share();
    threads_.emplace_back([promise, call = std::move(call)]() mutable { promise->set_value(call()); });
    return future;
  }
  /// As in_background for a synchronous plugin, else a plain call.
  template <class F>
  auto call(F call) -> std::shared_future<decltype(call())> {
    if (harness().traits.synchronous) return in_background(std::move(call));
    std::promise<decltype(call())> promise;
    promise.set_value(call());
    return promise.get_future().share();
  }

  /// Takes events until `enough` holds; fails the test after patience(). Checks on every event what holds for all of
  /// them: sequence without gaps, known ids, exit info exactly with the end, and data stored before it is told.
  void follow(const std::string& waiting_for, const std::function<bool()>& enough);
  /// All events so far, the oldest first.
  const std::vector<Event>& events() const { return events_; }
  /// The event with this phase for this id, waited for.
  Event await(const std::string& id, TaskPhase phase);
  /// The exit info of a task once its end was told.
  ExitInfo await_end(const std::string& id);
  void await_ends(const std::vector<std::string>& ids);
  const Event* find(const std::string& id, TaskPhase phase) const;

  /// Nothing while it is not available, which must be said with that code and a reason.
  std::optional<ExitInfo> exit_info(const std::string& id);
  /// The exit info of a task that has ended; fails the test where there is none.
  ExitInfo ended(const std::string& id);
  Snapshot snapshot(const std::optional<std::vector<std::string>>& ids = {});

  /// stop(), checked for success; returns how long it took.
  std::chrono::milliseconds stop();

 private:
  void take_events(std::chrono::milliseconds timeout);
  void check_event(const Event& event);

  std::uint64_t slots_;
  std::unique_ptr<ClusterDistributor> distributor_;
  std::vector<std::thread> threads_;
  std::vector<Event> events_;
  std::map<std::pair<std::string, TaskPhase>, std::size_t> latest_;  ///< index into events_
};

/// The answer of a call that must succeed; fails the test with the error's text.
template <class T>
T must(Result<T> result);

/// The error of a call that must fail.
template <class T>
Error must_fail(const Result<T>& result);

/// Waits for a future within patience(), with the test failing after.
template <class T>
const T& must_answer(const std::shared_future<T>& future);

[[noreturn]] void fail_test(const std::string& message);

template <class T>
T must(Result<T> result) {
  if (!result) fail_test(std::string(to_string(result.error().code)) + ": " + result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

template <class T>
Error must_fail(const Result<T>& result) {
  if (result) fail_test("the call succeeded although it must not");
  if (result.error().message.empty()) fail_test("an error without a message");
  return result.error();
}

template <class T>
const T& must_answer(const std::shared_future<T>& future) {
  if (future.wait_for(patience()) != std::future_status::ready) fail_test("a call did not return in time");
  return future.get();
}

}  // namespace allot::contract
