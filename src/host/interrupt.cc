// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "host/interrupt.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/check.h"

namespace cwasi::host {
namespace {

constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
std::atomic<int> g_worker_pidfd = -1;
std::atomic<int> g_received = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void OnSignal(int signal) {
  const int saved_errno = errno;
  g_received = signal;
  const int pidfd = g_worker_pidfd;
  if (pidfd >= 0) ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  errno = saved_errno;
}

}  // namespace

InterruptScope::InterruptScope(int worker_pidfd) {
  CHECK(g_worker_pidfd.exchange(worker_pidfd) == -1);
  struct sigaction action{};
  action.sa_handler = OnSignal;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i)
    CHECK(::sigaction(kSignals[i], &action, &before_[i]) == 0);
}

InterruptScope::~InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  g_worker_pidfd = -1;
}

int InterruptScope::Received() {
  return g_received;
}

}  // namespace cwasi::host
