// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The zygote: one thread, the engine ready, no module loaded; forks a worker for each request.
//
// Source: docs/protocols/zygote.md.
// Thread: the main thread, before the process has another one.

#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "worker/control_loop.h"

namespace cwasi::worker {

// How a child ends that could not become a worker.
inline constexpr int kExitNotBorn = 3;

// What is done once for all forks: the engine, what pages can do, the clock, one heap. Without
// sockets, which each fork has of its own. Errors: as PreparedEngine::Create.
Result<WorkerStart> PrepareWorkers();

// Serves until EndAll (0), the end of the socket (0: cwasi has ended) or a broken protocol (1, with
// a line on stderr). In each forked process it returns when that worker has ended, with its code
// (worker/control_loop.h).
int ServeZygote(UniqueFd socket);

}  // namespace cwasi::worker
