// SPDX-License-Identifier: MIT
#include "engine/background_driver.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "engine/control_desk.h"
#include "engine/driver.h"
#include "engine/recovery.h"
#include "engine/run_settings.h"
#include "ledger/batch_json.h"

namespace allot {
namespace {

using Clock = Driver::Clock;
using Entry = BackgroundQueue::Entry;

constexpr std::chrono::seconds kTakeUpAgain{5};
constexpr std::chrono::milliseconds kForgetAgain{200};
constexpr std::chrono::milliseconds kObserverInterval{60'000};

// Nobody looks; what a person must know goes to the log.
class LogObserver final : public BatchObserver {
 public:
  LogObserver(std::string batch_id, const std::function<void(const std::string&)>& tell)
      : batch_id_(std::move(batch_id)), tell_(tell) {}
  void progress(const BatchProgress&) override {}
  void failed(std::uint64_t, const ExitInfo&, bool) override {}
  void notice(const std::string& text) override {
    if (tell_) tell_(batch_id_ + ": " + text);
  }
  std::chrono::milliseconds interval() const override { return kObserverInterval; }

 private:
  std::string batch_id_;
  const std::function<void(const std::string&)>& tell_;
};

// Stands in for the driver's own signal while a batch is taken up, in another thread.
class NeverStop final : public StopSignal {
 public:
  int descriptor() const override { return -1; }
  int take() override { return 0; }
};

/// A batch with all that a driver of it needs, at a place of its own.
struct OwnedBatch {
  OwnedBatch(BatchDirectory directory, DriverIdentity identity, DriverLog driver_log, RunSettings run_settings,
             const BackgroundParts& parts, StopSignal& stop, const std::function<void(const std::string&)>& tell)
      : batch(std::move(directory)),
        driver(std::move(identity)),
        log(std::move(driver_log)),
        observer(batch.info().batch_id, tell),
        context{batch, driver, log, parts.distributor, parts.queues, observer, stop, std::move(run_settings)} {}

  BatchDirectory batch;
  DriverIdentity driver;
  DriverLog log;
  LogObserver observer;
  DriverContext context;
};

struct TakenUp {
  Entry entry;
  std::unique_ptr<OwnedBatch> owned;
  std::optional<BatchState> state;
  std::optional<Error> error;
};

// Opens, claims and reads batches beside the driving thread, one after the other: a large one must not hold up the
// rest.
class TakeUp {
 public:
  TakeUp(const BackgroundParts& parts, const BackgroundSettings& settings, Bell& bell)
      : parts_(parts), settings_(settings), bell_(bell), thread_([this] { work(); }) {}
  ~TakeUp() {
    {
      std::lock_guard lock(mutex_);
      is_leaving_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  TakeUp(const TakeUp&) = delete;
  TakeUp& operator=(const TakeUp&) = delete;

  void want(Entry entry) {
    std::lock_guard lock(mutex_);
    ++under_way_;
    wanted_.push_back(std::move(entry));
    changed_.notify_all();
  }
  std::vector<TakenUp> take() {
    std::lock_guard lock(mutex_);
    under_way_ -= taken_.size();
    return std::exchange(taken_, {});
  }
  std::size_t under_way() {
    std::lock_guard lock(mutex_);
    return under_way_;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return is_leaving_ || !wanted_.empty(); });
      if (is_leaving_) return;
      Entry entry = std::move(wanted_.front());
      wanted_.pop_front();
      lock.unlock();
      TakenUp taken = take_up(std::move(entry));
      lock.lock();
      taken_.push_back(std::move(taken));
      bell_.ring();
    }
  }

  TakenUp take_up(Entry entry) {
    TakenUp taken;
    taken.entry = std::move(entry);
    if (auto done = try_to(taken); !done) {
      taken.error = done.error();
      taken.owned.reset();
    }
    return taken;
  }

  Result<void> try_to(TakenUp& taken) {
    auto batch = BatchDirectory::open(taken.entry.path);
    if (!batch) return fail(batch.error());
    if (batch->info().batch_id != taken.entry.batch_id) {
      return fail(ErrorCode::gone, taken.entry.path + ": the batch was removed, and another one is there");
    }
    auto settings = run_settings(*batch, settings_.retry);
    if (!settings) return fail(settings.error());
    auto previous = batch->current_driver();
    if (!previous) return fail(previous.error());
    auto driver = batch->claim();
    if (!driver) return fail(driver.error());
    auto log = DriverLog::open(*batch, *driver);
    if (!log) return fail(log.error());
    taken.owned = std::make_unique<OwnedBatch>(std::move(*batch), std::move(*driver), std::move(*log),
                                               std::move(*settings), parts_, never_, settings_.tell);
    RecoveryRequest request;
    request.keep_cancelled = true;
    auto recovered = recover(taken.owned->context, *previous, request);
    if (!recovered) {
      // This process lives on and does not drive it.
      taken.owned->log.note(EndedRecord{"could not be taken up: " + recovered.error().message, unix_nanoseconds()});
      static_cast<void>(taken.owned->log.sync());
      return fail(recovered.error());
    }
    taken.state = std::move(recovered->state);
    return {};
  }

  const BackgroundParts& parts_;
  const BackgroundSettings& settings_;
  Bell& bell_;
  NeverStop never_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> wanted_;    // guarded by mutex_
  std::vector<TakenUp> taken_;  // guarded by mutex_
  std::size_t under_way_ = 0;   // guarded by mutex_
  bool is_leaving_ = false;     // guarded by mutex_
  std::thread thread_;
};

// Lets the distributor forget batches that are over, which waits for their worker nodes: beside the driving thread.
class Forgetter {
 public:
  explicit Forgetter(ClusterDistributor& distributor) : distributor_(distributor), thread_([this] { work(); }) {}
  ~Forgetter() {
    {
      std::lock_guard lock(mutex_);
      is_leaving_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }
  Forgetter(const Forgetter&) = delete;
  Forgetter& operator=(const Forgetter&) = delete;

  void forget(std::string path) {
    std::lock_guard lock(mutex_);
    paths_.push_back(std::move(path));
    changed_.notify_all();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return is_leaving_ || !paths_.empty(); });
      if (is_leaving_) return;
      std::string path = std::move(paths_.front());
      paths_.pop_front();
      lock.unlock();
      const auto forgotten = distributor_.forget_batch(path);
      lock.lock();
      if (forgotten || forgotten.error().code != ErrorCode::retry_later) continue;
      // Its last events are acknowledged when the driver looks for more.
      paths_.push_back(std::move(path));
      changed_.wait_for(lock, kForgetAgain, [this] { return is_leaving_; });
    }
  }

  ClusterDistributor& distributor_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> paths_;  // guarded by mutex_
  bool is_leaving_ = false;        // guarded by mutex_
  std::thread thread_;
};

class Background {
 public:
  Background(const BackgroundParts& parts, const BackgroundSettings& settings)
      : parts_(parts),
        settings_(settings),
        driver_(parts.distributor, parts.stop, settings.retry.max_running),
        desk_(driver_, parts.control,
              [this](ControlServer::Ticket ticket, const nlohmann::json& body) { return take_request(ticket, body); }) {
  }

  void run(const std::function<void()>& ready) {
    if (auto begun = driver_.begin(); !begun) return tell(begun.error().message);
    take_up_.emplace(parts_, settings_, driver_.bell());
    forget_.emplace(parts_.distributor);
    if (auto entries = parts_.queue.list()) {
      for (Entry& entry : *entries) {
        asked_.insert(entry.batch_id);
        waiting_.push_back(std::move(entry));
      }
    } else {
      tell(entries.error().message);
    }
    ready();
    idle_since_ = Clock::now();
    std::vector<pollfd> asking;
    for (;;) {
      const bool has_more = driver_.round();
      desk_.serve(asking);
      take_up_batches();
      end_batches();
      if (is_to_leave()) break;
      if (has_more) continue;
      asking.clear();
      parts_.control.add_descriptors(asking);
      driver_.wait(asking, next_look());
    }
    leave();
  }

 private:
  void tell(const std::string& text) const {
    if (settings_.tell) settings_.tell(text);
  }

  bool has_work() {
    return !driver_.batches().empty() || !waiting_.empty() || take_up_->under_way() > 0 || !again_.empty();
  }

  // Nothing more is taken up: what waits is for the next driver.
  bool is_closing() const { return driver_.is_stopping() || driver_.has_lost_distributor(); }

  bool is_to_leave() {
    if (driver_.has_lost_distributor()) parts_.control.stop_listening();  // whoever asks starts the next driver
    if (is_closing()) return driver_.batches().empty() && take_up_->under_way() == 0;
    if (has_work()) {
      idle_since_ = Clock::now();
      return false;
    }
    return Clock::now() - idle_since_ >= settings_.idle;
  }

  Clock::time_point next_look() {
    auto until = Clock::now() + settings_.idle;
    if (!has_work()) until = idle_since_ + settings_.idle;
    if (!again_.empty()) until = std::min(until, again_.begin()->first);
    return until;
  }

  bool take_request(ControlServer::Ticket ticket, const nlohmann::json& body) {
    const auto op = body.find("op");
    if (op == body.end() || *op != "drive") return false;
    const auto id = body.find("id");
    const auto path = body.find("batch");
    const auto name = path == body.end() ? std::nullopt : ledger::text_from_json(*path);
    if (!name || id == body.end() || !id->is_string()) {
      parts_.control.answer(ticket, error_reply({ErrorCode::fix_request, "\"drive\" needs \"batch\" and \"id\""}));
    } else if (drives({*id, *name})) {
      parts_.control.answer(ticket, {{"driving", true}});
    } else {
      if (BatchRun* const other = driver_.find(*name); other != nullptr) other->check_ledger();  // it was removed
      // Not once it is taken up: whoever asks would wait for the size of other batches.
      if (asked_.insert(*id).second) {
        waiting_.push_back({*id, *name});
      } else {
        asked_again_.insert(*id);
      }
      // It may have been refused, and so taken out, since whoever asks put it there.
      if (!parts_.queue.contains(*id)) static_cast<void>(parts_.queue.add({*id, *name}));
      parts_.control.answer(ticket, {{"driving", false}});
    }
    return true;
  }

  bool drives(const Entry& entry) const {
    const auto owned = owned_.find(entry.path);
    return owned != owned_.end() && owned->second->batch.info().batch_id == entry.batch_id;
  }

  // The next batch to be taken up. One at the path of another one, which was removed and is about to end here, waits.
  std::optional<Entry> next_waiting() {
    const auto next = std::find_if(waiting_.begin(), waiting_.end(), [this](const Entry& entry) {
      return owned_.count(entry.path) == 0 && taken_up_.count(entry.path) == 0;
    });
    if (next == waiting_.end()) return std::nullopt;
    Entry entry = std::move(*next);
    waiting_.erase(next);
    return entry;
  }

  void take_up_batches() {
    const auto now = Clock::now();
    while (!again_.empty() && again_.begin()->first <= now) {
      waiting_.push_back(std::move(again_.begin()->second));
      again_.erase(again_.begin());
    }
    while (!is_closing() && driver_.batches().size() + take_up_->under_way() < settings_.most_batches) {
      auto next = next_waiting();
      if (!next) break;
      driver_.expect(next->path);
      taken_up_.insert(next->path);
      take_up_->want(std::move(*next));
    }
    for (TakenUp& taken : take_up_->take()) {
      taken_up_.erase(taken.entry.path);
      if (taken.error) {
        refuse(std::move(taken));
        continue;
      }
      asked_.erase(taken.entry.batch_id);
      asked_again_.erase(taken.entry.batch_id);
      OwnedBatch& owned = *taken.owned;
      owned_[owned.batch.path()] = std::move(taken.owned);
      driver_.add(owned.context, std::move(*taken.state));
    }
  }

  void refuse(TakenUp taken) {
    tell(taken.entry.batch_id + ": " + taken.error->message);
    driver_.forget(taken.entry.path);
    if (taken.error->code == ErrorCode::retry_later) {
      again_.emplace(Clock::now() + kTakeUpAgain, std::move(taken.entry));
    } else if (asked_again_.erase(taken.entry.batch_id) > 0) {
      // Whoever had it then has handed it over since.
      waiting_.push_back(std::move(taken.entry));
    } else {
      asked_.erase(taken.entry.batch_id);
      // Somebody else drives it, or it is gone or damaged: allot status says so, and allot resume why not.
      parts_.queue.remove(taken.entry.batch_id);
    }
  }

  void end_batches() {
    std::vector<BatchRun*> over;
    for (const auto& run : driver_.batches()) {
      if (run->is_over()) over.push_back(run.get());
    }
    for (BatchRun* run : over) end_batch(*run);
  }

  void end_batch(BatchRun& run) {
    const BatchResult result = run.finish();
    const auto owned = owned_.find(run.path());
    const std::string id = owned->second->batch.info().batch_id;
    // What was cut short, by this driver's end or by a fault, is for the next driver; what was removed for nobody.
    const bool is_removed =
        result.trouble && result.trouble->code == ErrorCode::gone && !driver_.has_lost_distributor();
    if (is_removed || (result.stop_requests == 0 && !result.trouble)) parts_.queue.remove(id);
    const std::string path = run.path();
    driver_.remove(run);
    owned_.erase(owned);
    forget_->forget(path);
  }

  void leave() {
    parts_.control.stop_listening();
    driver_.stop();
    while (!driver_.batches().empty()) end_batch(*driver_.batches().front());
    take_up_.reset();
    forget_.reset();
    desk_.settle_all();
    parts_.control.flush();
  }

  const BackgroundParts& parts_;
  const BackgroundSettings& settings_;
  std::map<std::string, std::unique_ptr<OwnedBatch>> owned_;  // by path; outlive the driver's runs
  Driver driver_;
  ControlDesk desk_;
  std::optional<TakeUp> take_up_;
  std::optional<Forgetter> forget_;
  std::deque<Entry> waiting_;
  std::multimap<Clock::time_point, Entry> again_;
  std::set<std::string> taken_up_;     // paths of batches that are being taken up
  std::set<std::string> asked_;        // ids of batches that wait to be taken up
  std::set<std::string> asked_again_;  // of these, since they were asked for first
  Clock::time_point idle_since_{};
};

}  // namespace

void run_in_background(const BackgroundParts& parts, const BackgroundSettings& settings,
                       const std::function<void()>& ready) {
  Background(parts, settings).run(ready);
}

}  // namespace allot
