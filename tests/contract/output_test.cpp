// SPDX-License-Identifier: MIT
// Output: byte for byte what the task wrote, whatever and however it wrote.
#include <sys/stat.h>

#include <csignal>
#include <numeric>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

TEST_CASE("output is kept byte for byte", "[output]") {
  TempDir dir;
  std::string every_byte(256, '\0');
  std::iota(every_byte.begin(), every_byte.end(), '\0');
  std::string long_one;
  for (int i = 0; i < 1000; ++i) long_one += every_byte;  // 256 000 bytes: above any pipe's size
  write_text(dir / "bytes", every_byte);
  write_text(dir / "long", long_one);
  Batch batch;
  const auto small = batch.add_line("cat " + (dir / "bytes"));
  const auto large = batch.add_line("cat " + (dir / "long"));
  const auto both = batch.add_line("cat " + (dir / "long") + "; cat " + (dir / "bytes") + " >&2");
  const auto nothing = batch.add_line("true");
  const auto no_newline = batch.add_line("printf 'é'");
  Session session;
  session.run(batch.array(0, batch.size()));
  CHECK((batch.output(small) == every_byte));
  CHECK((batch.output(large) == long_one));
  CHECK((batch.output(both) == long_one));
  CHECK((batch.error_output(both) == every_byte));
  CHECK(batch.output(nothing).empty());
  CHECK(batch.error_output(nothing).empty());
  CHECK(batch.output(no_newline) == "é");
}

TEST_CASE("tasks that print at the same time do not mix", "[output]") {
  constexpr std::uint64_t kTasks = 40;
  Batch batch;
  batch.add_line("i=0; while [ $i -lt 200 ]; do echo line $i of $ALLOT_ARRAY_STEP_ID; i=$((i+1)); done", kTasks);
  Session session;
  session.run(batch.array(0, kTasks));
  for (std::uint64_t step = 0; step < kTasks; ++step) {
    std::string expected;
    for (int i = 0; i < 200; ++i) expected += "line " + std::to_string(i) + " of " + std::to_string(step) + "\n";
    CHECK((batch.output(step) == expected));
  }
}

TEST_CASE("opening /dev/stdout and /dev/stderr anew keeps what was written before", "[output]") {
  Batch batch;
  const auto step =
      batch.add_line("echo one >&2; echo two > /dev/stderr; echo three >&2; echo a; echo b > /dev/stdout; echo c");
  const auto neighbour = batch.add_line("echo whole; echo neighbour >&2");
  Session session;
  session.run(batch.single(neighbour));
  session.run(batch.single(step));
  CHECK(batch.error_output(step) == "one\ntwo\nthree\n");
  CHECK(batch.output(step) == "a\nb\nc\n");
  CHECK(batch.output(neighbour) == "whole\n");
  CHECK(batch.error_output(neighbour) == "neighbour\n");
}

TEST_CASE("a task may close its stdout and go on", "[output]") {
  Batch batch;
  const auto step = batch.add_line("echo before; exec >&-; echo still here >&2; exit 3");
  Session session;
  const ExitInfo info = session.run_one(batch.single(step));
  CHECK(info.exit_code == 3);
  CHECK(batch.output(step) == "before\n");
  CHECK(batch.error_output(step) == "still here\n");
}

TEST_CASE("a child that keeps the output open does not hold up the end of its task", "[output][tree]") {
  // Jobmon waited for the end of file and sent no heartbeats meanwhile. What outlives the command is ended with it.
  Rendezvous rendezvous;
  Batch batch;
  const auto step =
      batch.add_line("sh -c 'echo $$ > " + rendezvous.path() + "/arrive; exec sleep 1000' & echo leaving; read _ < " +
                     rendezvous.path() + "/gate-go; exit 0");
  rendezvous.make_gate("go");
  Session session;
  const auto submitting = session.submit(batch.single(step));
  const ProcessIdentity child = identify(rendezvous.next_arrival("the child that stays"));
  rendezvous.open_gate("go");
  CHECK(session.await_end(submitting.id_of(step)).is_done());
  CHECK(batch.output(step) == "leaving\n");
  CHECK_FALSE(is_alive(child));
  CHECK(session.run_one(batch.single_line("true")).is_done());
}

TEST_CASE("a daemon that left session and parent is ended with its task", "[output][tree]") {
  Rendezvous rendezvous;
  Batch batch;
  const auto step =
      batch.add_line("( setsid sh -c 'echo $$ > " + rendezvous.path() +
                     "/arrive; exec sleep 1000' >/dev/null 2>&1 & ); read _ < " + rendezvous.path() + "/gate-go");
  rendezvous.make_gate("go");
  Session session;
  const auto submitting = session.submit(batch.single(step));
  const ProcessIdentity daemon = identify(rendezvous.next_arrival("the daemon"));
  rendezvous.open_gate("go");
  CHECK(session.await_end(submitting.id_of(step)).is_done());
  CHECK_FALSE(is_alive(daemon));
}

TEST_CASE("fifty megabytes of output are kept", "[output][large]") {
  constexpr std::size_t kBytes = 50'000'000;
  Batch batch;
  const auto step = batch.add_line("yes 0123456789abcde | head -c 50000000; echo tail >&2");
  Session session;
  const auto id = session.run(batch.single(step)).at(0);
  CHECK(session.ended(id).is_done());
  const std::string output = batch.output(step);
  REQUIRE(output.size() == kBytes);
  std::string expected(kBytes, '\0');
  for (std::size_t i = 0; i < kBytes; ++i) expected[i] = "0123456789abcde\n"[i % 16];
  CHECK((output == expected));
  CHECK(batch.error_output(step) == "tail\n");
  CHECK(batch.detail(step).standard_output.lost_bytes == 0);
}

TEST_CASE("output of a task that is killed is kept up to its end", "[output][terminate]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line("echo written; echo before >&2; " + rendezvous.array_element());
  Session session;
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  must(session->terminate_task_instances({element.distributor_id}, std::chrono::milliseconds(100)));
  session.await_end(element.distributor_id);
  CHECK(batch.output(0) == "written\n");
  CHECK(batch.error_output(0) == "before\n");
}

TEST_CASE("output goes to the user's own files where the row names them", "[output][files]") {
  TempDir dir;
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo to the file; echo to the other >&2";
  task.stdout_path = dir / "own.out";
  task.stderr_path = dir / "own.err";
  const auto step = batch.add(task);
  Session session;
  CHECK(session.run_one(batch.single(step)).is_done());
  CHECK(read_text(dir / "own.out") == "to the file\n");
  CHECK(read_text(dir / "own.err") == "to the other\n");
  CHECK(batch.detail(step).standard_output.external);
}

TEST_CASE("a directory for the output gets files named by task and id", "[output][files]") {
  TempDir dir;
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo out; echo err >&2";
  task.stdout_path = dir.path();
  task.stderr_path = dir.path();
  task.name = "job";
  const auto step = batch.add(task);
  Session session;
  const auto id = session.run(batch.single(step)).at(0);
  CHECK(read_text(dir / ("job.o" + id)) == "out\n");
  CHECK(read_text(dir / ("job.e" + id)) == "err\n");
}

TEST_CASE("the tail of a file of the user's own is the text of a failure", "[output][files]") {
  TempDir dir;
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo the reason >&2; exit 1";
  task.stderr_path = dir / "own.err";
  Session session;
  CHECK(session.run_one(batch.single(batch.add(task))).text.find("the reason") != std::string::npos);
}

TEST_CASE("a path to an open descriptor is refused: it would be one of the plugin's own", "[output][files]") {
  Batch batch;
  for (const char* path : {"/dev/stdout", "/dev/stderr", "/dev/fd/3", "/dev/fd/4", "/dev/fd/5", "/dev/fd/6",
                           "/proc/self/fd/7", "/proc/self/fd/8"}) {
    TaskSpec task;
    task.shell_line = "echo precious; echo precious >&2; touch ran";
    (batch.size() % 2 == 0 ? task.stdout_path : task.stderr_path) = path;
    batch.add(task);
  }
  TaskSpec reader;
  reader.shell_line = "cat; touch ran";
  reader.stdin_path = "/dev/stdin";
  batch.add(reader);
  Session session;
  for (const auto& id : session.run(batch.array(0, batch.size()))) {
    const ExitInfo end = session.ended(id);
    CHECK(end.exit_class == ExitClass::launch_failed);
    CHECK(end.text.find("names an open descriptor") != std::string::npos);
  }
  CHECK_FALSE(exists(batch.cwd() + "/ran"));
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("one file for both outputs, spelt in two ways, keeps both", "[output][files]") {
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo out; echo err >&2; echo again";
  task.stdout_path = batch.cwd() + "/both";
  task.stderr_path = batch.cwd() + "/./both";
  Session session;
  CHECK(session.run_one(batch.single(batch.add(task))).is_done());
  CHECK(read_text(batch.cwd() + "/both") == "out\nerr\nagain\n");
}

TEST_CASE("a task waits for the other end of a FIFO, and its limits hold meanwhile", "[output][files]") {
  Batch batch;
  const std::string fifo = batch.cwd() + "/it's a fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  TaskSpec line, vector, writer, alone;
  line.shell_line = "cat; exit 3";
  line.stdin_path = fifo;
  vector.argv = {"cat"};
  vector.stdin_path = fifo;
  writer.argv = {"echo", "through the FIFO"};
  writer.stdout_path = fifo;
  alone.argv = {"cat"};
  alone.stdin_path = fifo;
  const auto by_line = batch.add(line), by_vector = batch.add(vector), by_task = batch.add(writer),
             never = batch.add(alone);
  Session session;
  for (const std::uint64_t step : {by_line, by_vector}) {
    const auto reading = session.submit(batch.single(step));
    const std::string id = reading.id_of(step);
    session.await(id, TaskPhase::running);
    write_text(fifo, "some input");
    CHECK(session.await_end(id).exit_code == (step == by_line ? 3 : 0));
    CHECK(batch.output(step) == "some input");
  }
  const auto writing = session.submit(batch.single(by_task));
  CHECK(read_text(fifo) == "through the FIFO\n");
  CHECK(session.await_end(writing.id_of(by_task)).is_done());
  Submission waiting = batch.single(never);
  waiting.resources.runtime_milliseconds = 200;
  CHECK(session.run_one(waiting).exit_class == ExitClass::timed_out);
}

TEST_CASE("a task's name does not lead its output out of the directory", "[output][files]") {
  TempDir dir;
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo out";
  task.stdout_path = dir.path();
  task.name = "../a/b";
  const auto step = batch.add(task);
  Session session;
  const auto id = session.run(batch.single(step)).at(0);
  CHECK(read_text(dir / (".._a_b.o" + id)) == "out\n");
}

TEST_CASE("what a task made of the files about itself is not the next one's", "[output][files]") {
  ClusterOptions options;
  options.slots = 1;
  Batch batch;
  batch.add_line("mkdir -p \"$ALLOT_ERROR_FILE/a/b\" \"$ALLOT_PROGRESS_FILE\"; exit 4");
  batch.add_line("ln -s /no/such/file \"$ALLOT_ERROR_FILE\"; exit 5");
  batch.add_line("echo mine >\"$ALLOT_ERROR_FILE\" && echo p >\"$ALLOT_PROGRESS_FILE\" && exit 6");
  batch.add_line(
      "echo of a killed guard >\"$ALLOT_ERROR_FILE\"; mkdir \"$ALLOT_PROGRESS_FILE\"; kill -9 $PPID; kill -STOP $$");
  batch.add_line("echo p >\"$ALLOT_PROGRESS_FILE\" && exit 7");
  Session session(options);
  session.run(batch.array(0, batch.size()));
  CHECK(batch.detail(0).exit_info.exit_code == 4);
  CHECK(batch.detail(1).exit_info.exit_code == 5);
  CHECK(batch.detail(2).exit_info.exit_code == 6);
  CHECK(batch.detail(2).exit_info.text == "mine\n");
  CHECK(batch.detail(3).exit_info.exit_class == ExitClass::lost);
  CHECK(batch.detail(3).started_ns > 0);
  CHECK(batch.detail(4).exit_info.exit_code == 7);
  CHECK(batch.detail(4).exit_info.text.find("killed guard") == std::string::npos);
}

}  // namespace allot::contract
