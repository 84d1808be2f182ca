// SPDX-License-Identifier: MIT
// Submitting: all of it or nothing, once per token, and only what was asked for.
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

// Steps that leave a file with their batch-wide number; nothing else tells of a run that no record admits.
std::uint64_t add_witnesses(Batch& batch, std::uint64_t count) {
  const std::uint64_t first = batch.size();
  for (std::uint64_t i = 0; i < count; ++i) batch.add_line("echo ran >> step-" + std::to_string(first + i));
  return first;
}

std::size_t runs_of(const Batch& batch, std::uint64_t step) {
  const std::string path = batch.cwd() + "/step-" + std::to_string(step);
  return exists(path) ? read_lines(path).size() : 0;
}

}  // namespace

TEST_CASE("a submission with a step that does not exist is refused whole", "[submit]") {
  Batch batch;
  add_witnesses(batch, 3);
  Session session;
  Submission submission = batch.array(1, 3);
  const auto answer = session.submit(submission).answer();
  CHECK(must_fail(answer).code == ErrorCode::fix_request);
  // What was refused must not run later either: a good submission goes through the same queue after it.
  session.run(batch.array(0, 1));
  CHECK(runs_of(batch, 0) == 1);
  CHECK(runs_of(batch, 1) == 0);
  CHECK(runs_of(batch, 2) == 0);
  CHECK(session.snapshot().phases.empty());
  CHECK(batch.fold().task(1).attempts == 0);
}

TEST_CASE("requests that make no sense are refused in words", "[submit]") {
  Batch batch;
  add_witnesses(batch, 2);
  Session session;
  SECTION("no such batch") {
    Submission submission = batch.single(0);
    submission.batch_directory += "-that-is-not-there";
    const Error error = must_fail(session.submit(submission).answer());
    CHECK(error.code == ErrorCode::fix_request);
    CHECK(error.message.find("that-is-not-there") != std::string::npos);
  }
  SECTION("no steps") {
    CHECK(must_fail(session.submit(batch.submission({}, true)).answer()).code == ErrorCode::fix_request);
  }
  SECTION("a single of two steps") {
    CHECK(must_fail(session.submit(batch.submission(StepRanges(0, 2), false)).answer()).code == ErrorCode::fix_request);
  }
  SECTION("a token that is none") {
    for (const std::string& token : {std::string(), std::string("a/b"), std::string("a b"), std::string(65, 'x')}) {
      INFO("token \"" << token << "\"");
      Submission submission = batch.single(0);
      submission.token = token;
      CHECK(must_fail(session.submit(submission).answer()).code == ErrorCode::fix_request);
    }
  }
  SECTION("a step origin behind the first step") {
    Submission submission = batch.array(0, 2);
    submission.step_origin = 1;
    CHECK(must_fail(session.submit(submission).answer()).code == ErrorCode::fix_request);
  }
  SECTION("a number that another submission of the batch has") {
    Batch other;
    Submission first = other.submission(StepRanges(other.add_line("true"), 1), false);
    CHECK(session.run_one(first).is_done());
    first.token = unique_token();
    first.id_base = must(new_id_base());
    CHECK(must_fail(session->submit(first)).code == ErrorCode::fix_request);
  }
  SECTION("an array of length 0") {
    const auto answer = session->submit_array_to_batch_distributor("true", "none", {}, 0);
    CHECK(must_fail(answer).code == ErrorCode::fix_request);
  }
  SECTION("a queue that the cluster does not have") {
    Submission submission = batch.single(0);
    submission.resources.queue = "no-such-queue";
    const Error error = must_fail(session.submit(submission).answer());
    CHECK(error.code == ErrorCode::fix_request);
    CHECK(error.message.find("no-such-queue") != std::string::npos);
  }
  CHECK(session.snapshot().phases.empty());
  CHECK(runs_of(batch, 0) == 0);
  CHECK(runs_of(batch, 1) == 0);
}

TEST_CASE("an array longer than the limit is refused whole", "[submit]") {
  Session session;
  const std::uint64_t limit = session->limits().max_array_length;
  Batch batch;
  batch.add_line("echo ran >> ran", limit + 1);
  const Error error = must_fail(session.submit(batch.array(0, limit + 1)).answer());
  CHECK(error.code == ErrorCode::fix_request);
  CHECK(session.snapshot().phases.empty());
  CHECK_FALSE(exists(batch.cwd() + "/ran"));
}

TEST_CASE("a subset of the steps runs with the user's own indices", "[submit]") {
  Batch batch;
  batch.add_line("echo \"$ALLOT_ARRAY_STEP_ID $ALLOT_DISTRIBUTOR_ID\"", 12);
  Submission submission = batch.submission({}, true);
  for (std::uint64_t step : {4, 5, 8, 11}) submission.steps.append(step);
  submission.step_origin = 3;
  Session session;
  const auto ids = session.run(submission);
  REQUIRE(ids.size() == 4);
  std::size_t at = 0;
  submission.steps.for_each([&](std::uint64_t step) {
    CHECK(parse_distributor_id(ids[at])->array_step == step - 3);
    CHECK(batch.output(step) == std::to_string(step - 3) + " " + ids[at] + "\n");
    ++at;
  });
  const Fold fold = batch.fold();
  for (std::uint64_t step : {0, 1, 2, 3, 6, 7, 9, 10}) CHECK(fold.task(step).attempts == 0);
}

TEST_CASE("rows of one submission may differ and each step runs its own", "[submit]") {
  Batch batch;
  for (int i = 0; i < 9; ++i) batch.add_line("echo row " + std::to_string(i));
  Session session;
  session.run(batch.array(0, 9));
  for (std::uint64_t step = 0; step < 9; ++step) CHECK(batch.output(step) == "row " + std::to_string(step) + "\n");
}

TEST_CASE("a step submitted again is another run with an id of its own", "[submit]") {
  Batch batch;
  batch.add_line("[ -e second ] || { touch second; exit 3; }");
  Session session;
  const auto first = session.run(batch.array(0, 1)).at(0);
  Submission retry = batch.array(0, 1);
  retry.attempt = 2;
  const auto second = session.run(retry).at(0);
  CHECK(first != second);
  CHECK(session.ended(first).exit_code == 3);  // what was is not rewritten
  CHECK(session.ended(second).is_done());
  const TaskDetail detail = batch.detail(0);
  CHECK(detail.folded.attempts == 2);
  CHECK(detail.folded.state == TaskState::done);
  CHECK(detail.distributor_id == second);
}

TEST_CASE("repeating a token returns the same ids and runs nothing twice", "[submit][token]") {
  Batch batch;
  add_witnesses(batch, 3);
  Session session;
  const Submission submission = batch.array(0, 3);
  const auto first = session.run(submission);
  const auto again = session.run(submission);  // after the end
  CHECK(first == again);
  session.run(batch.array(add_witnesses(batch, 1), 1));
  for (std::uint64_t step = 0; step < 3; ++step) {
    CHECK(runs_of(batch, step) == 1);
    CHECK(batch.fold().task(step).attempts == 1);
  }
}

TEST_CASE("one token submitted from several threads at once is one submission", "[submit][token]") {
  Batch batch;
  add_witnesses(batch, 4);
  Session session;
  const Submission submission = batch.array(0, 4);
  std::vector<std::shared_future<Result<SubmittedIds>>> answers;
  for (int i = 0; i < 4; ++i) {
    answers.push_back(session.in_background([&] { return session->submit(submission); }));
  }
  std::set<std::string> bases;
  for (const auto& answer : answers) {
    session.follow("the answers",
                   [&] { return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    bases.insert(must(answer.get()).base);
  }
  CHECK(bases.size() == 1);
  std::vector<std::string> ids;
  for (std::uint64_t step = 0; step < 4; ++step) ids.push_back(answers[0].get()->id_of(step));
  session.await_ends(ids);
  for (std::uint64_t step = 0; step < 4; ++step) CHECK(runs_of(batch, step) == 1);
}

TEST_CASE("submit does not wait for the tasks except where the plugin is synchronous", "[submit]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  const auto submitting = session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  CHECK(submitting.answered() == !harness().traits.synchronous);
  rendezvous.open_gate("0");
  CHECK(session.await_end(element.distributor_id).is_done());
  CHECK(must(submitting.answer()).id_of(0) == element.distributor_id);
}

TEST_CASE("a passing lack of descriptors delays a submission and does not lose it", "[submit][descriptors]") {
  // Where submit runs the tasks itself, this process's limit is the plugin's.
  if (!harness().traits.synchronous) return;
#ifdef ALLOT_SANITIZED
  return;  // the sanitizer asks the kernel about memory through a pipe, and takes a refusal for a broken object
#endif
  Batch batch;
  const Submission submission = batch.single_line("echo ran");
  Session session;
  record_intent(submission);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<Fd> holes;  // below the highest descriptor, so that the limit leaves exactly what it says
  for (std::size_t most = open_descriptors() + 64; holes.empty() || holes.back().get() < static_cast<int>(most);) {
    holes.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(holes.back());
  }
  // Enough to take the submission up, too few for a worker node.
  const rlimit few = {static_cast<rlim_t>(holes.back().get() + 4), before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto submitting = session.submit(submission);
  auto answer = session->wait_for_events(0, patience());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  holes.clear();
  CHECK(must_fail(answer).code == ErrorCode::retry_later);
  const auto deadline = std::chrono::steady_clock::now() + patience();
  while (!answer && std::chrono::steady_clock::now() < deadline) {
    answer = session->wait_for_events(0, std::chrono::milliseconds(10));
  }
  REQUIRE(answer);
  CHECK(must(submitting.answer()).steps.size() == 1);
  CHECK(session.await_end(submitting.id_of(0)).is_done());
  CHECK(batch.output(0) == "ran\n");
}

TEST_CASE("a batch that was made in the format before is run", "[submit]") {
  Batch batch;
  const std::string path = batch.path() + "/batch.json";
  std::string text = read_text(path);
  const std::string now = "\"format\": " + std::to_string(kBatchFormat);
  const auto at = text.find(now);
  REQUIRE(at != std::string::npos);
  write_text(path, text.replace(at, now.size(), "\"format\": 1"), 0600);
  Session session;
  CHECK(session.run_one(batch.single_line("exit 4")).exit_code == 4);
}

TEST_CASE("thousands of queued tasks cost no descriptors and each gets its end", "[submit][descriptors]") {
  constexpr std::uint64_t kTasks = 2000;
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line("if [ $ALLOT_ARRAY_STEP_ID = 0 ]; then " + rendezvous.array_element() + "; fi", kTasks);
  ClusterOptions options;
  options.more["pack"] = std::string("500");  // where a scheduler needs its time for each
  Session session(options);
  session.run(batch.single_line("true"));  // everything that is made once is made now
  const std::size_t before = open_descriptors();
  const auto submitting = session.submit(batch.array(0, kTasks));
  next_element(rendezvous);
  CHECK(open_descriptors() <= before + 16);
  rendezvous.open_gate("0");
  const auto ids = submitting.ids();
  session.await_ends(ids);
  CHECK(open_descriptors() <= before + 16);
  // The exit info of all of them is kept, and asking twice changes nothing.
  std::size_t done = 0;
  for (int time = 0; time < 2; ++time) {
    for (const auto& id : ids) done += session.exit_info(id).value_or(ExitInfo{}).is_done() ? 1 : 0;
  }
  CHECK(done == 2 * kTasks);
  CHECK(batch.fold().count(TaskState::done) == kTasks + 1);
}

}  // namespace allot::contract
