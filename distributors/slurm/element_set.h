// SPDX-License-Identifier: MIT
// Elements of a job array, as Slurm writes them: "0-9,12,20-30:5%4".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot::slurm {

/// The most that Slurm takes for one array (array_inx).
inline constexpr std::size_t kMostArrayText = 4096;

/// Reads what slurmctld shows; what follows "%" is its throttle. Errors: gave_up for what is not of this form, such as
/// a text that slurmctld has cut ("1,3,..."): then nobody may take the rest for ended.
Result<StepRanges> parse_elements(std::string_view text);
/// "0-9,12".
std::string elements_text(const StepRanges& elements);
/// "123_7" for one element, "123_[0-9,12]" for more.
std::string elements_of_job(std::uint32_t job_id, const StepRanges& elements);
/// Splits into parts whose text fits into `most` characters.
std::vector<StepRanges> split_by_text(const StepRanges& elements, std::size_t most = kMostArrayText);

}  // namespace allot::slurm
