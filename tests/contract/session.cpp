// SPDX-License-Identifier: MIT
#include "tests/contract/session.h"

#include <algorithm>
#include <sstream>

#include "tests/support/catch.h"

namespace allot::contract {

namespace {

// How long one wait for events lasts before the reason to wait is looked at again (an answer may come without event).
constexpr std::chrono::milliseconds kSlice{50};

std::string describe(const Event& event) {
  std::ostringstream text;
  text << event.sequence << ": " << event.distributor_id << " step " << event.step << " " << to_string(event.phase);
  if (event.exit_info) text << " " << allot::describe(*event.exit_info) << " \"" << event.exit_info->text << "\"";
  return text.str();
}

std::string describe_last(const std::vector<Event>& events, std::size_t most = 12) {
  std::string text;
  const std::size_t first = events.size() > most ? events.size() - most : 0;
  for (std::size_t i = first; i < events.size(); ++i) text += "\n  " + describe(events[i]);
  return text.empty() ? "\n  none" : text;
}

}  // namespace

void fail_test(const std::string& message) {
  FAIL(message);
  std::abort();  // FAIL throws, which the compiler cannot know
}

bool Submitting::answered() const {
  return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

const Result<SubmittedIds>& Submitting::answer() const {
  if (!answered()) session_->follow("the answer of submit", [&] { return answered(); });
  return future_.get();
}

std::string Submitting::id_of(std::uint64_t step) const {
  std::optional<std::string> base;
  const auto look = [&] {
    if (answered()) return true;
    for (const auto& event : session_->events()) {
      if (event.batch_directory != submission_.batch_directory || event.submission != submission_.number) continue;
      const auto parsed = parse_distributor_id(event.distributor_id);
      if (parsed) base = parsed->base;
    }
    return base.has_value();
  };
  if (!look()) session_->follow("an id of the submission", look);
  if (base) {
    return make_distributor_id(*base,
                               submission_.is_array ? std::optional(step - submission_.step_origin) : std::nullopt);
  }
  return must(answer()).id_of(step);
}

std::vector<std::string> Submitting::ids() const {
  std::vector<std::string> ids;
  submission_.steps.for_each([&](std::uint64_t step) { ids.push_back(id_of(step)); });
  return ids;
}

Session::Session(const ClusterOptions& options) : slots_(slots_of(options)), distributor_(make_distributor(options)) {
  must(distributor_->start());
}

Session::~Session() {
  // A failed test may leave tasks at their gates: stop ends them, and with them a synchronous submit.
  distributor_->stop();
  for (auto& thread : threads_) thread.join();
}

std::chrono::milliseconds Session::stop() {
  const auto before = std::chrono::steady_clock::now();
  must(distributor_->stop());
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - before);
}

Submitting Session::submit(const Submission& submission) {
  Submitting submitting;
  submitting.session_ = this;
  submitting.submission_ = submission;
  record_intent(submission);
  submitting.future_ = call([this, submission] {
    auto answer = distributor_->submit(submission);
    record_answer(submission, answer);
    return answer;
  });
  return submitting;
}

std::vector<std::string> Session::run(const Submission& submission) {
  const Submitting submitting = submit(submission);
  const SubmittedIds submitted = must(submitting.answer());
  CHECK(submitted.steps == submission.steps);
  std::vector<std::string> ids;
  submitted.steps.for_each([&](std::uint64_t step) { ids.push_back(submitted.id_of(step)); });
  await_ends(ids);
  return ids;
}

ExitInfo Session::run_one(const Submission& submission) {
  return await_end(run(submission).at(0));
}

void Session::check_event(const Event& event) {
  INFO("event " << describe(event));
  CHECK(event.sequence == events_.size() + 1);
  CHECK(parse_distributor_id(event.distributor_id).has_value());
  CHECK(event.exit_info.has_value() == (event.phase == TaskPhase::finished));
  CHECK(find(event.distributor_id, TaskPhase::finished) == nullptr);  // nothing follows an end
  if (event.phase != TaskPhase::finished || !event.exit_info) return;
  // Taipy's users got the failure before its text could be read: what an event tells of is stored before it.
  const auto stored = distributor_->get_remote_exit_info(event.distributor_id);
  CHECK(stored.has_value());
  if (stored) {
    CHECK(stored->exit_class == event.exit_info->exit_class);
    CHECK(stored->exit_code == event.exit_info->exit_code);
    CHECK(stored->signal == event.exit_info->signal);
  }
}

void Session::take_events(std::chrono::milliseconds timeout) {
  const auto fresh = must(distributor_->wait_for_events(events_.size(), timeout));
  REQUIRE(fresh.size() <= 4096);
  for (const auto& event : fresh) {
    check_event(event);
    latest_[{event.distributor_id, event.phase}] = events_.size();
    events_.push_back(event);
  }
}

void Session::follow(const std::string& waiting_for, const std::function<bool()>& enough) {
  const auto deadline = std::chrono::steady_clock::now() + patience();
  while (!enough()) {
    if (std::chrono::steady_clock::now() > deadline) {
      fail_test("waited " + std::to_string(patience().count()) + " ms for " + waiting_for +
                "; last events:" + describe_last(events_));
    }
    take_events(kSlice);
  }
}

const Event* Session::find(const std::string& id, TaskPhase phase) const {
  const auto found = latest_.find({id, phase});
  return found == latest_.end() ? nullptr : &events_[found->second];
}

Event Session::await(const std::string& id, TaskPhase phase) {
  follow(std::string(to_string(phase)) + " of " + id, [&] { return find(id, phase) != nullptr; });
  return *find(id, phase);
}

ExitInfo Session::await_end(const std::string& id) {
  return *await(id, TaskPhase::finished).exit_info;
}

void Session::await_ends(const std::vector<std::string>& ids) {
  std::size_t ended = 0;
  follow("the end of " + std::to_string(ids.size()) + " tasks", [&] {
    while (ended < ids.size() && find(ids[ended], TaskPhase::finished) != nullptr) ++ended;
    return ended == ids.size();
  });
}

std::optional<ExitInfo> Session::exit_info(const std::string& id) {
  const auto info = distributor_->get_remote_exit_info(id);
  if (info) return *info;
  CHECK(info.error().code == ErrorCode::not_available);
  CHECK_FALSE(info.error().message.empty());
  return std::nullopt;
}

ExitInfo Session::ended(const std::string& id) {
  return must(distributor_->get_remote_exit_info(id));
}

Snapshot Session::snapshot(const std::optional<std::vector<std::string>>& ids) {
  return must(distributor_->get_submitted_or_running(ids));
}

}  // namespace allot::contract
