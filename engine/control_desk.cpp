// SPDX-License-Identifier: MIT
#include "engine/control_desk.h"

#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "ledger/batch_json.h"

namespace allot {
namespace {

using nlohmann::json;

// How long beyond its grace a cancellation may take before what is left is told.
constexpr std::chrono::seconds kEndBound{20};
constexpr std::chrono::seconds kCallBound{10};
constexpr std::size_t kMostExplained = 1000;
// While the driver is too busy to wait for anybody.
constexpr std::chrono::milliseconds kLookInterval{20};

std::optional<std::string> text_of(const json& body, const char* key) {
  const auto found = body.find(key);
  return found == body.end() ? std::nullopt : ledger::text_from_json(*found);
}

// Nothing if it is missing; an error if it is no whole number from 0 on.
Result<std::optional<std::uint64_t>> number_of(const json& body, const char* key) {
  const auto found = body.find(key);
  if (found == body.end() || found->is_null()) return std::optional<std::uint64_t>();
  if (!found->is_number_unsigned()) {
    return fail(ErrorCode::fix_request, fmt::format("\"{}\": must be a whole number, 0 or more", key));
  }
  return std::optional(found->get<std::uint64_t>());
}

}  // namespace

json batch_request(const std::string& op, const std::string& batch_path) {
  return {{"op", op}, {"batch", ledger::text_to_json(batch_path)}};
}

Result<TaskSelection> selection_from_json(const json& request) {
  TaskSelection selection;
  if (request.contains("steps")) {
    const auto text = text_of(request, "steps");
    if (!text) return fail(ErrorCode::fix_request, "\"steps\": must be a text such as \"0-9,12\"");
    auto steps = parse_steps(*text);
    if (!steps) return fail(std::move(steps.error()));
    selection.steps = std::move(*steps);
  }
  if (!request.contains("states")) return selection;
  selection.want_no_stage();
  for (const json& state : request["states"]) {
    if (!state.is_string() || !selection.want_stage(state.get_ref<const std::string&>())) {
      return fail(ErrorCode::fix_request, "\"states\": must be of waiting, queued and running");
    }
  }
  return selection;
}

void selection_to_json(const TaskSelection& selection, json& request) {
  if (selection.steps) request["steps"] = to_text(*selection.steps);
  if (selection.waiting && selection.queued && selection.running) return;
  json& states = request["states"] = json::array();
  if (selection.waiting) states.push_back("waiting");
  if (selection.queued) states.push_back("queued");
  if (selection.running) states.push_back("running");
}

void ControlDesk::serve(const std::vector<pollfd>& polled) {
  const bool is_asked = std::any_of(polled.begin(), polled.end(), [](const pollfd& fd) { return fd.revents != 0; });
  const auto now = Driver::Clock::now();
  if (is_asked || now >= next_look_) {
    next_look_ = now + kLookInterval;
    for (const auto& request : server_.serve()) take(request);
  }
  settle(false);
  server_.send();
}

void ControlDesk::settle_all() {
  settle(true);
}

void ControlDesk::take(const ControlServer::Request& request) {
  const auto op = text_of(request.body, "op");
  const auto batch = text_of(request.body, "batch");
  if (!op) return server_.answer(request.ticket, error_reply({ErrorCode::fix_request, "the request has no \"op\""}));
  BatchRun* run = batch ? driver_.find(*batch) : nullptr;
  if (run != nullptr) return take_for(*run, *op, request.ticket, request.body);
  if (other_ && other_(request.ticket, request.body)) return;
  if (*op == "info") {
    return server_.answer(request.ticket, {{"pid", ::getpid()}, {"batches", driver_.batches().size()}});
  }
  server_.answer(request.ticket,
                 error_reply({ErrorCode::not_available, batch ? *batch + ": this driver does not drive it (any more)"
                                                              : "\"" + *op + "\" is no request that it knows"}));
}

void ControlDesk::take_for(BatchRun& run, const std::string& op, ControlServer::Ticket ticket, const json& body) {
  const auto selection = selection_from_json(body);
  if (!selection) return server_.answer(ticket, error_reply(selection.error()));
  Open open;
  open.ticket = ticket;
  open.batch = run.path();
  const auto now = Driver::Clock::now();
  if (op == "cancel") {
    const auto grace = number_of(body, "grace_ms");
    if (!grace) return server_.answer(ticket, error_reply(grace.error()));
    const std::chrono::milliseconds limit(std::min<std::uint64_t>(grace->value_or(5000), 86'400'000));
    open.is_cancel = true;
    open.cancelled = run.cancel(*selection, limit);
    open.deadline = now + limit + kEndBound;
    open_.push_back(std::move(open));
  } else if (op == "hold" || op == "release") {
    open.count = op == "hold" ? run.hold(*selection) : run.release(*selection);
    open.deadline = now + kCallBound;
    open_.push_back(std::move(open));
  } else if (op == "throttle") {
    const auto most = number_of(body, "max_running");
    if (!most) return server_.answer(ticket, error_reply(most.error()));
    if (*most && **most > UINT32_MAX) {
      return server_.answer(ticket, error_reply({ErrorCode::fix_request, "\"max_running\": is too large"}));
    }
    const auto limit = most->value_or(0);
    run.set_max_running(limit == 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(limit)));
    server_.answer(ticket, {{"max_running", limit == 0 ? json(nullptr) : json(limit)}});
  } else if (op == "retry") {
    std::optional<ExitClass> only;
    if (const auto name = text_of(body, "class")) {
      only = exit_class_from_string(*name);
      if (!only) return server_.answer(ticket, error_reply({ErrorCode::fix_request, "\"class\": unknown: " + *name}));
    }
    server_.answer(ticket, {{"tasks", run.run_again(*selection, only)}});
  } else if (op == "add") {
    run.ask_for_additions();
    server_.answer(ticket, json::object());
  } else if (op == "explain") {
    json reasons = json::array();
    run.for_each_unended(*selection, kMostExplained, [&](std::uint64_t step) {
      reasons.push_back({{"step", step}, {"reason", run.explain(step)}});
    });
    server_.answer(ticket, {{"reasons", reasons}});
  } else {
    if (other_ && other_(ticket, body)) return;
    server_.answer(ticket, error_reply({ErrorCode::fix_request, "\"" + op + "\" is no request that it knows"}));
  }
}

void ControlDesk::settle(bool all) {
  const auto now = Driver::Clock::now();
  std::erase_if(open_, [&](const Open& open) {
    const BatchRun* run = driver_.find(open.batch);
    const std::uint64_t left = run == nullptr ? 0 : run->cancelling();
    const bool is_settled = run == nullptr || (open.is_cancel ? left == 0 : !run->is_calling());
    if (!is_settled && !all && now < open.deadline) return false;
    if (open.is_cancel) {
      server_.answer(open.ticket, {{"withdrawn", open.cancelled.withdrawn},
                                   {"ended", open.cancelled.asked - std::min(open.cancelled.asked, left)},
                                   {"had_ended", open.cancelled.ended},
                                   {"left", std::min(open.cancelled.asked, left)}});
    } else {
      server_.answer(open.ticket, {{"tasks", open.count}});
    }
    return true;
  });
}

}  // namespace allot
