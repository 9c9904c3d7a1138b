// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Many workers that are children of this process: waiting for them, their memory.

#pragma once

#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <string>

#include "test/support/shared_with_children.h"

namespace cwasi::bench {

using test::SharedWithChildren;

// Patiently: nobody is to be disturbed.
template <class Predicate>
void Until(const Predicate& predicate) {
  while (!predicate()) ::poll(nullptr, 0, 1);
}

// Of this process's children, together: a field of smaps_rollup, or VmPTE (page tables).
inline std::size_t ChildrenKib(const std::string& field) {
  std::ifstream children("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  std::size_t total = 0;
  for (std::string pid; children >> pid;) {
    std::ifstream file("/proc/" + pid + (field == "VmPTE" ? "/status" : "/smaps_rollup"));
    for (std::string line; std::getline(file, line);)
      if (line.rfind(field + ":", 0) == 0) total += std::stoul(line.substr(field.size() + 1));
  }
  return total;
}

// Shared memory of the whole machine: what segments take, however many have them mapped.
inline std::size_t SharedMemoryKib() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("Shmem:", 0) == 0) return std::stoul(line.substr(6));
  return 0;
}

}  // namespace cwasi::bench
