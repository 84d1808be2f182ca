// SPDX-License-Identifier: MIT
// Every method from any thread at the same time.
#include <poll.h>

#include <atomic>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

using std::chrono::milliseconds;

TEST_CASE("submissions from several threads each get their own ids", "[threads]") {
  constexpr int kThreads = 4;
  const int kEach = harness().traits.has_scheduler ? 2 : 6;  // which needs its time for each
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::vector<Submission>> submissions(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    batches.push_back(std::make_unique<Batch>());
    batches.back()->add_line("echo $ALLOT_DISTRIBUTOR_ID", kEach * 3);
    for (int i = 0; i < kEach; ++i)
      submissions[thread].push_back(batches.back()->array(static_cast<unsigned>(i) * 3, 3));
  }
  Session session;
  using Answers = std::vector<Result<SubmittedIds>>;
  std::vector<std::shared_future<Answers>> futures;
  for (int thread = 0; thread < kThreads; ++thread) {
    futures.push_back(session.in_background([&, thread] {
      Answers answers;
      for (const auto& submission : submissions[thread]) answers.push_back(session->submit(submission));
      return answers;
    }));
  }
  for (int thread = 0; thread < kThreads; ++thread) {
    session.follow("the submissions of a thread",
                   [&] { return futures[thread].wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    for (int i = 0; i < kEach; ++i) {
      const SubmittedIds ids = must(futures[thread].get()[i]);
      ids.steps.for_each([&](std::uint64_t step) {
        CHECK(session.await_end(ids.id_of(step)).is_done());
        CHECK(batches[thread]->output(step) == ids.id_of(step) + "\n");
      });
    }
  }
}

TEST_CASE("queries and changes from several threads do not disturb each other", "[threads]") {
  constexpr std::uint64_t kTasks = 60;
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line("if [ $ALLOT_ARRAY_STEP_ID = 0 ]; then " + rendezvous.array_element() + "; fi", kTasks);
  ClusterOptions options;
  options.more["pack"] = std::string("30");  // where a scheduler needs its time for each
  Session session(options);
  const Submission submission = batch.array(0, kTasks);
  const auto submitting = session.submit(submission);
  const auto element = next_element(rendezvous);
  const auto ids = submitting.ids();
  const std::vector<std::string> half(ids.begin() + kTasks / 2, ids.end());

  std::atomic<bool> stopping{false};
  using Tries = std::shared_future<int>;
  const auto keep_doing = [&](auto call) -> Tries {
    return session.in_background([&stopping, call] {
      int failures = 0;
      for (int i = 0; i < 40 && !stopping; ++i) failures += call() ? 0 : 1;
      return failures;
    });
  };
  const std::vector<Tries> tries = {
      keep_doing([&] { return session->get_submitted_or_running().has_value(); }),
      keep_doing([&] { return session->get_submitted_or_running(ids).has_value(); }),
      keep_doing([&] { return session->get_usage_stats(ids).has_value(); }),
      keep_doing([&] { return session->explain_pending(ids).has_value(); }),
      keep_doing([&] { return session->get_queueing_errors(ids).has_value(); }),
      keep_doing([&] { return session->hold(half).has_value(); }),
      keep_doing([&] { return session->release(half).has_value(); }),
      keep_doing([&] { return session->reconcile(batch.path(), submission.token).has_value(); }),
      keep_doing([&] {
        for (const auto& id : ids) static_cast<void>(session->get_remote_exit_info(id));
        return true;
      }),
      keep_doing([&] { return session->terminate_task_instances({"0123456789ab"}).has_value(); }),
  };
  for (const auto& attempt : tries) {
    session.follow("a thread of queries",
                   [&] { return attempt.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    CHECK(attempt.get() == 0);
  }
  stopping = true;
  must(session->release(ids));
  rendezvous.open_gate("0");
  session.await_ends(ids);
  for (const auto& id : ids) CHECK(session.ended(id).is_done());
}

TEST_CASE("stop in the middle of everything lets every call return", "[threads][lifecycle]") {
  Batch batch;
  batch.add_line("true", 400);
  std::vector<Submission> submissions;
  for (std::uint64_t i = 0; i < 40; ++i) submissions.push_back(batch.array(i * 10, 10));
  Session session;
  const auto submits = session.in_background([&] {
    int refused = 0;
    for (const auto& submission : submissions) {
      const auto answer = session->submit(submission);
      if (!answer) refused += answer.error().code == ErrorCode::gone ? 1 : 1000;
    }
    return refused;
  });
  const auto waits = session.in_background([&] {
    std::uint64_t cursor = 0;
    for (int i = 0; i < 50; ++i) {
      const auto events = session->wait_for_events(cursor, milliseconds(10));
      if (events && !events->empty()) cursor = events->back().sequence;
    }
    return cursor;
  });
  const auto terminates = session.in_background([&] {
    for (int i = 0; i < 50; ++i)
      static_cast<void>(session->terminate_task_instances({"0123456789ab"}, milliseconds(0)));
    return true;
  });
  session.stop();
  CHECK(must_answer(submits) <= 40);
  must_answer(waits);
  must_answer(terminates);
  CHECK(own_descendants() == std::vector<std::string>{});
}

TEST_CASE("several callers may follow the events, each from where it likes", "[threads][events]") {
  constexpr std::uint64_t kTasks = 300;
  Batch batch;
  batch.add_line("true", kTasks);
  ClusterOptions options;
  options.more["pack"] = std::string("50");  // where a scheduler needs its time for each
  Session session(options);
  std::atomic<bool> is_over{false};
  std::vector<std::thread> followers;
  for (int i = 0; i < 4; ++i) {
    followers.emplace_back([&] {
      std::uint64_t cursor = 0;
      while (!is_over) {
        const auto events = session->wait_for_events(cursor, std::chrono::milliseconds(20));
        if (!events) break;
        for (const Event& event : *events) {
          if (event.sequence <= cursor) is_over = true;  // in order, each told anew at most to others
          cursor = event.sequence;
        }
      }
    });
  }
  const auto submitting = session.submit(batch.array(0, kTasks));
  const auto limit = std::chrono::steady_clock::now() + patience();
  while (batch.fold().count(TaskState::done) < kTasks && std::chrono::steady_clock::now() < limit)
    ::poll(nullptr, 0, 20);
  CHECK_FALSE(is_over.exchange(true));
  for (auto& follower : followers) follower.join();
  CHECK(batch.fold().count(TaskState::done) == kTasks);
}

}  // namespace allot::contract
