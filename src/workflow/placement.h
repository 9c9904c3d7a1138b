// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Which functions run in the same worker processes. Those that may be embedded and have the same
// Function::share share one group of workers, each of which can run all of them; every other
// function has a group to itself.

#pragma once

#include <cstdint>
#include <vector>

#include "workflow/workflow.h"

namespace cwasi::workflow {

struct Group {
  std::vector<std::uint32_t> functions;  // In Workflow::functions.
  std::uint32_t workers = 1;             // At most.
};

struct Placement {
  std::vector<Group> groups;            // At least one.
  std::vector<std::uint32_t> group_of;  // By function.
};

// `cpus`: how many workers a group has if the file does not say.
Placement Place(const Workflow& workflow, std::uint32_t cpus);

// CPUs this process may run on, 1 to kMaxWorkers.
std::uint32_t CountCpus();

}  // namespace cwasi::workflow
