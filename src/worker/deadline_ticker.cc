// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0

#include "worker/deadline_ticker.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#include <string_view>
#include <utility>

namespace cwasi::worker {
namespace {

constexpr MonotonicNs kRepeatNs = 1'000'000;

void EndOverrunProcess() {
  constexpr std::string_view kText =
      "cwasi: a guest did not stop at its deadline; ending this worker\n";
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, kText.data(), kText.size());
  ::_exit(kOverrunExitCode);
}

}  // namespace

DeadlineTicker::DeadlineTicker(Actions actions) : actions_(std::move(actions)) {
  if (!actions_.overrun) actions_.overrun = EndOverrunProcess;
  thread_ = std::thread([this] { Run(); });
}

DeadlineTicker::~DeadlineTicker() {
  stop_ = true;
  Wake();
  thread_.join();
}

void DeadlineTicker::Wake() noexcept {
  wakes_.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &wakes_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void DeadlineTicker::SleepUntil(MonotonicNs until, MonotonicNs seen) noexcept {
  const std::uint32_t wakes = wakes_.load(std::memory_order_seq_cst);
  wake_at_.store(until, std::memory_order_seq_cst);
  // Set may have stored an earlier deadline before it could see wake_at_.
  if (deadline_.load(std::memory_order_seq_cst) != seen || stop_.load()) return;
  timespec at{};
  at.tv_sec = until / 1'000'000'000;
  at.tv_nsec = until % 1'000'000'000;
  // Absolute CLOCK_MONOTONIC; returns at once if Wake came since `wakes` was read.
  ::syscall(SYS_futex, &wakes_, FUTEX_WAIT_BITSET_PRIVATE, wakes,
            until == kNoDeadline ? nullptr : &at, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void DeadlineTicker::Interrupt(MonotonicNs deadline) {
  interrupting_.store(true, std::memory_order_seq_cst);
  // The call may have ended since, and a caller with time left may be running.
  if (deadline_.load(std::memory_order_seq_cst) == deadline) {
    interrupts_.fetch_add(1, std::memory_order_relaxed);
    actions_.interrupt();
  }
  interrupting_.store(false, std::memory_order_seq_cst);
}

void DeadlineTicker::Run() {
  while (!stop_.load()) {
    const MonotonicNs deadline = deadline_.load(std::memory_order_seq_cst);
    const MonotonicNs now = Now();
    if (now < deadline) {
      SleepUntil(deadline, deadline);
      continue;
    }
    Interrupt(deadline);
    if (now - deadline > std::chrono::nanoseconds(kGrace).count()) actions_.overrun();
    SleepUntil(now + kRepeatNs, deadline);
  }
}

}  // namespace cwasi::worker
