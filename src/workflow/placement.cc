// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "workflow/placement.h"

#include <sched.h>

#include <algorithm>
#include <map>

namespace cwasi::workflow {

Placement Place(const Workflow& workflow, std::uint32_t cpus) {
  Placement placement;
  std::map<std::uint32_t, std::uint32_t> shared;  // Groups by Function::share.
  const std::uint32_t usual = workflow.workers.value_or(cpus);
  for (std::uint32_t f = 0; f < workflow.functions.size(); ++f) {
    const Function& function = workflow.functions[f];
    const auto next = static_cast<std::uint32_t>(placement.groups.size());
    const std::uint32_t group =
        function.IsShared() ? shared.try_emplace(function.share, next).first->second : next;
    if (group == next)
      placement.groups.push_back({.functions = {}, .workers = function.workers.value_or(usual)});
    placement.groups[group].functions.push_back(f);
    placement.group_of.push_back(group);
  }
  // Files that only go to outputs need a worker, too.
  if (placement.groups.empty()) placement.groups.push_back({.functions = {}, .workers = 1});
  return placement;
}

std::uint32_t CountCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails where there are more CPUs than the set has room for.
  const int count = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1024;
  return static_cast<std::uint32_t>(std::clamp(count, 1, static_cast<int>(kMaxWorkers)));
}

}  // namespace cwasi::workflow
