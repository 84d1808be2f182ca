// SPDX-License-Identifier: MIT
// The names of the protocol's enumerations: distinct, stable, and harmless for a number from a newer version.
#include <set>
#include <string>

#include "protocol/cluster_config.h"
#include "protocol/cluster_distributor.h"
#include "protocol/plugin_loader.h"
#include "protocol/result.h"
#include "protocol/submission.h"
#include "tests/support/catch.h"

using namespace allot;

namespace {

template <class Enum>
void check_names(const std::vector<std::pair<Enum, std::string>>& expected) {
  std::set<std::string> seen;
  for (const auto& [value, name] : expected) {
    CHECK(to_string(value) == name);
    CHECK(seen.insert(name).second);
  }
  const std::string beyond(to_string(static_cast<Enum>(expected.size())));
  CHECK(beyond.starts_with("unknown_"));
  CHECK(seen.insert(beyond).second);
}

}  // namespace

TEST_CASE("error codes have stable names") {
  check_names<ErrorCode>({{ErrorCode::fix_request, "fix_request"},
                          {ErrorCode::retry_later, "retry_later"},
                          {ErrorCode::gave_up, "gave_up"},
                          {ErrorCode::gone, "gone"},
                          {ErrorCode::unsupported, "unsupported"},
                          {ErrorCode::not_available, "not_available"},
                          {ErrorCode::no_room, "no_room"}});
}

TEST_CASE("task phases have stable names") {
  check_names<TaskPhase>({{TaskPhase::held, "held"},
                          {TaskPhase::queued, "queued"},
                          {TaskPhase::running, "running"},
                          {TaskPhase::finished, "finished"}});
}

TEST_CASE("termination outcomes have stable names") {
  check_names<TerminationOutcome>({{TerminationOutcome::gone, "gone"},
                                   {TerminationOutcome::removed, "removed"},
                                   {TerminationOutcome::already_finished, "already_finished"},
                                   {TerminationOutcome::unknown_id, "unknown_id"},
                                   {TerminationOutcome::unreachable, "unreachable"}});
}

TEST_CASE("parameter types have stable names") {
  check_names<ParameterType>({{ParameterType::boolean, "boolean"},
                              {ParameterType::integer, "integer"},
                              {ParameterType::text, "text"},
                              {ParameterType::size, "size"},
                              {ParameterType::duration, "duration"}});
}

TEST_CASE("plugin states have stable names") {
  check_names<PluginState>({{PluginState::loaded, "loaded"},
                            {PluginState::absent, "absent"},
                            {PluginState::unloadable, "unloadable"},
                            {PluginState::no_entry, "no_entry"},
                            {PluginState::wrong_abi, "wrong_abi"},
                            {PluginState::unsafe_path, "unsafe_path"}});
}

TEST_CASE("an error keeps its code when context is put before it") {
  const Error error = Error{ErrorCode::retry_later, "no processes left"}.with_context("worker node");
  CHECK(error.code == ErrorCode::retry_later);
  CHECK(error.message == "worker node: no processes left");
}

TEST_CASE("a parameter of another type than asked for gives the fallback") {
  ClusterConfig config;
  config.parameters = {{"slots", std::int64_t{4}}, {"pin", std::string("never")}, {"flag", false}};
  CHECK(config.get<std::int64_t>("slots", 1) == 4);
  CHECK(config.get<std::string>("pin", "auto") == "never");
  CHECK_FALSE(config.get("flag", true));
  CHECK(config.get<std::string>("slots", "none") == "none");
  CHECK(config.get<std::int64_t>("absent", 7) == 7);
}

TEST_CASE("the id of a submitted step counts from the submission's origin") {
  SubmittedIds ids{"0123456789ab", true, 100, StepRanges(100, 5)};
  CHECK(ids.size() == 5);
  CHECK(ids.id_of(100) == "0123456789ab_0");
  CHECK(ids.id_of(104) == "0123456789ab_4");
  ids.is_array = false;
  CHECK(ids.id_of(100) == "0123456789ab");
}
