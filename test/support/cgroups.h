// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Which control groups of cwasi's there are, on any version.

#pragma once

#include <sys/types.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace cwasi::test {

// Subtrees that process `owner` has made: other tests run meanwhile.
inline std::vector<std::string> CgroupsOf(pid_t owner) {
  const std::string prefix = "cwasi-" + std::to_string(owner) + "-";
  std::vector<std::string> found;
  std::error_code error;
  std::filesystem::recursive_directory_iterator it(
      "/sys/fs/cgroup", std::filesystem::directory_options::skip_permission_denied, error);
  for (; !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error))
    if (it->path().filename().string().rfind(prefix, 0) == 0) found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace cwasi::test
