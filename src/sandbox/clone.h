// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// fork(2) with clone3(2)'s options: a pid namespace needs one, since a process cannot change its
// own, and so does a cgroup of version 2, where moving a process later is slow.

#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace cwasi::sandbox {

struct CloneOptions {
  std::uint64_t flags = 0;  // CLONE_NEW*
  int cgroup = -1;          // A directory of a version 2 hierarchy.
};
struct ClonedProcess {
  pid_t pid = 0;   // 0 in the child.
  UniqueFd pidfd;  // In the parent.
};

// Whether CloneProcess can be used here, and why not.
Result<> CanCloneProcess();

// The caller is the only thread of its process. Handlers of pthread_atfork do not run; in the child
// the C library is as after fork(2) otherwise: its thread knows its number (PR_GET_TID_ADDRESS, a
// kernel with CONFIG_CHECKPOINT_RESTORE), and there were no locks that another thread could hold.
// Errors: by errno.
Result<ClonedProcess> CloneProcess(const CloneOptions& options);

}  // namespace cwasi::sandbox
