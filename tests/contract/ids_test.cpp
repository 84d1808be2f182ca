// SPDX-License-Identifier: MIT
// Ids: their form, that the task sees the very same one, and that none comes twice.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

constexpr char kPrintVariables[] =
    "echo \"$ALLOT_DISTRIBUTOR_ID|${ALLOT_ARRAY_STEP_ID-unset}|$JOB_ID|${ARRAY_STEP_ID-unset}\"";

// Sets variables of this process for a test's life.
class OuterVariable {
 public:
  OuterVariable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~OuterVariable() { ::unsetenv(name_); }
  OuterVariable(const OuterVariable&) = delete;
  OuterVariable& operator=(const OuterVariable&) = delete;

 private:
  const char* name_;
};

void check_form(const std::string& id, bool is_array) {
  INFO("id " << id);
  CHECK(id.size() <= kMaxDistributorIdLength);
  const auto parsed = parse_distributor_id(id);
  REQUIRE(parsed.has_value());
  CHECK(parsed->base.size() == kIdBaseLength);
  CHECK(parsed->array_step.has_value() == is_array);
}

}  // namespace

TEST_CASE("a single task has an id of twelve characters and sees it itself", "[ids]") {
  Batch batch;
  Session session;
  Submission submission = batch.single_line(kPrintVariables);
  submission.id_base.clear();  // the plugin makes one
  const auto submitted = must(session.submit(submission).answer());
  CHECK_FALSE(submitted.is_array);
  const std::string id = submitted.id_of(0);
  check_form(id, false);
  CHECK(session.await_end(id).is_done());
  CHECK(batch.output(0) == id + "|unset|" + id + "|unset\n");
}

TEST_CASE("an array element has the step behind its id and sees both itself", "[ids]") {
  Batch batch;
  batch.add_line(kPrintVariables, 3);
  Session session;
  const auto ids = session.run(batch.array(0, 3));
  for (std::uint64_t step = 0; step < 3; ++step) {
    check_form(ids[step], true);
    CHECK(parse_distributor_id(ids[step])->array_step == step);
    CHECK(parse_distributor_id(ids[step])->base == parse_distributor_id(ids[0])->base);
    // Jobmon's variables: JOB_ID is the id of the submission, ARRAY_STEP_ID the element.
    const std::string output = batch.output(step);
    CHECK(output.substr(0, output.find('|')) == ids[step]);
    const std::string number = std::to_string(step);
    CHECK(output.find("|" + number + "|") != std::string::npos);
    CHECK(output.substr(output.rfind('|')) == "|" + number + "\n");
    CHECK(batch.detail(step).distributor_id == ids[step]);
  }
}

TEST_CASE("an array of one is an array and a single is not", "[ids]") {
  Batch batch;
  batch.add_line(kPrintVariables, 1);
  Session session;
  const auto ids = session.run(batch.array(0, 1));
  check_form(ids.at(0), true);
  CHECK(batch.output(0).find("|0|") != std::string::npos);
}

TEST_CASE("a single inherits no step and no id from an outer task", "[ids][environment]") {
  const OuterVariable step("ALLOT_ARRAY_STEP_ID", "7");
  const OuterVariable jobmon_step("ARRAY_STEP_ID", "7");
  const OuterVariable jobmon_id("JOB_ID", "outer");
  const OuterVariable id("ALLOT_DISTRIBUTOR_ID", "outer");
  Batch batch;
  Session session;
  const auto own = session.run(batch.single_line(kPrintVariables)).at(0);
  CHECK(batch.output(0) == own + "|unset|" + own + "|unset\n");
}

TEST_CASE("a single takes no step from an environment that was written with one", "[ids][environment]") {
  // Such as that of a batch which was submitted from within an array element of Jobmon's.
  Batch batch({{"ARRAY_STEP_ID", "8"}, {"ALLOT_ARRAY_STEP_ID", "8"}, {"JOB_ID", "8"}});
  Session session;
  const auto own = session.run(batch.single_line(kPrintVariables)).at(0);
  CHECK(batch.output(0) == own + "|unset|" + own + "|unset\n");
}

TEST_CASE("a task knows its name and attempt and batch", "[ids][environment]") {
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo \"$ALLOT_TASK_NAME|$ALLOT_ATTEMPT|$ALLOT_BATCH_DIR\"";
  task.name = "the name";
  Submission submission = batch.single(batch.add(task));
  submission.attempt = 3;
  Session session;
  session.run(submission);
  CHECK(batch.output(0) == "the name|3|" + batch.path() + "\n");
}

TEST_CASE("an id base that the caller recorded is the base of the ids", "[ids]") {
  Batch batch;
  batch.add_line(kPrintVariables, 3);
  Session session;
  const Submission single = batch.single(0);
  CHECK(session.run(single).at(0) == single.id_base);
  const Submission array = batch.array(1, 2);
  const auto ids = session.run(array);
  CHECK(ids == std::vector<std::string>{array.id_base + "_0", array.id_base + "_1"});
  CHECK(must(session.submit(array).answer()).base == array.id_base);  // the token again
  CHECK(batch.output(0).substr(0, 13) == single.id_base + "|");
}

TEST_CASE("ids are never given twice by any distributor", "[ids]") {
  Batch batch;
  batch.add_line("true", 40);
  const auto of_the_plugins_making = [](Submission submission) {
    submission.id_base.clear();
    return submission;
  };
  std::set<std::string> seen;
  std::uint64_t step = 0;
  for (int restart = 0; restart < 3; ++restart) {
    Session session;
    for (int i = 0; i < 5; ++i) {
      for (const auto& id : session.run(of_the_plugins_making(batch.single(step++)))) CHECK(seen.insert(id).second);
    }
    for (const auto& id : session.run(of_the_plugins_making(batch.array(step, 4)))) CHECK(seen.insert(id).second);
    step += 4;
    session.stop();
  }
  CHECK(seen.size() == 27);
}

TEST_CASE("submitting a string gives an id under which the task is known", "[ids][strings]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("one");
  Session session;
  const std::string line = rendezvous.arrive("$ALLOT_DISTRIBUTOR_ID ${ALLOT_ARRAY_STEP_ID-unset} $ALLOT_TASK_NAME") +
                           "; " + rendezvous.wait_at("one");
  const auto future = session.call([&] { return session->submit_to_batch_distributor(line, "greeting", {}); });
  const auto words = split_words(rendezvous.next_arrival("the task of the string"));
  REQUIRE(words.size() == 3);
  check_form(words[0], false);
  CHECK(words[1] == "unset");
  CHECK(words[2] == "greeting");
  CHECK(session.snapshot().phases.count(words[0]) == 1);
  session.await(words[0], TaskPhase::running);
  CHECK(session.snapshot().phases.at(words[0]) == TaskPhase::running);
  rendezvous.open_gate("one");
  CHECK(session.await_end(words[0]).is_done());
  CHECK(must(must_answer(future)) == words[0]);
}

TEST_CASE("submitting a string as an array gives every step its id", "[ids][strings]") {
  TempDir dir;
  Session session;
  const std::string line = "echo $ALLOT_DISTRIBUTOR_ID > " + dir.path() + "/$ALLOT_ARRAY_STEP_ID";
  const auto future = session.call([&] { return session->submit_array_to_batch_distributor(line, "many", {}, 5); });
  const auto answer = must_answer(future);
  if (!answer && answer.error().code == ErrorCode::unsupported) return;  // the caller falls back to singles
  const auto by_step = must(answer);
  REQUIRE(by_step.size() == 5);
  for (std::uint64_t step = 0; step < 5; ++step) {
    REQUIRE(by_step.count(step) == 1);
    const std::string& id = by_step.at(step);
    check_form(id, true);
    CHECK(session.await_end(id).is_done());
    CHECK(read_text(dir / std::to_string(step)) == id + "\n");
  }
}

}  // namespace allot::contract
