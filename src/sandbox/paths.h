// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Answers to calls that name a path, in a process that has no files. The engine opens a compiled
// module by the path /proc/self/fd/N; the filter (worker_filter.h) turns openat and newfstatat into
// a signal, and its handler duplicates descriptor N or looks at it. No path reaches the kernel, so
// no /proc is needed in the worker's root, and the handler can do nothing that the process could
// not do itself.
//
// Source: SECCOMP_RET_TRAP in seccomp(2).

#pragma once

#include "base/result.h"

namespace cwasi::sandbox {

// For the process. /proc/self/fd/N and an empty path with AT_EMPTY_PATH are answered, any other
// path is ENOENT, writing EACCES. Another call that raises SIGSYS ends the process.
Result<> AnswerPathCalls();

}  // namespace cwasi::sandbox
