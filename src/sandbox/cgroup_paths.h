// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Where this process is in the hierarchies of control groups that count memory and tasks.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cwasi::sandbox {

// One directory that exists: `mount` + `path`.
struct CgroupPlace {
  int version = 0;
  bool memory = false;  // Which of the two controllers are there.
  bool pids = false;
  std::string mount;
  std::string path;  // From "/".
};

// From the texts of /proc/self/cgroup and /proc/self/mountinfo (proc(5)). Version 2 comes with both
// controllers; whether it has them is the directory's to say.
std::vector<CgroupPlace> FindCgroups(std::string_view cgroup, std::string_view mountinfo);

// At most one per hierarchy, version 2 only for controllers that it has and version 1 has not.
// Errors: by errno, of /proc.
Result<std::vector<CgroupPlace>> OwnCgroups();

}  // namespace cwasi::sandbox
