// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of a worker process: does what the `cwasi` process asks over the control socket
// (docs/protocols/control.md) and keeps the values of the workflow between the calls.
//
// Also serves the workers that this one is introduced to (worker/peers.h).

#pragma once

#include <cstddef>
#include <functional>

#include "base/unique_fd.h"
#include "buf/page_mover.h"
#include "worker/worker.h"

namespace cwasi::worker {

// What a worker is born with.
struct WorkerStart {
  UniqueFd control;        // docs/protocols/control.md.
  UniqueFd introductions;  // docs/protocols/introduction.md.
  PreparedEngine engine;
  buf::MoveAbility ability;
  std::size_t mappings = 0;  // The budget.
  // Opened before a sandbox took /proc away; what is empty is opened here, if it can be.
  UniqueFd pagemap = {};  // /proc/self/pagemap of this process.
  UniqueFd loadavg = {};  // /proc/loadavg.
  // Called once all threads are there. May be empty.
  std::function<Result<>()> confined = {};
};

// Serves until Shutdown (0), the end of the socket (0: cwasi has ended) or a broken protocol (1,
// with a line on stderr). Thread: any with a small stack: it starts the guest thread and is its
// watcher (worker/watcher.h) until that has ended.
int ServeControl(WorkerStart start);

}  // namespace cwasi::worker
