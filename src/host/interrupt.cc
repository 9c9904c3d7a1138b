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
std::atomic<bool> g_active = false;
std::atomic<int> g_worker_pidfd = -1;
std::atomic<int> g_received = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void EndWorker() {
  const int pidfd = g_worker_pidfd;
  if (pidfd >= 0) ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
}

void OnSignal(int signal) {
  const int saved_errno = errno;
  g_received = signal;  // Before the look at the worker; Attach does it the other way round.
  EndWorker();
  errno = saved_errno;
}

}  // namespace

InterruptScope::InterruptScope() {
  CHECK(!g_active.exchange(true));
  struct sigaction action{};
  action.sa_handler = OnSignal;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i)
    CHECK(::sigaction(kSignals[i], &action, &before_[i]) == 0);
}

InterruptScope::~InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  g_worker_pidfd = -1;
  g_active = false;
}

void InterruptScope::Attach(int worker_pidfd) {
  g_worker_pidfd = worker_pidfd;
  if (g_received != 0) EndWorker();
}

int InterruptScope::Received() {
  return g_received;
}

}  // namespace cwasi::host
