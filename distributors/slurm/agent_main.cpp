// SPDX-License-Identifier: MIT
// allot-slurm-agent: what the slurm plugin asks of Slurm, in a process of its own. Lines of JSON on stdin and stdout
// (agent_json.h). It ends with its input, whatever it is waiting for: nothing of Slurm's can hold its host up.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "distributors/slurm/agent_json.h"
#include "distributors/slurm/native_state.h"
#include "distributors/slurm/slurm_api.h"

namespace {

using namespace allot::slurm;
using nlohmann::json;

std::mutex output_mutex;

void reply(const json& answer) {
  const std::string line = answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  std::lock_guard lock(output_mutex);
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = ::write(STDOUT_FILENO, line.data() + sent, line.size() - sent);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ::_exit(0);  // nobody listens any more
    sent += static_cast<std::size_t>(n);
  }
}

template <class T>
json answer_of(const Answer<T>& answer) {
  if (!answer) return {{"fault", answer.error()}};
  return {{"value", *answer}};
}

json perform(const json& request) {
  const std::string op = request.at("op");
  if (op == "info") return answer_of(controller_info());
  if (op == "ping") return {{"value", controller_answers()}};
  if (op == "submit") return answer_of(submit_job(request.at("job").get<JobRequest>()));
  if (op == "jobs") return answer_of(load_jobs(request.at("filter").get<JobFilter>()));
  if (op == "signal") return answer_of(signal_job(request.at("job"), request.at("signal"), request.at("only_script")));
  if (op == "cancel") return answer_of(cancel_job(request.at("job")));
  if (op == "hold") return answer_of(hold_job(request.at("job"), request.at("hold")));
  if (op == "partitions") return answer_of(load_partitions());
  if (op == "policies") return answer_of(load_policies());
  if (op == "accounted") {
    return answer_of(accounted_jobs(request.at("names").get<std::vector<std::string>>(), request.at("since")));
  }
  return {{"fault", Fault{kNoAgent, "the agent knows no \"" + op + "\": plugin and agent are of different versions"}}};
}

void serve(const std::string& line) {
  json answer;
  std::uint64_t id = 0;
  try {
    const json request = json::parse(line);
    id = request.at("id");
    answer = perform(request);
  } catch (const std::exception& error) {  // of the JSON library: a request of another version
    answer = {{"fault", Fault{kNoAgent, std::string("the agent cannot read a request: ") + error.what()}}};
  }
  answer["id"] = id;
  reply(answer);
}

// For an element whose job is being ended: its exit class, in a line on stdout.
int tell_why(const char* job) {
  open_library();
  const Answer<JobRecord> record = load_job(static_cast<std::uint32_t>(std::strtoul(job, nullptr, 10)));
  if (!record) {
    std::fprintf(stderr, "allot-slurm-agent: job %s: %s\n", job, record.error().text.c_str());
    return 1;
  }
  if (const auto reason = reason_of_end(record->state)) std::puts(std::string(allot::to_string(*reason)).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--why") return tell_why(argv[2]);
  std::signal(SIGPIPE, SIG_IGN);
  open_library();
  reply({{"id", 0}, {"value", "ready"}});
  std::string line;
  while (std::getline(std::cin, line)) {
    // One that waits for a controller that is down must not keep the others waiting.
    try {
      std::thread(serve, line).detach();
    } catch (const std::system_error&) {  // no thread to be had
      serve(line);
    }
  }
  ::_exit(0);
}
