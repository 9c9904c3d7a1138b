// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Watcher: a thread that sleeps on sockets while the guest thread runs guests or sleeps on words in
// shared memory, and rings the guest thread's doorbell when a socket has something or has ended. It
// reads nothing.
//
// Thread: Run on one; the rest on any, but a descriptor is removed before it is closed.

#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/wait_set.h"

namespace cwasi::worker {

class Watcher {
 public:
  // `bell` outlives it. Errors: kResourceExhausted.
  static Result<Watcher> Create(ipc::Doorbell& bell);

  enum class For : std::uint8_t {
    kPackets,  // Each packet that comes, and the end.
    kEnd,      // The peer's end alone.
  };
  // Errors: kResourceExhausted.
  Result<> Add(int fd, For what);
  void Remove(int fd);

  // Until Stop.
  void Run();
  void Stop();

 private:
  Watcher(ipc::Doorbell& bell, UniqueFd epoll, UniqueFd stop)
      : bell_(&bell), epoll_(std::move(epoll)), stop_(std::move(stop)) {}

  ipc::Doorbell* bell_;
  UniqueFd epoll_;
  UniqueFd stop_;
};

}  // namespace cwasi::worker
