// SPDX-License-Identifier: MIT
#include "engine/driver.h"

#include <algorithm>
#include <set>
#include <system_error>

#include "engine/control_desk.h"

namespace allot {
namespace {

constexpr std::chrono::seconds kFaultInterval{1};
// Without a descriptor to poll.
constexpr std::chrono::milliseconds kBlindWait{50};
constexpr std::chrono::milliseconds kLongestWait{60'000};

}  // namespace

Driver::Driver(ClusterDistributor& distributor, StopSignal& stop, std::optional<std::uint32_t> max_running)
    : distributor_(distributor), stop_(stop), max_running_(max_running) {}

Driver::~Driver() = default;

Result<void> Driver::begin() {
  if (const auto descriptor = distributor_.event_descriptor()) event_descriptor_ = *descriptor;
  if (bell_.descriptor() < 0) {
    no_threads_ = {ErrorCode::retry_later, "no file descriptors are left for the driver"};
    return fail(*no_threads_);
  }
  try {
    submitter_ = std::make_unique<Submitter>(distributor_, bell_);
  } catch (const std::system_error& error) {
    no_threads_ = {ErrorCode::retry_later, std::string("the driver's thread cannot be started: ") + error.what()};
    return fail(*no_threads_);
  }
  return {};
}

BatchRun& Driver::add(const DriverContext& context, BatchState state) {
  const std::uint32_t number = next_number_++;
  auto made = std::make_unique<BatchRun>(context, std::move(state), number, submitter_.get(), bell_);
  BatchRun& run = *made;
  const auto behind = std::upper_bound(batches_.begin(), batches_.end(), run.priority(),
                                       [](std::int32_t of, const auto& other) { return of > other->priority(); });
  batches_.insert(behind, std::move(made));
  by_path_[context.batch.path()] = &run;
  by_number_[number] = &run;
  if (no_threads_) {
    run.give_up(*no_threads_);
  } else {
    run.begin();
  }
  if (const auto kept = expected_.find(run.path()); kept != expected_.end()) {
    for (const Event& event : kept->second) run.take_event(event);
    expected_.erase(kept);
  }
  if (stop_requests_ > 0) run.request_stop(stop_requests_);
  return run;
}

BatchRun* Driver::find(const std::string& batch_path) {
  const auto found = by_path_.find(batch_path);
  return found == by_path_.end() ? nullptr : found->second;
}

void Driver::remove(const BatchRun& run) {
  by_path_.erase(run.path());
  by_number_.erase(run.number());
  const auto is_it = [&run](const auto& other) { return other.get() == &run; };
  batches_.erase(std::find_if(batches_.begin(), batches_.end(), is_it));
}

void Driver::take_answers() {
  if (submitter_ == nullptr) return;
  for (auto& answer : submitter_->take_answers()) {
    if (const auto run = by_number_.find(answer.owner); run != by_number_.end()) {
      run->second->take_answer(answer.number, std::move(answer.ids));
    }
  }
}

void Driver::take_stop_requests() {
  const int fresh = stop_.take();
  if (fresh == 0) return;
  stop_requests_ += fresh;
  for (auto& run : batches_) run->request_stop(fresh);
}

void Driver::take_event_error(const Error& error, Clock::time_point now) {
  events_again_at_ = now + kFaultInterval;
  if (error.code == ErrorCode::retry_later) {
    for (auto& run : batches_) run->note_event_fault(error);
    return;
  }
  has_lost_distributor_ = true;
  bool is_lost = error.code == ErrorCode::gone;
  if (!is_lost) {
    // Nothing will start any more; what runs may still end.
    const auto snapshot = distributor_.get_submitted_or_running({});
    is_lost = !snapshot || std::none_of(snapshot->phases.begin(), snapshot->phases.end(),
                                        [](const auto& item) { return item.second == TaskPhase::running; });
  }
  for (auto& run : batches_) run->lose_events(error, is_lost);
}

bool Driver::take_events() {
  const auto now = Clock::now();
  if (events_again_at_ && *events_again_at_ > now) return false;
  auto events = distributor_.wait_for_events(cursor_, std::chrono::milliseconds(0));
  if (!events) {
    take_event_error(events.error(), now);
    return false;
  }
  if (events_again_at_) {
    events_again_at_.reset();
    for (auto& run : batches_) run->end_event_fault();
  }
  BatchRun* run = nullptr;
  for (const Event& event : *events) {
    if (event.sequence <= cursor_) continue;  // delivered again
    cursor_ = event.sequence;
    // Of a batch that is over here nothing more is wanted: the ledger keeps it as evidence.
    if (run == nullptr || run->path() != event.batch_directory) run = find(event.batch_directory);
    if (run != nullptr) {
      run->take_event(event);
    } else if (const auto kept = expected_.find(event.batch_directory); kept != expected_.end()) {
      kept->second.push_back(event);
    }
  }
  return !events->empty();
}

// Those of higher priority first. Among equals equal parts of what may be under way: batches with the least come first,
// and of these the one that has waited longest. What one cannot use is left to those behind it.
void Driver::share_room() {
  const auto now = Clock::now();
  std::uint64_t under_way = 0;
  std::vector<BatchRun*> wanting;
  for (const auto& run : batches_) {
    under_way += run->under_way();
    if (!run->wants_room(now)) continue;
    wanting.push_back(run.get());
  }
  std::uint64_t room = *max_running_ - std::min<std::uint64_t>(*max_running_, under_way);
  const auto advance = [&room](BatchRun& run, std::uint64_t most) {
    const std::uint64_t before = run.under_way();
    run.set_room(std::min(room, most));
    run.advance();
    const std::uint64_t taken = run.under_way() - std::min(before, run.under_way());
    room -= std::min(room, taken);
    return taken > 0;
  };
  std::stable_sort(wanting.begin(), wanting.end(), [](const BatchRun* a, const BatchRun* b) {
    return std::make_pair(b->priority(), a->under_way()) < std::make_pair(a->priority(), b->under_way());
  });
  std::set<const BatchRun*> served;
  for (auto next = wanting.begin(); next != wanting.end() && room > 0;) {
    const std::int32_t priority = (*next)->priority();
    const auto last =
        std::find_if(next, wanting.end(), [&](const BatchRun* run) { return run->priority() != priority; });
    std::uint64_t of_rest = 0;  // what equals have that have not had their turn
    for (auto it = next; it != last; ++it) of_rest += (*it)->under_way();
    for (; next != last; ++next) {
      const std::uint64_t own = (*next)->under_way();
      const auto left = static_cast<std::uint64_t>(last - next);
      const std::uint64_t part = (of_rest + room + left - 1) / left;
      of_rest -= own;
      if (part > own && advance(**next, part - own)) served.insert(*next);
    }
  }
  if (!served.empty()) {
    std::stable_partition(batches_.begin(), batches_.end(),
                          [&served](const auto& run) { return served.count(run.get()) == 0; });
    std::stable_sort(batches_.begin(), batches_.end(),
                     [](const auto& a, const auto& b) { return a->priority() > b->priority(); });
  }
  for (const auto& run : batches_) {
    if (run->is_due(now)) advance(*run, room);
    run->set_room(room);  // which explain() tells
  }
}

bool Driver::round() {
  take_answers();
  take_stop_requests();
  const bool has_more = take_events();
  if (max_running_) {
    share_room();
  } else {
    const auto now = Clock::now();
    for (auto& run : batches_) {
      if (run->is_due(now)) run->advance();
    }
  }
  return has_more;
}

void Driver::wait(std::vector<pollfd>& others, std::optional<Clock::time_point> end) {
  const auto now = Clock::now();
  auto until = end.value_or(now + kLongestWait);
  for (const auto& run : batches_) until = std::min(until, run->due());
  const bool may_ask = !events_again_at_ || *events_again_at_ <= now;
  if (events_again_at_) until = std::min(until, *events_again_at_);
  if (event_descriptor_ < 0 && may_ask && !batches_.empty()) until = std::min(until, now + kBlindWait);

  std::vector<pollfd> waiting = {
      {bell_.descriptor(), POLLIN, 0}, {stop_.descriptor(), POLLIN, 0}, {may_ask ? event_descriptor_ : -1, POLLIN, 0}};
  const std::size_t own = waiting.size();
  waiting.insert(waiting.end(), others.begin(), others.end());
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  const auto timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, kLongestWait.count()));
  if (::poll(waiting.data(), waiting.size(), timeout) < 0) return;
  if (waiting[0].revents != 0) bell_.clear();
  std::copy(waiting.begin() + static_cast<std::ptrdiff_t>(own), waiting.end(), others.begin());
}

void Driver::stop() {
  // Ends a submit that still blocks, so that the threads can be joined.
  if (auto stopped = distributor_.stop(); !stopped) {
    for (auto& run : batches_) run->give_up(stopped.error().with_context("ending the workers"));
  }
  submitter_.reset();
  for (auto& run : batches_) run->join_calls();
  while (take_events()) {
  }
}

BatchResult drive_batch(const DriverContext& context, BatchState state, ControlServer* control,
                        const std::function<void(BatchRun&)>& first) {
  Driver driver(context.distributor, context.stop);
  static_cast<void>(driver.begin());  // the batch tells it
  BatchRun& run = driver.add(context, std::move(state));
  if (first) first(run);
  std::optional<ControlDesk> desk;
  if (control != nullptr) desk.emplace(driver, *control);
  std::vector<pollfd> asking;
  for (;;) {
    const bool has_more = driver.round();
    if (desk) desk->serve(asking);
    if (run.is_over()) break;
    if (has_more) continue;
    asking.clear();
    if (control != nullptr) control->add_descriptors(asking);
    driver.wait(asking);
  }
  driver.stop();
  BatchResult result = run.finish();
  if (desk) {
    control->stop_listening();
    desk->settle_all();
    control->flush();
  }
  return result;
}

}  // namespace allot
