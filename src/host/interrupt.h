// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// What SIGINT, SIGTERM and SIGHUP do while a worker runs: they end the worker, and whoever waits
// for its answer notices and cleans up.

#pragma once

#include <signal.h>

#include <array>

namespace cwasi::host {

// One at a time in a process. Thread: the main thread's.
class InterruptScope {
 public:
  InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  InterruptScope(InterruptScope&&) = delete;
  InterruptScope& operator=(InterruptScope&&) = delete;
  // Puts the former handling back.
  ~InterruptScope();

  // From now on signals end this worker; one that came before does so at once. The descriptor stays
  // its owner's, and open while this lives.
  void Attach(int worker_pidfd);

  // The signal that came, 0 if none has in this process.
  static int Received();

 private:
  std::array<struct sigaction, 3> before_{};
};

}  // namespace cwasi::host
