// SPDX-License-Identifier: MIT
#include "distributors/slurm/native_state.h"

#include <array>
#include <string_view>
#include <vector>

namespace allot::slurm {
namespace {

constexpr std::uint32_t kBase = 0xff;
constexpr std::uint32_t kRequeue = 1u << 10;
constexpr std::uint32_t kRequeueHold = 1u << 11;
constexpr std::uint32_t kSpecialExit = 1u << 12;
constexpr std::uint32_t kCompleting = 1u << 15;

struct StateRow {
  const char* name;
  NativePhase phase;
  ExitClass exit_class;
};
// By number. COMPLETED, CANCELLED and FAILED speak of the element's script; of a task that left no record they prove
// nothing but that it is gone.
constexpr std::array<StateRow, 12> kStates = {{
    {"PENDING", NativePhase::pending, ExitClass::lost},
    {"RUNNING", NativePhase::running, ExitClass::lost},
    {"SUSPENDED", NativePhase::running, ExitClass::lost},
    {"COMPLETED", NativePhase::ended, ExitClass::lost},
    {"CANCELLED", NativePhase::ended, ExitClass::killed},
    {"FAILED", NativePhase::ended, ExitClass::lost},
    {"TIMEOUT", NativePhase::ended, ExitClass::timed_out},
    {"NODE_FAIL", NativePhase::ended, ExitClass::node_failed},
    {"PREEMPTED", NativePhase::ended, ExitClass::preempted},
    {"BOOT_FAIL", NativePhase::ended, ExitClass::node_failed},
    {"DEADLINE", NativePhase::ended, ExitClass::timed_out},
    {"OUT_OF_MEMORY", NativePhase::ended, ExitClass::out_of_memory},
}};

// By number, as squeue shows them; new ones are only ever added at the end.
constexpr std::string_view kReasonNames =
    "None Priority Dependency Resources PartitionNodeLimit PartitionTimeLimit PartitionDown PartitionInactive "
    "JobHeldAdmin BeginTime Licenses AssociationJobLimit AssociationResourceLimit AssociationTimeLimit Reservation "
    "ReqNodeNotAvail JobHeldUser FrontEndDown SchedDefer PartitionDown NodeDown BadConstraints SystemFailure "
    "JobLaunchFailure NonZeroExitCode TimeLimit InactiveLimit InvalidAccount InvalidQOS QOSUsageThreshold "
    "QOSJobLimit QOSResourceLimit QOSTimeLimit BlockMaxError BlockFreeAction Cleaning Prolog QOSNotAllowed "
    "AccountNotAllowed DependencyNeverSatisfied QOSGrpCpuLimit QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit "
    "QOSGrpJobsLimit QOSGrpMemLimit QOSGrpNodeLimit QOSGrpSubmitJobsLimit QOSGrpWallLimit QOSMaxCpuPerJobLimit "
    "QOSMaxCpuMinutesPerJobLimit QOSMaxNodePerJobLimit QOSMaxWallDurationPerJobLimit QOSMaxCpuPerUserLimit "
    "QOSMaxJobsPerUserLimit QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit QOSMinCpuNotSatisfied "
    "AssocGrpCpuLimit AssocGrpCPUMinutesLimit AssocGrpCPURunMinutesLimit AssocGrpJobsLimit AssocGrpMemLimit "
    "AssocGrpNodeLimit AssocGrpSubmitJobsLimit AssocGrpWallLimit AssocMaxJobsLimit AssocMaxCpuPerJobLimit "
    "AssocMaxCpuMinutesPerJobLimit AssocMaxNodePerJobLimit AssocMaxWallDurationPerJobLimit AssocMaxSubmitJobLimit "
    "JobHoldMaxRequeue JobArrayTaskLimit BurstBufferResources BurstBufferStageIn BurstBufferOperation PowerNotAvail "
    "PowerReserved AssocGrpUnknown AssocGrpUnknownMinutes AssocGrpUnknownRunMinutes AssocMaxUnknownPerJob "
    "AssocMaxUnknownPerNode AssocMaxUnknownMinutesPerJob AssocMaxCpuPerNode AssocGrpMemMinutes AssocGrpMemRunMinutes "
    "AssocMaxMemPerJob AssocMaxMemPerNode AssocMaxMemMinutesPerJob AssocGrpNodeMinutes AssocGrpNodeRunMinutes "
    "AssocMaxNodeMinutesPerJob AssocGrpEnergy AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocMaxEnergyPerJob "
    "AssocMaxEnergyPerNode AssocMaxEnergyMinutesPerJob AssocGrpGRES AssocGrpGRESMinutes AssocGrpGRESRunMinutes "
    "AssocMaxGRESPerJob AssocMaxGRESPerNode AssocMaxGRESMinutesPerJob AssocGrpLicense AssocGrpLicenseMinutes "
    "AssocGrpLicenseRunMinutes AssocMaxLicensePerJob AssocMaxLicenseMinutesPerJob AssocGrpBB AssocGrpBBMinutes "
    "AssocGrpBBRunMinutes AssocMaxBBPerJob AssocMaxBBPerNode AssocMaxBBMinutesPerJob QOSGrpUnknown "
    "QOSGrpUnknownMinutes QOSGrpUnknownRunMinutes QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxUnknownPerUser "
    "QOSMaxUnknownMinutesPerJob QOSMinUnknown QOSMaxCpuPerNode QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes "
    "QOSMaxMemoryMinutesPerJob QOSMaxMemoryPerJob QOSMaxMemoryPerNode QOSMaxMemoryPerUser QOSMinMemory QOSGrpEnergy "
    "QOSGrpEnergyMinutes QOSGrpEnergyRunMinutes QOSMaxEnergyPerJob QOSMaxEnergyPerNode QOSMaxEnergyPerUser "
    "QOSMaxEnergyMinutesPerJob QOSMinEnergy QOSGrpNodeMinutes QOSGrpNodeRunMinutes QOSMaxNodeMinutesPerJob "
    "QOSMinNode QOSGrpGRES QOSGrpGRESMinutes QOSGrpGRESRunMinutes QOSMaxGRESPerJob QOSMaxGRESPerNode "
    "QOSMaxGRESPerUser QOSMaxGRESMinutesPerJob QOSMinGRES QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes "
    "QOSMaxLicensePerJob QOSMaxLicensePerUser QOSMaxLicenseMinutesPerJob QOSMinLicense QOSGrpBB QOSGrpBBMinutes "
    "QOSGrpBBRunMinutes QOSMaxBBPerJob QOSMaxBBPerNode QOSMaxBBPerUser AssocMaxBBMinutesPerJob QOSMinBB DeadLine "
    "MaxBBPerAccount MaxCpuPerAccount MaxEnergyPerAccount MaxGRESPerAccount MaxNodePerAccount MaxLicensePerAccount "
    "MaxMemoryPerAccount MaxUnknownPerAccount MaxJobsPerAccount MaxSubmitJobsPerAccount PartitionConfig "
    "AccountingPolicy FedJobLock OutOfMemory MaxMemPerLimit AssocGrpBilling AssocGrpBillingMinutes "
    "AssocGrpBillingRunMinutes AssocMaxBillingPerJob AssocMaxBillingPerNode AssocMaxBillingMinutesPerJob "
    "QOSGrpBilling QOSGrpBillingMinutes QOSGrpBillingRunMinutes QOSMaxBillingPerJob QOSMaxBillingPerNode "
    "QOSMaxBillingPerUser QOSMaxBillingMinutesPerJob MaxBillingPerAccount QOSMinBilling ReservationDeleted ";

std::string reason_name(std::uint32_t reason) {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> split;
    std::string_view rest = kReasonNames;
    while (!rest.empty()) {
      const std::size_t end = rest.find(' ');
      split.push_back(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    return split;
  }();
  if (reason < names.size()) return std::string(names[reason]);
  return "reason " + std::to_string(reason);
}

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> heads) {
  for (const std::string_view head : heads) {
    if (text.starts_with(head)) return true;
  }
  return false;
}

struct ReasonAdvice {
  std::string_view name;
  std::string_view advice;
  bool is_final;
  bool is_hold;
};
constexpr ReasonAdvice kAdvice[] = {
    {"None", "the scheduler has not looked at it yet", false, false},
    {"Priority", "jobs of a higher priority go first", false, false},
    {"Resources", "it waits for cores or memory to become free", false, false},
    {"Dependency", "it waits for another job", false, false},
    {"BeginTime", "its start time has not come, or it was requeued a moment ago", false, false},
    {"JobArrayTaskLimit", "as many elements of the array run as its limit allows", false, false},
    {"Prolog", "the node is being prepared", false, false},
    {"Cleaning", "its earlier run is being cleared away", false, false},
    {"Licenses", "it waits for licenses", false, false},
    {"Reservation", "its reservation has not begun", false, false},
    {"JobHeldUser", "it is held; release it (allot release, scontrol release)", false, true},
    {"JobHeldAdmin", "an administrator holds it, or its start failed and it was put back held; ask the administrator",
     false, true},
    {"ReqNodeNotAvail",
     "the nodes it needs are down, drained or reserved; leave the node out of the request, or wait until "
     "they are back",
     false, false},
    {"PartitionDown", "the partition does not start jobs now (state DOWN)", false, false},
    {"PartitionInactive", "the partition does not start jobs now (state INACTIVE)", false, false},
    {"PartitionNodeLimit",
     "it asks for more nodes than the partition gives one job; ask for fewer, or for another queue", true, false},
    {"PartitionTimeLimit", "its runtime is longer than the partition allows; ask for less, or for another queue", true,
     false},
    {"PartitionConfig",
     "no node of the partition has what it asks for; ask for fewer cores or less memory, or for another "
     "queue",
     true, false},
    {"BadConstraints", "no node has what it asks for (cores, memory, constraint); change the request", true, false},
    {"DependencyNeverSatisfied", "the job that it depends on did not end as it should; remove the dependency", true,
     false},
    {"InvalidAccount", "the account does not exist, or is not yours; name another one", true, false},
    {"InvalidQOS", "the QOS does not exist, or is not yours; name another one", true, false},
    {"AccountNotAllowed", "the partition does not take this account; name another account or queue", true, false},
    {"QOSNotAllowed", "the partition does not take this QOS; name another QOS or queue", true, false},
    {"launch failed requeued held", "its start failed on the node, and it is held; ask the administrator", false, true},
};

}  // namespace

NativeState native_state(std::uint32_t state) {
  const std::uint32_t base = state & kBase;
  if (base >= kStates.size()) return {NativePhase::unknown, "state " + std::to_string(base), ExitClass::lost};
  const StateRow& row = kStates[base];
  NativeState known{row.phase, row.name, row.exit_class};
  if (known.phase == NativePhase::ended && (state & kCompleting) != 0) {
    known.phase = NativePhase::completing;
    known.name += " (COMPLETING)";
  } else if (known.phase == NativePhase::ended && (state & (kRequeue | kRequeueHold | kSpecialExit)) != 0) {
    known.phase = NativePhase::pending;  // it is on its way back into the queue
    known.name += " (REQUEUED)";
  }
  return known;
}

std::optional<ExitClass> reason_of_end(std::uint32_t state) {
  const std::uint32_t base = state & kBase;
  if (base >= kStates.size() || (state & (kRequeue | kRequeueHold | kSpecialExit)) != 0) return std::nullopt;
  const StateRow& row = kStates[base];
  if (row.phase != NativePhase::ended || row.exit_class == ExitClass::lost) return std::nullopt;
  return row.exit_class;
}

PendingReason pending_reason(std::uint32_t reason, const std::string& description) {
  PendingReason answer;
  answer.name = reason_name(reason);
  for (const ReasonAdvice& row : kAdvice) {
    if (row.name != answer.name) continue;
    answer.advice = row.advice;
    answer.is_final = row.is_final;
    answer.is_hold = row.is_hold;
  }
  if (answer.advice.empty()) {
    const bool is_limit = begins_with_any(answer.name, {"Assoc", "QOS"});
    const bool is_of_one_job = answer.name.find("PerJob") != std::string::npos || answer.name.rfind("QOSMin", 0) == 0;
    if (is_limit && is_of_one_job) {
      answer.advice =
          "it asks for more (or less) than its account or QOS allows one job; change the request, or name "
          "another account or QOS";
      answer.is_final = true;
    } else if (is_limit) {
      answer.advice =
          "a limit of its account or QOS is reached; it starts when others have ended, unless it asks for more "
          "than the limit by itself";
    } else {
      answer.advice = "Slurm gives no other reason";
    }
  }
  if (!description.empty()) answer.advice += " (" + description + ")";
  return answer;
}

bool is_ambiguous(int number) {
  // SLURM_COMMUNICATIONS_*_ERROR and SLURM_PROTOCOL_SOCKET_*; a controller that is said to be down may have taken the
  // request before the connection was lost and every further try refused.
  const bool is_of_the_wire = (number >= 1001 && number <= 1004) || (number >= 5000 && number <= 5009);
  return is_of_the_wire || number == kControllerDown || number == kNoAgent;
}

bool is_request_fault(int number) {
  if (number == kTryAgain || is_ambiguous(number)) return false;
  return number != kPolicyLimit;
}

}  // namespace allot::slurm
